"""What a comparison can see: the smallest difference it would find, and the prompts another one takes."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TypedDict

from harness.stats.multiplicity import ALPHA

TOO_MANY = 10**9
"""Nobody asks as many prompts: a difference that takes more is that of rounding, or as good as none."""


class Power(TypedDict):
    """`smallest_effect` in the unit of the difference, `more_prompts` beyond n; None where unknown."""

    smallest_effect: float | None
    more_prompts: int | None


def power_of(difference: float, sd: float, n: int, family: int, *, most: float = math.inf) -> Power:
    """What a comparison on `n` prompts could have shown, and what would show the difference that it found.

    Both with probability 0.8, for a test at ALPHA / `family`: the strictest of Holm's among so many
    comparisons. `sd` is the standard deviation between prompts. `smallest_effect` is None where it would be
    above `most`, the largest difference that there can be; `more_prompts` is 1 at least, and None where
    TOO_MANY would not do.
    """
    if n < 1 or not (math.isfinite(difference) and math.isfinite(sd)):
        return {"smallest_effect": None, "more_prompts": None}
    level = 1 - ALPHA / max(family, 1)
    needed = prompts_needed(difference, sd, level=level)
    smallest = smallest_effect(sd, n, level=level)
    return {
        "smallest_effect": smallest if smallest <= most and math.isfinite(smallest) else None,
        "more_prompts": max(int(needed) - n, 1) if sd > 0 and needed <= TOO_MANY else None,
    }


def implied_sd(low: float | None, high: float | None, n: int) -> float:
    """The standard deviation between prompts that a 95% interval of a mean of n implies; NaN without one."""
    if low is None or high is None:
        return math.nan
    return (high - low) / 2 / NormalDist().inv_cdf(0.975) * math.sqrt(n)


def smallest_effect(sd: float, n: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference that n >= 1 prompts show with probability `power`, in the unit of `sd`.

    `sd` is the standard deviation of the paired differences between prompts. NaN where it is 0, of which no
    effect can be told, and where n prompts show nothing, however large it is. It is `prompts_needed` solved
    for the difference.
    """
    z_alpha, z_beta = _quantiles(power, level)
    if sd <= 0 or n < _fewest(level) or n <= z_alpha**2:
        return math.nan
    root = math.sqrt(n + z_beta**2 - z_alpha**2)
    return sd * (z_beta * math.sqrt(n) + z_alpha * root) / (n - z_alpha**2)


def prompts_needed(difference: float, sd: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """The fewest prompts that show a true `difference` with probability `power`; inf where there is none.

    A whole number of prompts of the same kind, for a two-sided sign-flip test at 1 - `level`. Where there is
    no difference its mean square is that of the data, sd^2 + difference^2, so that n = ((z_alpha/2
    sqrt(sd^2 + difference^2) + z_beta sd) / difference)^2; and all 2^n signs must be enough for the level.
    Prompts are independent and n large enough for a normal mean.

    Sources: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2, for small
    differences; Lehmann and Romano, Testing Statistical Hypotheses (2005), section 15.2, for the spread.
    """
    if difference == 0:
        return math.inf
    z_alpha, z_beta = _quantiles(power, level)
    needed = ((z_alpha * math.hypot(sd, difference) + z_beta * sd) / difference) ** 2
    return float(max(_fewest(level), math.ceil(needed)))


def _fewest(level: float) -> int:
    """The fewest prompts of which 2^-(n - 1), the p-value when all agree, is no more than 1 - `level`."""
    return math.ceil(1 - math.log2(1 - level))


def _quantiles(power: float, level: float) -> tuple[float, float]:
    normal = NormalDist()
    return normal.inv_cdf((1 + level) / 2), normal.inv_cdf(power)
