"""Judgments of the same two answers side by side, in either order: the form in which they are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.judging.table import Verdicts
from harness.protocols import BoolArray, FloatArray, IntArray
from harness.stats.pairwise import FIRST, SECOND

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Duels:
    """`M` duels, each of a pair of players on a prompt with a seed, seen from the side of a, the first.

    `pairs` is (P, 2): players a and b. `pair`, `seed` and `prompt` are (M,): which pair it is of, and where.
    The others are (2, M): where a stood first, and where b did. `won` is 1 where the verdict is for a, -1
    where it is for b, 0 for a tie and where there is none; `worth` is what it is worth to a, NaN where there
    is none; `asked` says whether there is a judgment. `settled` (M,) says where it is not the judge's:
    the answers are identical. `once` holds where the order means nothing.
    """

    pairs: IntArray
    pair: IntArray
    seed: IntArray
    prompt: IntArray
    won: npt.NDArray[np.int8]
    worth: FloatArray
    asked: BoolArray
    settled: BoolArray
    once: bool = False

    def turned(self) -> Duels:
        """The same seen from the side of b."""
        return self._turned(np.ones(len(self.pairs), dtype=np.bool_))

    def select(self, chosen: Sequence[int] | IntArray) -> Duels:
        """The duels of some of the pairs, which are then in the order given."""
        number = np.full(len(self.pairs), -1)
        number[chosen] = np.arange(len(chosen))
        kept = number[self.pair] >= 0
        return replace(
            self,
            pairs=self.pairs[chosen],
            pair=number[self.pair][kept],
            seed=self.seed[kept],
            prompt=self.prompt[kept],
            won=self.won[:, kept],
            worth=self.worth[:, kept],
            asked=self.asked[:, kept],
            settled=self.settled[kept],
        )

    def of(self, player: int) -> Duels:
        """The duels of one player, seen from its side, the pairs in the order of the others."""
        seen = self._turned(self.pairs[:, 1] == player)
        mine = np.flatnonzero(seen.pairs[:, 0] == player)
        return seen.select(mine[np.argsort(seen.pairs[mine, 1])])

    def _turned(self, which: BoolArray) -> Duels:
        """Seen from the side of b in some of the pairs, a mask (P,)."""
        rows = which[self.pair]
        return replace(
            self,
            pairs=np.where(which[:, None], self.pairs[:, ::-1], self.pairs),
            won=np.where(rows, -self.won[::-1], self.won),
            worth=np.where(rows, 1 - self.worth[::-1], self.worth),
            asked=np.where(rows, self.asked[::-1], self.asked),
        )

    @cached_property
    def parsed(self) -> BoolArray:
        """(2, M): whether there is a verdict."""
        return ~np.isnan(self.worth)

    @cached_property
    def swapped(self) -> BoolArray:
        """(P,): whether any prompt of the pair was asked about in both orders."""
        found = np.zeros(len(self.pairs), dtype=np.bool_)
        if not self.once:
            found[self.pair[self.asked[0] & self.asked[1]]] = True
        return found

    @cached_property
    def complete(self) -> BoolArray:
        """(M,): whether both orders have a verdict."""
        both: BoolArray = self.parsed[0] & self.parsed[1] & (not self.once)
        return both

    @cached_property
    def average(self) -> FloatArray:
        """(M,): the mean worth of the two orders, NaN where either lacks a verdict.

        Of a pair that was asked about in one order alone it is that one's.
        """
        either = np.where(self.parsed[0], self.worth[0], self.worth[1])
        mean = np.where(self.parsed[0] & self.parsed[1], self.worth.mean(axis=0), either)
        needs_both = self.swapped[self.pair] & ~self.complete
        return np.where(needs_both, np.nan, mean)

    @property
    def unread(self) -> BoolArray:
        """(2, M): whether the judge was asked and there is no verdict."""
        return self.asked & ~self.parsed

    def with_unread(self, worth: float) -> Duels:
        """The same had all that could not be read been worth so much to a."""
        return replace(self, worth=np.where(self.unread, worth, self.worth))

    @property
    def by_position(self) -> Duels:
        """The same by a judge who always takes the first; all even where there is none."""
        first = np.where(self.settled | self.once, 0.5, np.array([[1.0], [0.0]]))
        return replace(self, worth=np.where(self.parsed, first, np.nan))

    @property
    def judged(self) -> BoolArray:
        """(M,): whether there is an average."""
        return ~np.isnan(self.average)

    @cached_property
    def lead(self) -> npt.NDArray[np.int8]:
        """(M,): 1 where the choices are for a, -1 where they are for b, 0 where neither; see `judged`.

        Of two orders both must be for the same player: where they disagree it is for nobody.
        """
        either = np.where(self.parsed[0], self.won[0], self.won[1])
        both = self.parsed[0] & self.parsed[1]
        return np.where(both & (self.won[0] != self.won[1]), np.int8(0), either)


def mean_by_group(values: FloatArray, group: IntArray, groups: int) -> FloatArray:
    """(groups,): the means of those (M,) values that are not NaN; NaN where a group has none."""
    known = ~np.isnan(values)
    counts = np.bincount(group[known], minlength=groups)
    sums = np.bincount(group[known], weights=values[known], minlength=groups)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def lay_out(verdicts: Verdicts) -> Duels:
    """All comparisons of a table (controls left out); of several judgments in one place the first is kept."""
    table = verdicts.comparisons
    k, n = len(table.players), max(len(table.examples), 1)
    low, high = np.minimum(table.first, table.second), np.maximum(table.first, table.second)
    met, pair = np.unique(low * k + high, return_inverse=True)
    seeds, seed = np.unique(table.seed, return_inverse=True)
    duels, duel = np.unique((pair * max(len(seeds), 1) + seed) * n + table.prompt, return_inverse=True)
    turned = table.first != low
    place = turned * len(duels) + duel
    won = (table.choice == FIRST).astype(np.int8) - (table.choice == SECOND).astype(np.int8)
    worth = np.where(turned, 1 - table.worth, table.worth)
    return Duels(
        pairs=np.stack([met // k, met % k], axis=1),
        pair=duels // n // max(len(seeds), 1),
        seed=duels // n % max(len(seeds), 1),
        prompt=duels % n,
        won=_spread(np.where(turned, -won, won).astype(np.int8), place, len(duels), 0),
        worth=_spread(worth, place, len(duels), np.nan),
        asked=_spread(np.ones(len(table), dtype=np.bool_), place, len(duels), False),
        settled=np.logical_or(*_spread(table.settled, place, len(duels), False)),
        once=verdicts.symmetric,
    )


def _spread(values: npt.NDArray[Scalar], place: IntArray, duels: int, empty: float) -> npt.NDArray[Scalar]:
    """(2, duels): the values at their places, `empty` elsewhere; the first of several in a place is kept."""
    cells = np.full(2 * duels, empty, dtype=values.dtype)
    cells[place[::-1]] = values[::-1]
    return cells.reshape(2, duels)
