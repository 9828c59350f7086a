"""Several trainings by one recipe: intervals and tests that hold for other seeds and other prompts.

Every seed answers the same prompts, so seeds and prompts are crossed, and a score varies with both. A
bootstrap that also draws seeds (Owen, The Pigeonhole Bootstrap (2007)) sees only (S - 1) / S of the variance
between S seeds and nothing of how little S seeds tell of it: where seeds matter most its 95% interval covers
78% with 2 seeds and 87% with 3. Here the prompts are resampled, the variance between seeds is estimated, and
the two have their own quantiles of Student's t, which for 2 seeds is 12.7.

Sources: Obuchowski and Rockette, Hypothesis Testing of Diagnostic Accuracy for Multiple Readers and Multiple
Tests (1995), for the variance: their readers are our seeds, their cases our prompts; Cochran and Cox,
Experimental Designs (1950), for a quantile where two variances have different degrees of freedom.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from harness.protocols import FloatArray
from harness.stats.proportions import wilson, wilson_ends
from harness.stats.resampling import DRAWS, ScoreFunction, resampled_scores, score_totals

_HALVINGS = 60


class Part(NamedTuple):
    """A part of a variance, with its degrees of freedom."""

    variance: float
    degrees_of_freedom: int


@dataclass(frozen=True)
class Spread:
    """How far a score, or a difference of two, may be off: the independent parts of its variance."""

    parts: tuple[Part, ...]

    def interval(self, value: float, level: float = 0.95) -> tuple[float, float]:
        """The ends of the interval about a value; NaN where the spread is not known."""
        half = self._half_width((1 - level) / 2)
        return value - half, value + half

    def share_interval(
        self, share: float, *, most: float = math.inf, level: float = 0.95
    ) -> tuple[float, float]:
        """The ends of the interval of a share in 0..1, within 0..1: Wilson's, for as many as it is worth.

        That is the number of independent examples whose share would vary as much, and no more than `most`.

        Source: Kish, Survey Sampling (1965), section 8.2, for the effective size of a sample.
        """
        if math.isfinite(most) and self._variance == 0:
            return wilson(share * most, most, level=level)
        if not (self._variance > 0 and 0 < share < 1):
            return self.interval(share, level)
        worth = min(most, share * (1 - share) / self._variance)
        quantile = self._half_width((1 - level) / 2) / math.sqrt(self._variance)
        return wilson_ends(share, worth, quantile)

    def p_value(self, value: float) -> float:
        """Two-sided p-value of `value` where none is: 1 - level of the interval that just reaches 0."""
        if not all(math.isfinite(number) for number in (value, self._variance)):
            return math.nan
        if self._variance == 0:
            return 0.0 if value else 1.0
        low, high = 0.0, 0.5
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._half_width(middle) > abs(value) else (low, middle)
        return 2 * high

    @property
    def _variance(self) -> float:
        return math.fsum(part.variance for part in self.parts)

    def _half_width(self, tail: float) -> float:
        """Standard errors times a quantile: the parts' own, weighted by their variances (Cochran and Cox)."""
        from scipy.special import stdtrit

        if self._variance == 0:
            return 0.0
        weighted = [part.variance * -stdtrit(part.degrees_of_freedom, tail) for part in self.parts]
        return math.fsum(weighted) / math.sqrt(self._variance)


def spread(
    systems: Sequence[FloatArray], score: ScoreFunction, *, draws: int = DRAWS, seed: int = 0
) -> Spread:
    """The spread of a system's score, or of the difference of two, over seeds and prompts.

    Each system is (seeds, n, k): the statistics of its trials on the same n prompts, finite. Of a system
    with one trial only the prompts count: for base, which has no seed, that is all there is; for another it
    leaves out what a second training would change. Draws with an undefined score are left out; where they
    are more than 5%, the spread is NaN.
    """
    trials = np.concatenate(systems)
    n = trials.shape[1]
    drawn = resampled_scores(np.swapaxes(trials, 0, 1), score, draws=draws, seed=seed)
    defined = np.isfinite(drawn).all(axis=1)
    observed = score_totals(trials.sum(axis=1), score)
    if defined.mean() < 0.95 or not np.isfinite(observed).all():
        return Spread((Part(math.nan, 1),))
    covariance = np.atleast_2d(np.cov(drawn[defined], rowvar=False))
    ends = np.cumsum([0, *(len(system) for system in systems)])
    groups = [range(start, end) for start, end in itertools.pairwise(ends)]
    prompts = sum(_shared(covariance, group, group) for group in groups)
    if len(groups) == 2:
        prompts -= 2 * _shared(covariance, *groups)
    between = [
        Part(float(observed[group].var(ddof=1)) / len(group), len(group) - 1)
        for group in groups
        if len(group) > 1
    ]
    return Spread((Part(max(float(prompts), 0.0), max(n - 1, 1)), *between))


def _shared(covariance: FloatArray, one: range, other: range) -> float:
    """The mean covariance over prompts of two different trials; of one trial, its variance."""
    if one == other and len(one) == 1:
        return float(covariance[one[0], one[0]])
    return float(np.mean([covariance[i, j] for i in one for j in other if i != j]))
