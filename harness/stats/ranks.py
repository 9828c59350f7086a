"""What verdicts on pairs leave possible: the ranks of each player, and the sets that nothing separates."""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence

import numpy as np

from harness.protocols import BoolArray, IntArray


def rank_intervals(better: BoolArray) -> IntArray:
    """(k, 2): the best and the worst rank that each player may have, 1 being first.

    `better` is (k, k), True where the player of the row is shown to be better than that of the column. With
    claims that are all true with probability 95% (Holm's), so are the ranks.

    Source: Al Mohamad, Goeman and van Zwet, Simultaneous Confidence Intervals for Ranks With Application to
    Ranking Institutions (2022).
    """
    k = len(better)
    return np.stack([1 + better.sum(axis=0), k - better.sum(axis=1)], axis=1).astype(np.int64)


def groups(better: BoolArray, order: Sequence[int]) -> list[str]:
    """The letters of each player: two that share a letter cannot be told apart, two that share none can.

    `better` is as for `rank_intervals`; `order` lists the k players from best to worst, so that `a` is the
    group of the best. A letter stands for a set of players of whom no two are separated, and to which nobody
    could be added; a player in the middle may have several.

    Source: Gramm et al., Algorithms for Compact Letter Displays: Comparison and Evaluation (2007): a cover by
    cliques, here a greedy one.
    """
    alike = ~(better | better.T)
    covered = np.zeros_like(alike)
    sets: list[list[int]] = []
    for one, other in itertools.combinations_with_replacement(order, 2):
        lonely = one == other and alike[one].sum() > 1
        if alike[one, other] and not covered[one, other] and not lonely:
            members = list(dict.fromkeys((one, other)))
            for player in order:
                if player not in members and alike[player, members].all():
                    members.append(player)
            covered[np.ix_(members, members)] = True
            sets.append(members)
    place = {player: position for position, player in enumerate(order)}
    ranked = sorted(sets, key=lambda members: sorted(place[player] for player in members))
    return [
        "".join(_letter(index) for index, members in enumerate(ranked) if player in members)
        for player in range(len(order))
    ]


def _letter(index: int) -> str:
    """a, b, ..., z, a1, b1, ..."""
    turn, place = divmod(index, len(string.ascii_lowercase))
    return string.ascii_lowercase[place] + (str(turn) if turn else "")
