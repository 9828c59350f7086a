"""Does the judge like longer answers, and who would win if answers were equally long?

The second is told by a logistic regression of the worth to the candidate, by quasi-likelihood, on a constant
for each opponent, +1/2 or -1/2 for standing first or second (where both occur), and tanh(d / s), d being the
candidate's length minus the opponent's and s the root mean square of d. It is not AlpacaEval's
length-controlled win rate (Dubois et al. (2024)): that has no term for the order, one for the difficulty of
each prompt, and parameters that other models' judgments determine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.protocols import BoolArray, FloatArray, IntArray
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.paired import sign_flip
from harness.stats.proportions import UNKNOWN, Estimate, share_interval
from harness.stats.resampling import percentile_ends, resampled_weights
from harness.stats.separation import Separation

_STEPS = 100
_CONVERGED = 1e-9
_EITHER_SIDE = 0.05
"""So many answers must be no longer, and as many no shorter: else equal length is at the edge of the data."""


@dataclass(frozen=True)
class LengthPreference:
    """How often the longer answer is preferred, a tie being one half, in 0..1 with its interval.

    `n` judgments are of answers that differ in length; `p_value` is two-sided against one half.
    """

    value: float
    low: float
    high: float
    n: int
    p_value: float


def length_preference(
    worth: FloatArray,
    length_first: FloatArray,
    length_second: FloatArray,
    prompt: npt.ArrayLike,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> LengthPreference:
    """The share of judgments that prefer the longer answer, with an interval and a test by prompt.

    All are (m,): the worth to the first in 0..1, the answers' lengths in characters (NaN where unknown), and
    the prompt's index. Judgments of answers as long as each other, or of unknown length, are left out. The
    interval is `proportions.share_interval`; the test flips, prompt by prompt, which of the two was longer.
    It says how verdicts go with length, not that length is the cause: better answers may well be longer.
    """
    use = np.isfinite(length_first) & np.isfinite(length_second) & (length_first != length_second)
    if not use.any():
        return LengthPreference(*UNKNOWN, 0, math.nan)
    longer = np.where(length_first > length_second, worth, 1 - worth)[use]
    index = _codes(np.asarray(prompt)[use])
    counts = np.bincount(index).astype(np.float64)
    sums: FloatArray = np.bincount(index, weights=longer).astype(np.float64)
    units = units_of(sums - counts / 2)
    if units is not None:
        p_value = exact_sign_flip(units)
    else:
        p_value = float(sign_flip(sums[:, None], (counts - sums)[:, None], _total, seed=seed))
    low, high = share_interval(sums, counts, level=level)
    return LengthPreference(float(longer.mean()), low, high, len(longer), p_value)


def length_adjusted(
    worth: FloatArray,
    length_first: FloatArray,
    length_second: FloatArray,
    prompt: npt.ArrayLike,
    *,
    candidate_first: BoolArray | None = None,
    opponent: npt.ArrayLike | None = None,
    ridge: float = 0.01,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The length-adjusted win rate: what a candidate would win if both answers were equally long.

    All arrays are (m,), the judgments of one candidate: `worth` to the answer that stood first, in 0..1;
    lengths in characters, NaN where unknown (left out); the prompt's index; `candidate_first`, where the
    candidate's answer stood first (everywhere, if None); `opponent`, its index (one and the same, if None).

    NaN where the judgments cannot tell: where all prompts are worth the same to the candidate; where in
    fewer than 5% of the judgments its answer is no longer, or no shorter, than the opponent's, so that equal
    lengths were hardly seen; and where length separates its wins from its losses (`separation`), in the
    judgments or in more than 1 - `level` of the resamples: as where fewer than three prompts stand against
    it. The ridge alone would make the rate then.

    The rate is what the model above predicts for answers of one length, the mean over both orders and over
    the opponents as often as they occur; `ridge` / 2 times the sum of the squared parameters is taken off its
    likelihood. The interval is of percentiles over resampled prompts, each refitted by one Newton step,
    without those that length separates; with fewer than about five prompts not won, or not lost, it is too
    narrow.

    Sources: Papke and Wooldridge, Econometric Methods for Fractional Response Variables (1996); Davidson and
    MacKinnon, Bootstrap Testing in Nonlinear Models (1999), for the one step.
    """
    seen = _seen(worth, length_first, length_second, prompt, candidate_first, opponent)
    if not len(seen.response) or not seen.tells:
        return UNKNOWN
    shares = np.bincount(seen.opponent) / len(seen.opponent)
    design = _design(seen.gap, seen.first, seen.opponent)
    separation = Separation.of(seen.response, design[:, -1], seen.first, seen.prompt, seen.opponent)
    n = len(separation.apart)
    if separation.among(np.ones((1, n), dtype=np.bool_)).any():
        return UNKNOWN
    found = _fit(design, seen.response, ridge)
    drawn = _one_step(design, seen, separation, found, ridge, draws, seed)
    low, high = percentile_ends(_equal_length_rate(drawn, shares), n, level=level)
    if np.isnan(low):
        return UNKNOWN
    return Estimate(float(_equal_length_rate(found[None], shares)[0]), float(low), float(high))


