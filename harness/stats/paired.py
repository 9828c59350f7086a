"""Is a difference between two systems real? One randomisation test for every additive metric."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.protocols import FloatArray
from harness.stats.proportions import binomial_p_value, t_interval
from harness.stats.resampling import ScoreFunction, block_sizes, score_totals

FLIPS = 10_000
"""Random swaps, where nobody says otherwise."""
TIE_TOLERANCE = 1e-10
"""Differences this close, relative to the scores, are equal: sums in another order differ by rounding."""


class Difference(NamedTuple):
    """A mean difference with its interval and the two-sided p-value of there being none."""

    value: float
    low: float
    high: float
    p_value: float


def paired_t(differences: FloatArray, *, level: float = 0.95) -> Difference:
    """The mean of paired differences by Student's t; (n,), one a prompt, in any unit.

    Prompts are independent and the mean difference is near normal: n of 30 and more, or differences that are
    not too skewed. Below two prompts all but the value is NaN; differences that are all alike are certain.

    Source: Student, The Probable Error of a Mean (1908).
    """
    from scipy.special import stdtr

    n = len(differences)
    value = float(np.mean(differences)) if n else math.nan
    low, high = t_interval(differences, level=level)
    if n < 2:
        return Difference(value, low, high, math.nan)
    error = float(np.std(differences, ddof=1)) / math.sqrt(n)
    if error == 0:
        return Difference(value, low, high, 0.0 if value else 1.0)
    return Difference(value, low, high, 2 * float(stdtr(n - 1, -abs(value) / error)))


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided p-value of two systems being right equally often, each prompt right or wrong.

    `wins` are the prompts that only the first has right, `losses` those that only the second has; prompts on
    which they agree say nothing.

    Source: McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions (1947), in
    its exact binomial form.
    """
    return binomial_p_value(wins, losses)


def sign_flip(
    a: FloatArray, b: FloatArray, score: ScoreFunction, *, draws: int = FLIPS, seed: int = 0
) -> FloatArray:
    """Two-sided p-values of |score(a) - score(b)| by paired approximate randomisation.

    `a` and `b` are (n, ..., k), finite, n >= 1, row i of both being the same prompt; the result has the
    shape of the axes in between. Null hypothesis: on each prompt the two systems' statistics are
    exchangeable. Each draw swaps them on a random half of the prompts. p = (1 + c) / (1 + draws), c the
    draws at least as far apart as observed; where all 2**n swaps are no more than `draws` they are
    enumerated, and p is exact. A swap with an undefined score counts as at least as far apart; an
    undefined observed difference has p = NaN.

    Source: Noreen, Computer-Intensive Methods for Testing Hypotheses (1989); Riezler and Maxwell, On Some
    Pitfalls in Automatic Evaluation and Significance Testing for MT (2005), figure 1.
    """
    n, batch = len(a), a.shape[1:-1]
    if n == 0:
        raise ValueError("no prompts to compare")
    gap = (b - a).reshape(n, -1)
    total_a, total_b = a.sum(axis=0), b.sum(axis=0)
    score_a, score_b = score_totals(total_a, score), score_totals(total_b, score)
    threshold = np.abs(score_a - score_b) - TIE_TOLERANCE * (np.abs(score_a) + np.abs(score_b))
    nearer = np.zeros(batch, dtype=np.int64)
    drawn = 0
    for swaps in _swaps(n, draws, seed, gap.shape[1]):
        moved = (swaps @ gap).reshape(len(swaps), *a.shape[1:])
        difference = score_totals(total_a + moved, score) - score_totals(total_b - moved, score)
        nearer += (np.abs(difference) < threshold).sum(axis=0)
        drawn += len(swaps)
    exact = _is_exact(n, draws)
    p_values = (drawn - nearer) / drawn if exact else (1 + drawn - nearer) / (1 + drawn)
    return np.where(np.isnan(threshold), np.nan, p_values)


def _is_exact(n: int, draws: int) -> bool:
    return n < 63 and 2**n <= draws


def _swaps(n: int, draws: int, seed: int, width: int) -> Iterator[FloatArray]:
    """Blocks (m, n) of 0 and 1, 1 where a prompt's systems are swapped: all 2**n, or `draws` random ones."""
    if _is_exact(n, draws):
        yield (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.float64)
        return
    generator = np.random.default_rng(seed)
    words = -(-n // 64)
    for size in block_sizes(draws, max(n, width)):
        # Whole words, so that the draws do not depend on the size of the blocks.
        bits = generator.integers(2**64, size=(size, words), dtype=np.uint64).view(np.uint8)
        yield np.unpackbits(bits, axis=1)[:, :n].astype(np.float64)
