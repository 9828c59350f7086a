"""Agreement beyond chance, of two raters or many, with an interval over the units that they rated.

Each coefficient is a function of sums over units, so that one bootstrap serves them all. Categories are names
without order (nominal); -1 stands for a rating that is missing.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray, IntArray
from harness.stats.proportions import UNKNOWN, Estimate
from harness.stats.resampling import ScoreFunction, bootstrap


def cohen_kappa(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    *,
    categories: int,
    cluster: npt.ArrayLike | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Cohen's kappa of two raters with a bootstrap interval; NaN where both only ever used one category.

    `a` and `b` are (units,) codes 0..categories - 1, or -1 where missing; units that either lacks are left
    out. Units with the same number in `cluster` (units,) are resampled together; without it, each is alone.

    Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960).
    """
    one, other = np.asarray(a, dtype=np.int64), np.asarray(b, dtype=np.int64)
    both = (one >= 0) & (other >= 0)
    cells = np.eye(categories**2)[one[both] * categories + other[both]]
    return _estimate(cells, _kappa, _kept(cluster, both), draws, seed, level)


def fleiss_kappa(
    counts: npt.ArrayLike,
    *,
    cluster: npt.ArrayLike | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Fleiss' kappa of many raters with a bootstrap interval; NaN where only one category was ever used.

    `counts` is (units, categories): how many raters put the unit into the category. Each unit has the same
    number of raters, two or more, who need not be the same people. `cluster` is as for `cohen_kappa`.

    Source: Fleiss, Measuring Nominal Scale Agreement Among Many Raters (1971).
    """
    table = np.asarray(counts, dtype=np.float64)
    raters = table.sum(axis=1)
    if len(table) and (raters.min() != raters.max() or raters[0] < 2):
        raise ValueError("Fleiss' kappa takes the same number of raters for each unit, two or more")
    agreeing = (table * (table - 1)).sum(axis=1) / (raters * (raters - 1))
    statistics = np.column_stack([agreeing, np.ones(len(table)), table])
    return _estimate(statistics, _fleiss, cluster, draws, seed, level)


def krippendorff_alpha(
    ratings: npt.ArrayLike,
    *,
    cluster: npt.ArrayLike | None = None,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """Krippendorff's nominal alpha with a bootstrap interval; NaN where only one category was ever used.

    `ratings` is (raters, units), codes from 0 on, -1 where missing; units with fewer than two ratings say
    nothing. `cluster` is as for `cohen_kappa`. The interval resamples units, not pairs of ratings as the
    source does, so that it holds for other units of the same kind.

    Source: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011).
    """
    codes = np.asarray(ratings, dtype=np.int64)
    categories = int(codes.max(initial=0)) + 1
    counts = (codes[:, :, None] == np.arange(categories)).sum(axis=0).astype(np.float64)
    pairable = counts.sum(axis=1) >= 2
    statistics = _coincidences(counts[pairable])
    return _estimate(statistics, _alpha, _kept(cluster, pairable), draws, seed, level)


def _coincidences(counts: FloatArray) -> FloatArray:
    """(units, categories + 1): values by category, and how many of them agree, by Krippendorff's count."""
    values = counts.sum(axis=1, keepdims=True)
    agreeing = (counts * (counts - 1) / (values - 1)).sum(axis=1)
    return np.column_stack([counts, agreeing])


def _alpha(totals: FloatArray) -> FloatArray:
    counts, agreeing = totals[:, :-1], totals[:, -1]
    n = counts.sum(axis=1)
    by_chance = (counts * (counts - 1)).sum(axis=1) / (n - 1)
    return np.asarray(1 - (n - agreeing) / (n - by_chance))


def _kappa(totals: FloatArray) -> FloatArray:
    size = math.isqrt(totals.shape[1])
    tables = totals.reshape(-1, size, size)
    n = totals.sum(axis=1)
    observed = np.trace(tables, axis1=1, axis2=2) / n
    chance = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / n**2
    return _beyond(observed, chance)


def _fleiss(totals: FloatArray) -> FloatArray:
    agreeing, units, table = totals[:, 0], totals[:, 1], totals[:, 2:]
    shares = table / table.sum(axis=1, keepdims=True)
    return _beyond(agreeing / units, (shares**2).sum(axis=1))


def _beyond(observed: FloatArray, chance: FloatArray) -> FloatArray:
    return np.asarray((observed - chance) / (1 - chance))


def _kept(cluster: npt.ArrayLike | None, kept: npt.NDArray[np.bool_]) -> IntArray | None:
    return None if cluster is None else np.asarray(cluster, dtype=np.int64)[kept]


def _estimate(
    statistics: FloatArray,
    score: ScoreFunction,
    cluster: npt.ArrayLike | None,
    draws: int,
    seed: int,
    level: float,
) -> Estimate:
    if len(statistics) == 0:
        return UNKNOWN
    if cluster is not None:
        _, index = np.unique(np.asarray(cluster), return_inverse=True)
        sums = np.zeros((index.max() + 1, statistics.shape[1]))
        np.add.at(sums, index, statistics)
        statistics = sums
    return Estimate(*map(float, bootstrap(statistics, score, draws=draws, seed=seed, level=level)))
