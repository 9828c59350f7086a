"""Counts of successes: intervals and tests that stay honest at none, at all, and at few."""

from __future__ import annotations

import math
from statistics import NormalDist


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


def binomial_p_value(wins: int, losses: int) -> float:
    """Exact two-sided p-value of wins against losses under an even chance; 1 where there are none."""
    n, fewer = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << n))
