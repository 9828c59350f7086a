"""Counts of successes: intervals and tests that stay honest at none, at all, and at few."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from harness.protocols import FloatArray


class Estimate(NamedTuple):
    """A number with the ends of its interval; NaN where there is nothing to estimate it from."""

    value: float
    low: float
    high: float


_ALIKE = 1e-12
UNKNOWN = Estimate(math.nan, math.nan, math.nan)


def wilson(wins: float, n: float, *, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share wins / n, n >= 1; never of width 0, unlike the normal one.

    `wins` need not be whole: where each of the n counts by a mean in 0..1 (over seeds), the spread is at most
    that of wins and losses, so that the interval is wide enough.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    return wilson_ends(wins / n, n, NormalDist().inv_cdf((1 + level) / 2))


def wilson_ends(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's interval of a share of n, which need not be whole, for a quantile `z`."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # The ends are 0 and 1 exactly at no and all wins; rounding would leave them just beside.
    return (0.0 if share == 0 else centre - half), (1.0 if share == 1 else centre + half)


def share_interval(
    sums: FloatArray, counts: FloatArray | None = None, *, level: float = 0.95
) -> tuple[float, float]:
    """The interval of the share sum(sums) / sum(counts) over n >= 1 independent prompts, within 0..1.

    `sums` is (n,), each in 0..counts; `counts` (n,) above 0, or None: 1 each. Where each prompt is 0 or 1 of
    1 it is Wilson's. Else it is Wilson's for as many examples as would vary as much, with Student's quantile.
    Of prompts that are all alike nothing is known but that there are few others (no more than Wilson's
    interval allows after none in n), which may be worth anything.

    Sources: Kish, Survey Sampling (1965), section 8.2, for the effective size; Dean and Pagano, Evaluating
    Confidence Interval Methods for Binomial Proportions in Clustered Surveys (2015), for Wilson's with it.
    """
    from scipy.special import stdtrit

    weights = np.ones_like(sums) if counts is None else counts
    n, share = len(sums), float(sums.sum() / weights.sum())
    if np.all(weights == 1) and np.isin(sums, (0.0, 1.0)).all():
        return wilson(float(sums.sum()), n, level=level)
    residuals = sums - share * weights
    if np.abs(residuals).max() < _ALIKE * weights.max():
        other = wilson(0, n, level=level)[1]
        return (1 - other) * share, (1 - other) * share + other
    variance = n / (n - 1) * float(residuals @ residuals) / float(weights.sum()) ** 2
    return wilson_ends(share, share * (1 - share) / variance, float(stdtrit(n - 1, (1 + level) / 2)))


def within(low: float, high: float, most: float) -> tuple[float, float]:
    """The ends of an interval of what cannot be further from 0 than `most`; NaN stays NaN."""
    # NaN stands first, where both keep it.
    return max(low, -most), min(high, most)


def t_interval(values: FloatArray, *, level: float = 0.95) -> tuple[float, float]:
    """Student's interval of the mean of `values`, (n,), independent of one another; NaN below two.

    For values that are near normal, or n of 30 and more that are not too skewed.

    Source: Student, The Probable Error of a Mean (1908).
    """
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return math.nan, math.nan
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return mean - half, mean + half


def binomial_p_value(wins: int, losses: int) -> float:
    """Exact two-sided p-value of wins against losses under an even chance; 1 where there are none."""
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))
