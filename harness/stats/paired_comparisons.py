"""The likelihood of the Bradley-Terry model with a position: sums of judgments, and Newton's method on them.

Many data sets are fitted at once: each is a row of sums over the cells, (first, second) as one index.
Parameters are a row too: the abilities of k players, which add up to 0, and the position.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from harness.protocols import BoolArray, FloatArray, IntArray
from harness.stats.resampling import resampled_weights

if TYPE_CHECKING:
    from scipy.sparse import csr_array


_STEPS = 100
_CONVERGED = 1e-9
_UNBOUNDED = 25.0
"""Logits beyond what data can show: where an estimate reaches them, the likelihood has no maximum."""
_JITTER = 1e-12
"""Keeps a curvature invertible that a ridge of 0 leaves flat; it bends the steps' way, not their end."""


@dataclass(frozen=True, eq=False)
class Tally:
    """How often each cell was judged and what it was worth to the first, by prompt and trial.

    `cells` is (c,), first * players + second of the pairs that were judged; `counts` and `worths` are
    (prompts, trials * c).
    """

    cells: IntArray
    counts: csr_array[np.float64]
    worths: csr_array[np.float64]
    trials: int

    @classmethod
    def of(
        cls,
        first: npt.ArrayLike,
        second: npt.ArrayLike,
        worth: npt.ArrayLike,
        prompt: npt.ArrayLike,
        trial: npt.ArrayLike | None,
        *,
        players: int,
    ) -> Tally:
        """The sums of (m,) judgments; ValueError where there are none or a worth is not in 0..1."""
        from scipy.sparse import csr_array

        values = np.asarray(worth, dtype=np.float64)
        if not (len(values) and ((values >= 0) & (values <= 1)).all()):
            raise ValueError("judgments need a worth in 0..1: leave out those without a verdict")
        cells, cell = np.unique(
            np.asarray(first, dtype=np.int64) * players + np.asarray(second), return_inverse=True
        )
        prompts, row = np.unique(np.asarray(prompt), return_inverse=True)
        trials, which = np.unique(
            np.zeros(len(values)) if trial is None else np.asarray(trial), return_inverse=True
        )
        shape, place = (len(prompts), len(trials) * len(cells)), (row, which * len(cells) + cell)
        counts = csr_array((np.ones(len(values)), place), shape=shape)
        return cls(cells, counts, csr_array((values, place), shape=shape), len(trials))

    @property
    def prompts(self) -> int:
        """How many prompts there are."""
        return int(self.counts.shape[0])

    def sums(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(b, trials, c) counts and worths when the prompts count `weights`, (b, prompts), times."""
        shape = (len(weights), self.trials, len(self.cells))
        counts, worths = (np.asarray(weights @ each) for each in (self.counts, self.worths))
        return counts.reshape(shape), worths.reshape(shape)

    def resampled(self, draws: int, seed: int, width: int) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Blocks of `sums` over resampled prompts; `width` floats are made of each."""
        for weights in resampled_weights(self.prompts, draws=draws, seed=seed, width=width):
            yield self.sums(weights)


@dataclass(frozen=True, eq=False)
class Model:
    """The model of `players` over `cells`, with the ridge's penalty, ridge / 2 times the sum of squares."""

    players: int
    cells: IntArray
    position: bool
    ridge: float

    def bounds(self, counts: FloatArray, worths: FloatArray) -> BoolArray:
        """(2, players): whether (c,) sums hold each ability from below, and from above.

        From below where the player beats, itself or over others, everybody else; from above where everybody
        so beats it. All are held where no set of players always beats the rest, or never meets it.

        Source: Ford, Solution of a Ranking Problem from Binary Comparisons (1957).
        """
        beaten = self._table(worths[None])[0] + self._table((counts - worths)[None])[0].T
        reaches = (beaten > 0) | np.eye(self.players, dtype=np.bool_)
        for _ in range(self.players.bit_length()):
            reaches = reaches.astype(np.float64) @ reaches > 0
        return np.stack([reaches.all(axis=1), reaches.all(axis=0)])

    def all_meet(self, counts: FloatArray) -> bool:
        """Whether in each of (trials, c) sums every player has a judgment."""
        met = self._table(counts)
        return bool((met.sum(axis=1) + met.sum(axis=2) > 0).all())

    def fit(self, counts: FloatArray, worths: FloatArray, start: FloatArray | None = None) -> FloatArray:
        """(b, players + 1) parameters for (b, c) sums; NaN where the likelihood has no maximum.

        The steps are as long as makes them converge from anywhere.

        Source: Sun and Tran-Dinh, Generalized Self-Concordant Functions (2019), for logistic losses.
        """
        found = (
            np.zeros((len(counts), self.players + 1)) if start is None else start + np.zeros((len(counts), 1))
        )
        active = np.arange(len(counts))
        for _ in range(_STEPS):
            slope, curvature = self.derivatives(found[active], counts[active], worths[active])
            step = np.asarray(np.linalg.solve(curvature, slope[..., None])[..., 0], dtype=np.float64)
            length = np.abs(self._logits(step)).max(axis=1, initial=0.0)
            damped = np.divide(np.log1p(length), length, out=np.ones_like(length), where=length > _CONVERGED)
            found[active] += step * damped[:, None]
            active = active[length > _CONVERGED]
            if not len(active):
                break
        found[active] = np.nan
        found[np.abs(found).max(axis=1) > _UNBOUNDED] = np.nan
        return found

    def derivatives(
        self, parameters: FloatArray, counts: FloatArray, worths: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """(b, p) slopes of the log-likelihood and (b, p, p) curvatures, one for moving all alike added."""
        expected: FloatArray = 1 / (1 + np.exp(-self._logits(parameters)))
        slope = self._slope(worths - counts * expected) - self.ridge * parameters
        curvature = self._curvature(counts * expected * (1 - expected))
        if not self.position:
            slope[:, -1] = 0
            curvature[:, -1, :] = curvature[:, :, -1] = 0
            curvature[:, -1, -1] = 1
        return slope, curvature

    def covariance(self, parameters: FloatArray, counts: FloatArray, worths: FloatArray) -> FloatArray:
        """(p, p): that of the (p,) estimates if judgments were independent, their mean ability being 0."""
        _, curvature = self.derivatives(parameters[None], counts[None], worths[None])
        return np.asarray(np.linalg.inv(curvature[0]) - self._alike() / (1 + self.ridge + _JITTER))

    def _logits(self, parameters: FloatArray) -> FloatArray:
        first, second = np.divmod(self.cells, self.players)
        return np.asarray(parameters[:, first] - parameters[:, second] + parameters[:, -1:])

    def _slope(self, residuals: FloatArray) -> FloatArray:
        table = self._table(residuals)
        return np.column_stack([table.sum(axis=2) - table.sum(axis=1), table.sum(axis=(1, 2))])

    def _curvature(self, weights: FloatArray) -> FloatArray:
        k, table = self.players, self._table(weights)
        both = table + table.transpose(0, 2, 1)
        found = np.zeros((len(table), k + 1, k + 1))
        found[:, :k, :k] = -both
        found[:, :k, k] = found[:, k, :k] = table.sum(axis=2) - table.sum(axis=1)
        diagonal = np.arange(k + 1)
        found[:, diagonal, diagonal] = np.column_stack([both.sum(axis=2), table.sum(axis=(1, 2))])
        found[:, diagonal, diagonal] += self.ridge + _JITTER
        return found + self._alike()

    def _alike(self) -> FloatArray:
        """Along all abilities moved alike, of which no judgment speaks: a curvature of 1."""
        along = np.zeros((self.players + 1, self.players + 1))
        along[:-1, :-1] = 1 / self.players
        return along

    def _table(self, sums: FloatArray) -> FloatArray:
        """(b, c) as (b, first, second)."""
        table = np.zeros((len(sums), self.players**2))
        table[:, self.cells] = sums
        return table.reshape(-1, self.players, self.players)
