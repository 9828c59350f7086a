"""Abilities of players from judgments of pairs, with a term for the answer that stands first.

The chance that the first is preferred is 1 / (1 + exp(-(ability of the first - ability of the second +
position))). Judgments of one prompt belong together, so intervals resample prompts.

Sources: Bradley and Terry, Rank Analysis of Incomplete Block Designs (1952); Davidson and Beaver, On
Extending the Bradley-Terry Model to Incorporate Within-Pair Order Effects (1977), for the position.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.protocols import BoolArray, FloatArray
from harness.stats.crossed import Part, Spread
from harness.stats.paired_comparisons import Model, Tally
from harness.stats.proportions import wilson
from harness.stats.resampling import percentile_ends

Ends = tuple[FloatArray, FloatArray]
_ALIKE = 1e-9
"""Resamples that lie no further apart are of prompts that all say the same."""
_FAR = 2.0
"""Logits from which on few prompts hold an upset, so that resamples of them are too much alike."""


@dataclass(frozen=True)
class Abilities:
    """What `bradley_terry` finds, in logits; abilities have the mean 0.

    `value`, `low`, `high` and `standard_error` are (players,), `draws` is (B, players): the abilities of each
    resample of prompts, whose standard deviation is `standard_error`. `covariance` is (players, players), by
    the likelihood, for judgments that are independent of one another. `position` is the logit by which
    standing first helps; 0 with NaN for its ends where it was not fitted. `bounded_below` and `bounded_above`
    (players,) are False where the judgments put no end to an ability, as to that of a player who never lost
    or tied: how far it lies from the others is then the ridge's word alone.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    standard_error: FloatArray
    draws: FloatArray
    covariance: FloatArray
    position: float
    position_low: float
    position_high: float
    bounded_below: BoolArray
    bounded_above: BoolArray

    @property
    def bounded(self) -> bool:
        """Whether the judgments put an end to every ability."""
        return bool(self.bounded_below.all() and self.bounded_above.all())


