"""What a comparison can see: the smallest difference it would find, and the prompts another one takes."""

from __future__ import annotations

import math
from statistics import NormalDist


def smallest_effect(sd: float, n: int, *, power: float = 0.8, level: float = 0.95) -> float:
    """The true difference that n >= 1 prompts show with probability `power`, in the unit of `sd`.

    `sd` is the standard deviation of the paired differences between prompts; the test is two-sided at
    1 - `level`. Prompts are independent and n large enough for a normal mean.

    Source: Cohen, Statistical Power Analysis for the Behavioral Sciences (1988), chapter 2: (z_alpha/2 +
    z_beta) sd / sqrt(n).
    """
    return _quantiles(power, level) * sd / math.sqrt(n)


def prompts_needed(difference: float, sd: float, *, power: float = 0.8, level: float = 0.95) -> float:
    """The fewest prompts that show a true `difference` with probability `power`; inf where there is none.

    It is `smallest_effect` solved for n, a whole number of prompts of the same kind, 1 at least.
    """
    if difference == 0:
        return math.inf
    return max(1.0, math.ceil((_quantiles(power, level) * sd / difference) ** 2))


def _quantiles(power: float, level: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(power)
