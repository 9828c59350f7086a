"""Judgments laid out by pair of players, order, seed and prompt: the form in which they are counted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.judging.table import BoolArray, IntArray, Verdicts
from harness.protocols import FloatArray
from harness.stats.pairwise import FIRST, SECOND

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Duels:
    """`P` pairs of players on `N` prompts with `S` seeds, seen from the side of a, the first of a pair.

    `pairs` is (P, 2): players a and b. The others are (2, P, S, N): where a stood first, and where b did.
    `won` is 1 where the verdict is for a, -1 where it is for b, 0 for a tie and where there is none;
    `worth` is what it is worth to a, NaN where there is none; `asked` says whether the judge was asked.
    `once` holds where the order of the answers means nothing.
    """

    pairs: IntArray
    won: npt.NDArray[np.int8]
    worth: FloatArray
    asked: BoolArray
    once: bool = False

    def turned(self) -> Duels:
        """The same seen from the side of b."""
        return Duels(self.pairs[:, ::-1], -self.won[::-1], 1 - self.worth[::-1], self.asked[::-1], self.once)

    def select(self, chosen: Sequence[int] | IntArray | BoolArray) -> Duels:
        """Some of the pairs."""
        return replace(
            self,
            pairs=self.pairs[chosen],
            won=self.won[:, chosen],
            worth=self.worth[:, chosen],
            asked=self.asked[:, chosen],
        )

    def of(self, player: int) -> Duels:
        """The pairs of one player, seen from its side, in the order of the others."""
        as_a, as_b = (self.select(self.pairs[:, side] == player) for side in (0, 1))
        as_b = as_b.turned()
        mine = Duels(
            np.concatenate([as_a.pairs, as_b.pairs]),
            np.concatenate([as_a.won, as_b.won], axis=1),
            np.concatenate([as_a.worth, as_b.worth], axis=1),
            np.concatenate([as_a.asked, as_b.asked], axis=1),
            self.once,
        )
        return mine.select(np.argsort(mine.pairs[:, 1]))

    @cached_property
    def parsed(self) -> BoolArray:
        """(2, P, S, N): whether there is a verdict."""
        return ~np.isnan(self.worth)

    @cached_property
    def swapped(self) -> BoolArray:
        """(P,): whether any prompt of the pair was asked about in both orders."""
        if self.once:
            return np.zeros(len(self.pairs), dtype=np.bool_)
        both = np.logical_and(self.asked[0], self.asked[1])
        return np.array([pair.any() for pair in both], dtype=np.bool_)

    @cached_property
    def complete(self) -> BoolArray:
        """(P, S, N): whether both orders have a verdict."""
        if self.once:
            return np.zeros(self.parsed.shape[1:], dtype=np.bool_)
        both: BoolArray = np.logical_and(self.parsed[0], self.parsed[1])
        return both

    @cached_property
    def average(self) -> FloatArray:
        """(P, S, N): the mean worth of the two orders, NaN where either lacks a verdict.

        Of a pair that was asked about in one order alone it is that one's.
        """
        both: FloatArray = self.worth.mean(axis=0)
        if self.swapped.all():
            return both
        return np.where(self.swapped[:, None, None], both, mean_of_known(self.worth))

    @property
    def judged(self) -> BoolArray:
        """(P, S, N): whether there is an average."""
        return ~np.isnan(self.average)


def mean_of_known(values: FloatArray) -> FloatArray:
    """The mean over the first axis of what is not NaN; NaN where all of it is."""
    known = ~np.isnan(values)
    counts = known.sum(axis=0)
    sums = np.where(known, values, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def lay_out(verdicts: Verdicts) -> Duels:
    """All comparisons of a table (controls left out); of judgments of the same place the first stands."""
    table = verdicts.comparisons
    k, n = len(table.players), len(table.examples)
    low, high = np.minimum(table.first, table.second), np.maximum(table.first, table.second)
    met, pair = np.unique(low * k + high, return_inverse=True)
    seeds, seed = np.unique(table.seed, return_inverse=True)
    order = (table.first != low).astype(np.int64)
    shape = (2, len(met), max(len(seeds), 1), n)
    place = np.ravel_multi_index((order, pair, seed, table.prompt), shape)
    won = (table.choice == FIRST).astype(np.int8) - (table.choice == SECOND).astype(np.int8)
    return Duels(
        np.stack([met // k, met % k], axis=1),
        _spread(np.where(order == 1, -won, won).astype(np.int8), place, shape, 0),
        _spread(np.where(order == 1, 1 - table.worth, table.worth), place, shape, np.nan),
        _spread(np.ones(len(table), dtype=np.bool_), place, shape, False),
        once=verdicts.symmetric,
    )


def _spread(
    values: npt.NDArray[Scalar], place: IntArray, shape: tuple[int, ...], empty: float
) -> npt.NDArray[Scalar]:
    """The values at their places of an array, `empty` elsewhere; the first of several in one place stands."""
    cells = np.full(math.prod(shape), empty, dtype=values.dtype)
    cells[place[::-1]] = values[::-1]
    return cells.reshape(shape)
