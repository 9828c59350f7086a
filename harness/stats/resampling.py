"""Bootstrap intervals by prompt, one implementation for every additive metric.

A metric is per-prompt statistics and a function of their sum, so a resample of prompts is a vector of
counts and all resamples together are one matrix product. Arrays are (prompts, ..., statistics): axes in
between are systems measured on the same prompts, which are then all resampled alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from harness.protocols import FloatArray

ScoreFunction = Callable[[FloatArray], FloatArray]
"""Sums of shape (m, k) to values of shape (m,); NaN where undefined."""

DRAWS = 2000
"""Resamples, where nobody says otherwise."""
BLOCK_BYTES = 32 * 2**20
"""About the size of the largest temporary array, so that memory does not grow with draws times prompts."""


class Interval(NamedTuple):
    """A value with the ends of its interval; each of the shape of the axes between prompts and statistics."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def bootstrap(
    statistics: FloatArray, score: ScoreFunction, *, draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Interval:
    """The score of all prompts, with its percentile interval when prompts are drawn with replacement.

    `statistics` is (n, ..., k), finite, n >= 1. Prompts are taken as independent. Draws whose score is
    undefined are left out; where they are more than 1 - level of all draws, the interval is NaN. One
    prompt, or prompts that are all alike, give an interval of width 0: they say nothing of the spread.
    The percentiles are those of `percentile_ends`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    return _percentile_interval(statistics, lambda totals: score_totals(totals, score), draws, seed, level)


def paired_bootstrap(
    a: FloatArray,
    b: FloatArray,
    score: ScoreFunction,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """score(a) - score(b) with its percentile interval; both systems are resampled with the same prompts.

    `a` and `b` are (n, ..., k), finite, n >= 1, row i of both being the same prompt. Undefined draws are
    treated as in `bootstrap`.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation (2004), section 4.
    """

    def difference(totals: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):  # of two that a division by zero left infinite
            return score_totals(totals[:, 0], score) - score_totals(totals[:, 1], score)

    return _percentile_interval(np.stack([a, b], axis=1), difference, draws, seed, level)


def resampled_scores(
    statistics: FloatArray, score: ScoreFunction, *, draws: int = DRAWS, seed: int = 0
) -> FloatArray:
    """(draws, ...): the scores of `statistics`, (n, ..., k), when prompts are drawn with replacement.

    The draws are those of `bootstrap`.
    """
    return np.concatenate(
        [score_totals(totals, score) for totals in _resampled_totals(statistics, draws, seed)]
    )


def score_totals(totals: FloatArray, score: ScoreFunction) -> FloatArray:
    """`score` of totals (..., k) as (...); NaN or infinite where a division by zero leaves it undefined.

    `score` is only ever given two axes, so that a metric written for (examples, k) serves everywhere.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = score(totals.reshape(-1, totals.shape[-1]))
    return np.asarray(values, dtype=np.float64).reshape(totals.shape[:-1])


def block_sizes(rows: int, row_width: int) -> Iterator[int]:
    """Sizes of blocks that cover `rows` rows of `row_width` floats, each block within BLOCK_BYTES."""
    size = max(1, BLOCK_BYTES // (8 * max(1, row_width)))
    for start in range(0, rows, size):
        yield min(size, rows - start)


def _percentile_interval(
    statistics: FloatArray, value: ScoreFunction, draws: int, seed: int, level: float
) -> Interval:
    if len(statistics) == 0:
        raise ValueError("no prompts to resample")
    if not np.isfinite(statistics).all():
        raise ValueError("statistics must be finite: leave out prompts that were not measured")
    drawn = np.concatenate([value(totals) for totals in _resampled_totals(statistics, draws, seed)])
    low, high = percentile_ends(drawn, len(statistics), level=level)
    return Interval(value(statistics.sum(axis=0, keepdims=True))[0], low, high)


def _resampled_totals(statistics: FloatArray, draws: int, seed: int) -> Iterator[FloatArray]:
    """Blocks (m, ..., k) of sums over resampled prompts; the same n and seed draw the same prompts."""
    n = len(statistics)
    flat = statistics.reshape(n, -1)
    for weights in resampled_weights(n, draws=draws, seed=seed, width=flat.shape[1]):
        yield (weights @ flat).reshape(len(weights), *statistics.shape[1:])


def resampled_weights(n: int, *, draws: int, seed: int, width: int = 1) -> Iterator[FloatArray]:
    """Blocks (m, n), `draws` rows in all: how often each of n units is drawn when n are, with replacement.

    `width` is the number of floats that the caller makes of each row. The same n and seed give the same rows,
    however they fall into blocks.
    """
    generator = np.random.default_rng(seed)
    for size in block_sizes(draws, max(n, width)):
        # Counting n uniform draws is a multinomial draw, ten times as fast as Generator.multinomial.
        drawn = generator.integers(n, size=(size, n)) + n * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)


def percentile_ends(drawn: FloatArray, n: int, *, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
    """The ends (...) of the interval that (draws, ...) scores of n resampled prompts give: two percentiles.

    They lie a little further out than (1 - level) / 2. Resamples of n spread as n rather than n - 1 would
    have it, and a normal quantile stands where Student's belongs: plain percentiles of a mean of 50 cover
    93%. Undefined draws are treated as in `bootstrap`.

    Source: Hesterberg, What Teachers Should Know About the Bootstrap (2015), for expanded percentiles.
    """
    defined = np.isfinite(drawn)
    usable = np.atleast_1d(defined.mean(axis=0) >= level)
    columns = np.where(defined, drawn, np.nan).reshape(len(drawn), -1)
    ends = np.full((2, columns.shape[1]), np.nan)
    tail = _expanded_tail(n, level)
    ends[:, usable.ravel()] = np.nanquantile(columns[:, usable.ravel()], [tail, 1 - tail], axis=0)
    low, high = ends.reshape(2, *drawn.shape[1:])
    return low, high


def _expanded_tail(n: int, level: float) -> float:
    from scipy.special import ndtr, stdtrit

    if n < 2:
        return (1 - level) / 2
    return float(ndtr(-stdtrit(n - 1, (1 + level) / 2) * math.sqrt(n / (n - 1))))