class _Seen(NamedTuple):
    """The judgments whose lengths are known, as the candidate sees them; (m,) each, indices without gaps.

    `response` is the worth to the candidate, `gap` its length minus the opponent's, `first` whether it stood
    first.
    """

    response: FloatArray
    gap: FloatArray
    first: BoolArray
    prompt: IntArray
    opponent: IntArray

    @property
    def tells(self) -> bool:
        """Whether outcomes differ, and equal lengths lie well within what was seen."""
        by_prompt = np.bincount(self.prompt, weights=self.response) / np.bincount(self.prompt)
        sides = np.mean(self.gap >= 0), np.mean(self.gap <= 0)
        return bool(np.ptp(by_prompt) > 0 and min(sides) >= _EITHER_SIDE)


def _seen(
    worth: FloatArray,
    length_first: FloatArray,
    length_second: FloatArray,
    prompt: npt.ArrayLike,
    candidate_first: BoolArray | None,
    opponent: npt.ArrayLike | None,
) -> _Seen:
    use = np.isfinite(length_first) & np.isfinite(length_second)
    first = np.ones(len(use), dtype=np.bool_) if candidate_first is None else candidate_first
    against = np.zeros(len(use)) if opponent is None else np.asarray(opponent)
    return _Seen(
        np.where(first, worth, 1 - worth)[use],
        np.where(first, 1.0, -1.0)[use] * (length_first - length_second)[use],
        first[use],
        _codes(np.asarray(prompt)[use]),
        _codes(against[use]),
    )


def _design(gap: FloatArray, ours_first: BoolArray, opponents: IntArray) -> FloatArray:
    """(m, opponents + 2): a constant for each opponent, the order, the length."""
    scale = math.sqrt(float(np.mean(gap**2))) or 1.0
    order = np.where(ours_first, 0.5, -0.5) if 0 < ours_first.mean() < 1 else np.zeros(len(gap))
    return np.column_stack([np.eye(opponents.max() + 1)[opponents], order, np.tanh(gap / scale)])


def _equal_length_rate(parameters: FloatArray, shares: FloatArray) -> FloatArray:
    """(b,): the rate that (b, opponents + 2) parameters predict without a difference in length."""
    constants, half = parameters[:, :-2], parameters[:, -2:-1] / 2
    both_orders = (_logistic(constants + half) + _logistic(constants - half)) / 2
    return np.asarray(both_orders @ shares)


def _fit(design: FloatArray, response: FloatArray, ridge: float) -> FloatArray:
    """(p,) parameters; the length of a step is that of `paired_comparisons.Model.fit`."""
    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        expected = _logistic(design @ found)
        slope = design.T @ (response - expected) - ridge * found
        curvature = (design.T * (expected * (1 - expected))) @ design
        step = _solve(curvature, slope, ridge)
        length = float(np.abs(design @ step).max())
        if length < _CONVERGED:
            break
        found += step * math.log1p(length) / length
    return found


def _one_step(
    design: FloatArray,
    seen: _Seen,
    separation: Separation,
    found: FloatArray,
    ridge: float,
    draws: int,
    seed: int,
) -> FloatArray:
    """(draws, p): parameters one Newton step from `found`, for resampled prompts.

    NaN for those that length separates. Slope and curvature at `found` are sums over prompts, so that a
    resample needs no judgment.
    """
    expected, index = _logistic(design @ found), seen.prompt
    n, p = len(separation.apart), design.shape[1]
    slopes, curvatures = np.zeros((n, p)), np.zeros((n, p, p))
    for i in range(p):
        slopes[:, i] = np.bincount(index, weights=design[:, i] * (seen.response - expected))
        weighted = design[:, i] * expected * (1 - expected)
        for j in range(i + 1):
            curvatures[:, i, j] = curvatures[:, j, i] = np.bincount(index, weights=weighted * design[:, j])
    steps = [np.empty((0, p))]
    for weights in resampled_weights(n, draws=draws, seed=seed, width=p * p):
        slope = weights @ slopes - ridge * found
        curvature = (weights @ curvatures.reshape(n, -1)).reshape(-1, p, p)
        stepped = found + _solve(curvature, slope, ridge)
        stepped[separation.among(weights > 0)] = np.nan
        steps.append(stepped)
    return np.concatenate(steps)


def _solve(curvature: FloatArray, slope: FloatArray, ridge: float) -> FloatArray:
    """Newton's steps (..., p); a parameter that nothing speaks of stays where it is."""
    p = slope.shape[-1]
    return np.asarray(np.linalg.solve(curvature + (ridge + 1e-12) * np.eye(p), slope[..., None])[..., 0])


def _logistic(logits: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-logits)))


def _codes(labels: npt.NDArray[np.generic]) -> IntArray:
    """(m,): 0, 1, ... for the distinct labels, in their order."""
    _, index = np.unique(labels, return_inverse=True)
    return np.asarray(index, dtype=np.int64)


def _total(totals: FloatArray) -> FloatArray:
    return totals[:, 0]
