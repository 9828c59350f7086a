"""Win rates by three rules with the judge's diagnostics, of many contests at once.

A contest is Duels seen from one side: one pair of players, one player against the field, or all verdicts
together. What `harness.stats.pairwise.aggregate` computes for one pair is computed here for every contest. A
pair that was asked about in one order only has an average, and nothing that would need the other order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.judging.duels import Duels, mean_by_group
from harness.protocols import BoolArray, FloatArray, IntArray
from harness.stats.agreement import cohen_kappa
from harness.stats.pairwise import RULES
from harness.stats.proportions import binomial_p_value
from harness.stats.rates import EVEN, rate

Json = dict[str, Any]
Signs = npt.NDArray[np.int8]


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
    return dict(zip(RULES, _by_place(contest, by_rule), strict=True))


def average(contest: Duels) -> Worths:
    """What the prompts are worth by the first of the rules."""
    (found,) = _by_place(contest, [contest.average])
    return found


def _by_place(contest: Duels, columns: Sequence[FloatArray]) -> list[Worths]:
    """Each column (M,), a value for a duel, as means within prompt and seed."""
    seeds, seed = np.unique(contest.seed, return_inverse=True)
    prompts, prompt = np.unique(contest.prompt, return_inverse=True)
    shape = len(seeds), len(prompts)
    place = seed * len(prompts) + prompt
    return [
        Worths(mean_by_group(values, place, len(seeds) * len(prompts)).reshape(shape), prompts)
        for values in columns
    ]


def diagnostics(contest: Duels, *, both_sides: bool = False) -> Json:
    """The judge's consistency between the orders, as shares of what it judged in both, or NaN.

    `one_order` duels are left out because, unlike others of their pair, they were asked about in one order.
    `flipped_to_*` are prompts: each counts once, for the side to which more of its duels flipped;
    `position_p_value` is a sign test of them. `kappa` is of the worth to side a; with `both_sides` every duel
    counts from both, where which of a pair is a means nothing. `identical` counts the pairs of identical
    answers, which are in no other figure: they say nothing of the judge.
    """
    first, second = contest.won
    asked = ~contest.settled
    complete, judged = contest.complete & asked, int((contest.judged & asked).sum())
    count = int(complete.sum())
    to_first, to_second = complete & (first == 1) & (second == -1), complete & (first == -1) & (second == 1)
    agree = complete & (first == second)
    majority = np.sign(np.bincount(contest.prompt, weights=to_first.astype(np.float64) - to_second))
    flipped = int((majority > 0).sum()), int((majority < 0).sum())

    def share(mask: BoolArray) -> float:
        return float(mask.sum() / count) if count else math.nan

    return {
        "pairs": judged,
        "incomplete": int(asked.sum()) - judged,
        "one_order": int((contest.swapped[contest.pair] & ~contest.asked.all(axis=0) & asked).sum()),
        "identical": int(contest.settled.sum()),
        "consistency": share(agree),
        "consistent_ties": share(agree & (first == 0)),
        "flips_to_first": share(to_first),
        "flips_to_second": share(to_second),
        "win_tie": share(complete & ((first == 0) ^ (second == 0))),
        "kappa": _kappa(first[complete], second[complete], both_sides),
        "flipped_to_first": flipped[0],
        "flipped_to_second": flipped[1],
        "position_p_value": binomial_p_value(*flipped) if count else math.nan,
    }


def wins(contest: Duels) -> float:
    """The share of all judged pairs that side a wins by choice, in both orders where both were asked."""
    judged = contest.judged
    return float((contest.lead[judged] == 1).mean()) if judged.any() else math.nan


def unparsed(contest: Duels) -> Json:
    """The shares of unreadable verdicts: of all, where side a stood first, and where b did.

    `most_unparsed` is the share in that pair of the contest of which the most could not be read.
    """
    by_pair = [
        np.bincount(contest.pair, weights=which.sum(axis=0), minlength=len(contest.pairs))
        for which in (contest.unread, contest.asked)
    ]
    asked = contest.asked[:, ~contest.settled].sum(axis=1)
    missing = asked - contest.parsed[:, ~contest.settled].sum(axis=1)
    a_first, b_first = (float(m / n) if n else math.nan for m, n in zip(missing, asked, strict=True))
    return {
        "unparsed": float(missing.sum() / asked.sum()) if asked.sum() else math.nan,
        "most_unparsed": float((by_pair[0] / np.maximum(by_pair[1], 1)).max(initial=0.0)),
        "unparsed_a_first": a_first,
        "unparsed_b_first": b_first,
    }


def rates(contest: Mapping[str, Worths], *, seed: int = 0) -> dict[str, Json]:
    """Rule -> {value, low, high, n}: 95% intervals over prompts, and seeds if several, by `stats.rates`."""
    return {rule: asdict(rate(contest[rule].by_seed, seed=seed)) for rule in RULES}


def ratio(totals: FloatArray) -> FloatArray:
    """Sums over counts, of (m, 2)."""
    return np.asarray(totals[:, 0] / totals[:, 1], dtype=np.float64)


def total(totals: FloatArray) -> FloatArray:
    """The sums themselves, of (m, 1)."""
    return totals[:, 0]


def _kappa(first: Signs, second: Signs, both_sides: bool) -> float:
    """Cohen's kappa of who wins in one order, 1 for a, 0 for nobody, -1 for b, with who does in the other."""
    if both_sides:
        first, second = np.concatenate([first, -first]), np.concatenate([second, -second])
    return cohen_kappa(first + 1, second + 1, categories=3, draws=1).value
