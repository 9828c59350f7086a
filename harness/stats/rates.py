"""The mean worth of prompts to a player, each 0..1, with its interval and its test against an even contest.

The unit is the prompt; seeds of a candidate are a second sample, crossed with the prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray
from harness.stats.crossed import Spread, spread
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.paired import sign_flip
from harness.stats.proportions import share_interval, t_interval
from harness.stats.resampling import bootstrap

EVEN = 0.5
"""The win rate of two equals."""
IntervalMethod = Literal["wilson", "t", "bootstrap"]


@dataclass(frozen=True)
class Rate:
    """A win rate in 0..1 with its interval over `n` prompts; NaN where the rule kept no prompt."""

    value: float
    low: float
    high: float
    n: int


def rate(
    worths: npt.ArrayLike, *, interval: IntervalMethod = "wilson", seed: int = 0, level: float = 0.95
) -> Rate:
    """The mean over prompts of their worth to a player, a prompt's being the mean over its seeds.

    `worths` is (n,) or (seeds, n), in 0..1, NaN where nothing was kept. Prompts are taken as independent. The
    interval is
    - wilson: `proportions.share_interval`; the only one that stays in 0..1 and is never of width 0;
    - t: Student's, for means that are not near 0 or 1;
    - bootstrap: percentiles over resampled prompts, as `resampling.bootstrap`.
    Of several seeds the first two hold for other seeds too, by `crossed`; the bootstrap holds for these.
    """
    by_seed = np.atleast_2d(np.asarray(worths, dtype=np.float64))
    values = _by_prompt(by_seed)
    n = len(values)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    value = float(values.mean())
    low, high = _interval(by_seed, values, interval, seed, level)
    return Rate(value, low, high, n)


def p_value_of_even(worths: npt.ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean worth of 1/2 by sign flips of worth - 1/2; NaN without prompts.

    `worths` is as for `rate`. The p-value is exact where `lattice.units_of` finds a unit, as for wins, losses
    and ties (of wins and losses alone it is the binomial test), else from random flips. Of several seeds it
    is no smaller than that of their spread: agreement between few seeds proves little.
    """
    by_seed = np.atleast_2d(np.asarray(worths, dtype=np.float64))
    values = _by_prompt(by_seed)
    if len(values) == 0:
        return math.nan
    units = units_of(values - EVEN)
    if units is not None:
        p_value = exact_sign_flip(units)
    else:
        p_value = float(sign_flip(_with_count(values), _with_count(1 - values), _mean, seed=seed))
    over_seeds = _over_seeds(by_seed, seed)
    if over_seeds is None:
        return p_value
    return max(p_value, over_seeds.p_value(float(values.mean()) - EVEN))


def _interval(
    by_seed: FloatArray, values: FloatArray, method: IntervalMethod, seed: int, level: float
) -> tuple[float, float]:
    if method == "bootstrap":
        _, low, high = bootstrap(_with_count(values), _mean, seed=seed, level=level)
        return float(low), float(high)
    over_seeds = _over_seeds(by_seed, seed)
    value = float(values.mean())
    if over_seeds is not None and any(part.variance > 0 for part in over_seeds.parts):
        if method == "t":
            return over_seeds.interval(value, level)
        clear = bool(np.isin(values, (0.0, 1.0)).all())
        return over_seeds.share_interval(value, most=len(values) if clear else math.inf, level=level)
    return t_interval(values, level=level) if method == "t" else share_interval(values, level=level)


def _by_prompt(by_seed: FloatArray) -> FloatArray:
    """Mean over the kept seeds of each prompt; prompts without any are left out."""
    kept = ~np.isnan(by_seed)
    counts = kept.sum(axis=0)
    sums = np.where(kept, by_seed, 0.0).sum(axis=0)
    return np.asarray(sums[counts > 0] / counts[counts > 0], dtype=np.float64)


def _over_seeds(by_seed: FloatArray, seed: int) -> Spread | None:
    """The spread of the mean of (seeds, n) worths; None where fewer than two seeds, or prompts, have a pair.

    One prompt drawn again and again shows no spread.
    """
    kept = ~np.isnan(by_seed)
    told = kept.any(axis=1)
    if told.sum() < 2 or kept.any(axis=0).sum() < 2:
        return None
    statistics = np.stack([np.where(kept, by_seed, 0.0), kept.astype(np.float64)], axis=-1)
    return spread([statistics[told][:, kept.any(axis=0)]], _mean, seed=seed)


def _with_count(worths: FloatArray) -> FloatArray:
    return np.stack([worths, np.ones_like(worths)], axis=1)


def _mean(totals: FloatArray) -> FloatArray:
    return np.asarray(totals[:, 0] / totals[:, 1], dtype=np.float64)
