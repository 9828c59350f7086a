"""What verdicts on pairs leave possible: the ranks of each player, and the sets that nothing separates."""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]


def rank_intervals(better: BoolArray) -> IntArray:
    """(k, 2): the best and the worst rank that each player may have, 1 being first.

    `better` is (k, k), True where the player of the row is shown to be better than that of the column. With
    claims that are all true with probability 95% (Holm's), so are the ranks.

    Source: Mohamad, Goeman and van Zwet, Simultaneous Confidence Intervals for Ranks (2019).
    """
    k = len(better)
    return np.stack([1 + better.sum(axis=0), k - better.sum(axis=1)], axis=1).astype(np.int64)


def groups(better: BoolArray, order: Sequence[int]) -> list[str]:
    """The letters of each player: two that share a letter cannot be told apart, two that share none can.

    `better` is as for `rank_intervals`; `order` lists the k players from best to worst, so that `a` is the
    group of the best. A letter stands for a largest set of players of whom no two are separated; a player in
    the middle may have several.

    Source: Piepho, An Algorithm for a Letter-Based Representation of All-Pairwise Comparisons (2004).
    """
    separated = better | better.T
    sets = [frozenset(order)]
    for i in range(len(order)):
        for j in range(i):
            a, b = order[i], order[j]
            if separated[a, b]:
                split = [part - {drop} for part in sets if {a, b} <= part for drop in (a, b)]
                sets = _largest([part for part in sets if not {a, b} <= part] + split)
    place = {player: position for position, player in enumerate(order)}
    ranked = sorted(sets, key=lambda members: sorted(place[player] for player in members))
    return [
        "".join(_letter(index) for index, members in enumerate(ranked) if player in members)
        for player in range(len(order))
    ]


def _largest(sets: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """Those that are not part of another, each once."""
    unique = list(dict.fromkeys(sets))
    return [one for one in unique if not any(one < other for other in unique)]


def _letter(index: int) -> str:
    """a, b, ..., z, a1, b1, ..."""
    turn, place = divmod(index, len(string.ascii_lowercase))
    return string.ascii_lowercase[place] + (str(turn) if turn else "")
