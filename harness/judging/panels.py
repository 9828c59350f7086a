"""Win rates by three rules with the judge's diagnostics, of many contests at once.

A contest is Duels seen from one side: one pair of players, one player against the field, or all verdicts
together. What `harness.stats.pairwise.aggregate` says of one pair is said here of every contest, with shared
bootstrap draws. A pair that was asked about in one order only has an average, and nothing that would need
the other order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from harness.judging.duels import Duels, mean_by_group
from harness.judging.table import BoolArray, IntArray
from harness.protocols import FloatArray
from harness.stats.agreement import cohen_kappa
from harness.stats.crossed import spread
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.paired import sign_flip
from harness.stats.proportions import binomial_p_value, wilson
from harness.stats.resampling import bootstrap

Json = dict[str, Any]
RULES = ("average", "tie_on_disagreement", "consistent_only")
EVEN = 0.5
"""The worth of a prompt to two equals."""


@dataclass(frozen=True, eq=False)
class Worths:
    """What the prompts of a contest are worth to its side by one rule.

    `by_seed` is (S, N), NaN where nothing is kept; `prompts` (N,) says which prompts they are, ascending.
    """

    by_seed: FloatArray
    prompts: IntArray

    def on(self, prompts: IntArray) -> Worths:
        """The same on some of the prompts."""
        return Worths(self.by_seed[:, np.searchsorted(self.prompts, prompts)], prompts)

    @cached_property
    def by_prompt(self) -> FloatArray:
        """(N,): the mean over seeds; NaN where no seed is kept."""
        seeds, n = self.by_seed.shape
        return mean_by_group(self.by_seed.ravel(), np.tile(np.arange(n), seeds), n)

    @cached_property
    def kept(self) -> BoolArray:
        """(N,): whether the rule keeps the prompt."""
        return ~np.isnan(self.by_prompt)

    @cached_property
    def known(self) -> FloatArray:
        """(n,): the worths of the prompts that are kept."""
        return self.by_prompt[self.kept]

    @property
    def value(self) -> float:
        """The mean worth; NaN where no prompt is kept."""
        return float(self.known.mean()) if len(self.known) else math.nan

    @property
    def clear(self) -> bool:
        """Whether every prompt that is kept is a win or a loss."""
        return bool(np.isin(self.known, (0.0, 1.0)).all())

    @cached_property
    def trials(self) -> FloatArray:
        """(seeds, n, 2): sums and counts of the prompts that are kept, of the seeds that have any."""
        given = ~np.isnan(self.by_seed)
        both = np.stack([np.where(given, self.by_seed, 0.0), given.astype(np.float64)], axis=-1)
        return both[given.any(axis=1)][:, self.kept]

    @property
    def several_seeds(self) -> bool:
        """Whether there is a spread between seeds to be seen."""
        return len(self.trials) > 1


def worths(contest: Duels) -> dict[str, Worths]:
    """Rule -> what the prompts are worth; several pairs are averaged within prompt and seed."""
    agree = contest.complete & (contest.won[0] == contest.won[1])
    by_choice = (1 + contest.won[0]) / 2
    tied = np.where(agree, by_choice, EVEN)
    by_rule = (
        contest.average,
        np.where(contest.complete, tied, np.nan),
        np.where(agree & (contest.won[0] != 0), by_choice, np.nan),
    )
    seeds, seed = np.unique(contest.seed, return_inverse=True)
    prompts, prompt = np.unique(contest.prompt, return_inverse=True)
    shape = len(seeds), len(prompts)
    place = seed * len(prompts) + prompt
    return {
        rule: Worths(mean_by_group(values, place, len(seeds) * len(prompts)).reshape(shape), prompts)
        for rule, values in zip(RULES, by_rule, strict=True)
    }


def diagnostics(contest: Duels) -> Json:
    """The judge's consistency between the orders, as shares of what it judged in both, or NaN."""
    first, second = contest.won
    complete, judged = contest.complete, int(contest.judged.sum())
    count = int(complete.sum())
    to_first, to_second = complete & (first == 1) & (second == -1), complete & (first == -1) & (second == 1)
    agree = complete & (first == second)

    def share(mask: BoolArray) -> float:
        return float(mask.sum() / count) if count else math.nan

    return {
        "pairs": judged,
        "incomplete": len(contest.judged) - judged,
        "consistency": share(agree),
        "consistent_ties": share(agree & (first == 0)),
        "flips_to_first": share(to_first),
        "flips_to_second": share(to_second),
        "win_tie": share(complete & ((first == 0) ^ (second == 0))),
        "kappa": cohen_kappa(first[complete] + 1, second[complete] + 1, categories=3, draws=1).value,
        "position_p_value": _position_p_value(contest, to_first, to_second) if count else math.nan,
    }


