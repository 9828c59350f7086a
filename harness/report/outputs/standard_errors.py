"""The standard error of a score over the examples, where the examples' own figures give it.

Two kinds of scores are known: the mean of the examples' values, and a ratio of sums of their statistics (of
which perplexity is the exponential, and bits per byte a multiple). An evaluator does not tell how it
aggregates, so each is computed from these very examples, and a score is of the kind that gives the board's
value. Whatever is neither has none here, nor has a score over several seeds, whose interval holds more than
the examples.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.validity import is_finite

TOLERANCE = 1e-6
"""Relative; a sum over many examples is rounded."""


class StandardError:
    """Takes an example's value and statistics at a time; says then what the score is and its error."""

    def __init__(self, score: Mapping[str, Any], *, several_seeds: bool) -> None:
        self._score, self._several_seeds = score, several_seeds
        self._values, self._pairs = array("d"), array("d")

    def add(self, value: Any, statistics: Any) -> None:
        """`statistics`: the example's, of each seed; None where it could not be measured."""
        if is_finite(value):
            self._values.append(value)
        if isinstance(statistics, list) and len(statistics) == 1 and _is_pair(statistics[0]):
            self._pairs.extend(statistics[0])

    def value(self) -> float | None:
        """The standard error; None where it cannot be had."""
        if self._several_seeds:
            return None
        if self._is_mean():
            values = np.frombuffer(self._values)
            return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
        pairs = np.frombuffer(self._pairs).reshape(-1, 2)
        if len(pairs) != self._score.get("n") or len(pairs) < 2 or not pairs[:, 1].sum():
            return None
        ratio = float(pairs[:, 0].sum() / pairs[:, 1].sum())
        for known, slope in _of_ratio(ratio):
            if math.isclose(known, self._score["value"], rel_tol=TOLERANCE):
                return slope * _ratio_error(pairs, ratio)
        return None

    def aggregation(self) -> str:
        """How the score is made of the examples' values: their mean, which is lm-eval's word, or not."""
        return "mean" if self._is_mean() else "corpus"

    def _is_mean(self) -> bool:
        if self._several_seeds or not self._values or len(self._values) != self._score.get("n"):
            return False
        mean = float(np.frombuffer(self._values).mean())
        return math.isclose(mean, self._score["value"], rel_tol=TOLERANCE, abs_tol=1e-12)


def _ratio_error(pairs: np.ndarray[Any, np.dtype[np.float64]], ratio: float) -> float:
    """The standard error of a ratio of sums, linearised (Cochran, Sampling Techniques, 1977, section 6.4)."""
    residuals, n = pairs[:, 0] - ratio * pairs[:, 1], len(pairs)
    return float(math.sqrt((residuals**2).sum() * n / (n - 1)) / abs(pairs[:, 1].sum()))


def _of_ratio(ratio: float) -> list[tuple[float, float]]:
    """What a score may be of a ratio of sums, with its slope there."""
    power = math.exp(min(ratio, 700.0))
    return [(ratio, 1.0), (power, power), (ratio / math.log(2), 1 / math.log(2))]


def _is_pair(statistics: Any) -> bool:
    if not isinstance(statistics, Sequence) or len(statistics) != 2:
        return False
    return all(map(is_finite, statistics))