def bradley_terry(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    worth: npt.ArrayLike,
    prompt: npt.ArrayLike,
    *,
    players: int,
    trial: npt.ArrayLike | None = None,
    position: bool = True,
    ridge: float = 0.01,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Abilities:
    """Abilities by maximum likelihood with a weak ridge, and their intervals over prompts.

    `first`, `second` and `prompt` are (m,) indices, players from 0 to `players` - 1; `worth` (m,) is what the
    judgment is worth to the first, in 0..1: a tie is half a win to each side, which assumes that it says no
    more than that the two are near. The position can be told from ability where pairs stand in both orders.

    `ridge` takes ridge / 2 times the sum of squared parameters off the log-likelihood, as a normal prior with
    variance 1 / ridge would, so that a player who always wins stays finite. A ridge of 0 is plain maximum
    likelihood, and ValueError where that has no maximum.

    Intervals are percentiles over resampled prompts, and where `bounded` is False, or beyond 2 logits, no
    narrower than Wald's. Of prompts that are all alike nothing is known but that there are few others, as
    in `proportions.share_interval`, in which the answer in question may always win, or always lose.
    `trial` (m,) says of which training (seed) of the players a judgment is; of two or more the intervals hold
    for other seeds too, by `crossed`, provided that all players have judgments in each.
    """
    tally = Tally.of(first, second, worth, prompt, trial, players=players)
    model = Model(players, tally.cells, position, ridge)
    counts, worths = (sums[0] for sums in tally.sums(np.ones((1, tally.prompts))))
    fit = _Fit.of(model, counts.sum(axis=0), worths.sum(axis=0), tally.prompts)
    if np.isnan(fit.found).any() or (ridge == 0 and not fit.bounds.all()):
        raise ValueError("no finite abilities: some players always win or never meet; give a ridge above 0")
    pooled, by_trial = _refits(model, tally, fit.found, draws, seed)
    ends = _ends(fit.found, pooled, tally.prompts, level)
    if draws and min(tally.trials, tally.prompts) > 1 and model.all_meet(counts):
        observed = model.fit(counts, worths, fit.found)
        ends = _ends_over_trials(fit.found, observed, by_trial, tally.prompts, level)
    ends = _widened(ends, fit, level)
    return _abilities(fit.found, ends, pooled, fit.covariance, position, fit.bounds)


@dataclass(frozen=True)
class _Fit:
    """The fit to all prompts: `counts` and `worths` (c,) by cell, parameters `found` (p,)."""

    model: Model
    counts: FloatArray
    worths: FloatArray
    prompts: int
    found: FloatArray
    covariance: FloatArray
    bounds: BoolArray

    @classmethod
    def of(cls, model: Model, counts: FloatArray, worths: FloatArray, prompts: int) -> _Fit:
        found = model.fit(counts[None], worths[None])[0]
        covariance = model.covariance(found, counts, worths)
        return cls(model, counts, worths, prompts, found, covariance, model.bounds(counts, worths))


def _widened(ends: Ends, fit: _Fit, level: float) -> Ends:
    """The ends; where resampled prompts say too little, at least Wald's, or what few others could change."""
    width = ends[1] - ends[0]
    by_wald = (np.abs(fit.found) > _FAR) & (width >= _ALIKE)
    by_wald[:-1] |= not fit.bounds.all()
    ends = _where(by_wald, _at_least_wald(ends, fit, level), ends)
    if (unknown := (width < _ALIKE) & ~by_wald).any():
        ends = _where(unknown, _around(fit.found, fit.model.fit(*_few_others(fit, level))), ends)
    return ends


def _refits(
    model: Model, tally: Tally, start: FloatArray, draws: int, seed: int
) -> tuple[FloatArray, FloatArray]:
    """(draws, p) fits to resampled prompts, and (draws, trials, p) of each trial where there are several."""
    p = model.players + 1
    pooled, by_trial = [np.empty((0, p))], [np.empty((0, tally.trials, p))]
    for counts, worths in tally.resampled(draws, seed, 4 * tally.trials * p * p):
        pooled.append(model.fit(counts.sum(axis=1), worths.sum(axis=1), start))
        if tally.trials > 1:
            flat = (-1, len(model.cells))
            fits = model.fit(counts.reshape(flat), worths.reshape(flat), start)
            by_trial.append(fits.reshape(-1, tally.trials, p))
    return np.concatenate(pooled), np.concatenate(by_trial)


def _ends(found: FloatArray, drawn: FloatArray, prompts: int, level: float) -> Ends:
    if not len(drawn):
        return np.full_like(found, math.nan), np.full_like(found, math.nan)
    return percentile_ends(drawn, prompts, level=level)


def _ends_over_trials(
    found: FloatArray, observed: FloatArray, drawn: FloatArray, prompts: int, level: float
) -> Ends:
    """As `crossed.spread` has it: the covariance of two trials over prompts, and the variance of trials.

    `observed` is (trials, p), `drawn` is (draws, trials, p).
    """
    trials = len(observed)
    centred = drawn - drawn.mean(axis=0)
    both, each = (centred.sum(axis=1) ** 2).mean(axis=0), (centred**2).sum(axis=1).mean(axis=0)
    shared = np.maximum(0.0, both - each) / (trials * (trials - 1)) * prompts / (prompts - 1)
    between = observed.var(axis=0, ddof=1) / trials
    intervals = [
        Spread((Part(float(over_prompts), prompts - 1), Part(float(over_trials), trials - 1))).interval(
            float(value), level
        )
        for value, over_prompts, over_trials in zip(found, shared, between, strict=True)
    ]
    low, high = np.array(intervals).T
    return low, high


def _at_least_wald(ends: Ends, fit: _Fit, level: float) -> Ends:
    """`ends` no nearer than the likelihood's own: all resamples of a player who always wins are alike."""
    _, quantile = Spread((Part(1.0, max(fit.prompts - 1, 1)),)).interval(0.0, level)
    reach = quantile * np.sqrt(np.diag(fit.covariance))
    return np.fmin(ends[0], fit.found - reach), np.fmax(ends[1], fit.found + reach)


def _few_others(fit: _Fit, level: float) -> tuple[FloatArray, FloatArray]:
    """(2 p, c) sums in which, of each parameter, few prompts are replaced by its worst, then by its best."""
    model, counts, worths = fit.model, fit.counts, fit.worths
    first, second = np.divmod(model.cells, model.players)
    player = np.arange(model.players)[:, None]
    best = np.where(first == player, counts, np.where(second == player, 0.0, worths))
    worst = np.where(first == player, 0.0, np.where(second == player, counts, worths))
    extreme = np.concatenate([worst, np.zeros((1, len(counts))), best, counts[None]])
    few = wilson(0, fit.prompts, level=level)[1]
    return np.tile(counts, (len(extreme), 1)), (1 - few) * worths + few * extreme


def _around(found: FloatArray, others: FloatArray) -> Ends:
    """The diagonals of two (p, p), the ends of each parameter in the fits that were made for it."""
    p = len(found)
    low, high = np.diag(others[:p]), np.diag(others[p:])
    return np.fmin(low, found), np.fmax(high, found)


def _where(which: BoolArray, ends: Ends, otherwise: Ends) -> Ends:
    return np.where(which, ends[0], otherwise[0]), np.where(which, ends[1], otherwise[1])


def _abilities(
    found: FloatArray,
    ends: Ends,
    drawn: FloatArray,
    covariance: FloatArray,
    position: bool,
    bounds: BoolArray,
) -> Abilities:
    finite = drawn[~np.isnan(drawn).any(axis=1), :-1]
    unknown = np.full(len(found) - 1, math.nan)
    return Abilities(
        value=found[:-1],
        low=ends[0][:-1],
        high=ends[1][:-1],
        standard_error=finite.std(axis=0, ddof=1) if len(finite) > 1 else unknown,
        draws=drawn[:, :-1],
        covariance=covariance[:-1, :-1],
        position=float(found[-1]) if position else 0.0,
        position_low=float(ends[0][-1]) if position else math.nan,
        position_high=float(ends[1][-1]) if position else math.nan,
        bounded_below=bounds[0],
        bounded_above=bounds[1],
    )