def unparsed(contest: Duels) -> Json:
    """The shares of unreadable verdicts: of all, where side a stood first, and where b did."""
    asked = contest.asked.sum(axis=1)
    missing = asked - contest.parsed.sum(axis=1)
    a_first, b_first = (float(m / n) if n else math.nan for m, n in zip(missing, asked, strict=True))
    return {
        "unparsed": float(missing.sum() / asked.sum()) if asked.sum() else math.nan,
        "unparsed_a_first": a_first,
        "unparsed_b_first": b_first,
    }


def rates(contests: Sequence[Mapping[str, Worths]], *, seed: int = 0) -> list[dict[str, Json]]:
    """For each contest, rule -> {value, low, high, n}: 95% intervals over prompts, and seeds if several.

    Intervals are Wilson's where every prompt is a clear win or loss, else percentiles of the bootstrap by
    prompt; of several seeds those of `harness.stats.crossed`.
    """
    keys = [(index, rule) for index in range(len(contests)) for rule in RULES]
    ends = {key: _closed_ends(contests[key[0]][key[1]], seed) for key in keys}
    alike: dict[int, list[tuple[int, str]]] = {}
    for key in keys:
        if ends[key] is None:  # so many prompts are drawn alike, whichever they are
            alike.setdefault(len(contests[key[0]][key[1]].known), []).append(key)
    for members in alike.values():
        known = np.stack([contests[index][rule].known for index, rule in members], axis=1)
        _, low, high = bootstrap(np.stack([known, np.ones_like(known)], axis=-1), ratio, seed=seed)
        ends.update({key: (float(low[i]), float(high[i])) for i, key in enumerate(members)})
    return [
        {rule: _rate(contest[rule], ends[index, rule]) for rule in RULES}
        for index, contest in enumerate(contests)
    ]


def p_value_of_even(worth: Worths, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean worth of 1/2: sign flips of worth - 1/2 by prompt, exact where they can be.

    Of several seeds it is no smaller than that over seeds and prompts. NaN where no prompt is kept.
    """
    known = worth.known
    if len(known) == 0:
        return math.nan
    units = units_of(known - EVEN)
    if units is not None:
        p_value = exact_sign_flip(units)
    else:
        p_value = float(sign_flip(known[:, None], 1 - known[:, None], total, seed=seed))
    if worth.several_seeds:
        p_value = max(p_value, spread([worth.trials], ratio, seed=seed).p_value(worth.value - EVEN))
    return p_value


def ratio(totals: FloatArray) -> FloatArray:
    """Sums over counts, of (m, 2)."""
    return np.asarray(totals[:, 0] / totals[:, 1], dtype=np.float64)


def total(totals: FloatArray) -> FloatArray:
    """The sums themselves, of (m, 1)."""
    return totals[:, 0]


def _position_p_value(contest: Duels, to_first: BoolArray, to_second: BoolArray) -> float:
    """Sign test over prompts: each counts once, for the side to which more of its duels flipped."""
    majority = np.bincount(contest.prompt, weights=to_first.astype(np.float64) - to_second)
    return binomial_p_value(int((majority > 0).sum()), int((majority < 0).sum()))


def _closed_ends(worth: Worths, seed: int) -> tuple[float, float] | None:
    """The interval's ends where no bootstrap is needed."""
    n = len(worth.known)
    if n == 0:
        return math.nan, math.nan
    if worth.several_seeds:
        over_seeds = spread([worth.trials], ratio, seed=seed)
        return over_seeds.share_interval(worth.value, most=n if worth.clear else math.inf)
    return wilson(int(worth.known.sum()), n) if worth.clear else None


def _rate(worth: Worths, ends: tuple[float, float] | None) -> Json:
    low, high = ends or (math.nan, math.nan)
    return {"value": worth.value, "low": low, "high": high, "n": len(worth.known)}
