"""Abilities of players and the bias to a position by Bradley-Terry, from all verdicts of a judge together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.judging.table import Verdicts
from harness.protocols import BoolArray
from harness.stats.bradley_terry import Abilities, bradley_terry
from harness.stats.elo import to_elo
from harness.stats.ranks import groups, rank_intervals

Json = dict[str, Any]
DRAWS = 1000
_ROUNDING = 1e-9
"""Logits below which a position is none: sums in another order differ by rounding."""
CENTRE = 1000.0
"""The mean rating, in points."""
FEWEST_PLAYERS = 3
"""Between two players an ability adds nothing to their win rate."""


@dataclass(frozen=True, eq=False)
class Strength:
    """Bradley-Terry over the players `present` (indices), with or without a term for the position."""

    present: Sequence[int]
    fitted: Abilities
    with_position: bool


def fit(verdicts: Verdicts, *, seed: int = 0) -> Strength | None:
    """Abilities of the players that have a parsed verdict; None where there is none.

    A term for the first position is there where some pair was seen in both orders: elsewhere it cannot be
    told from ability, and to a symmetric judge it means nothing.
    """
    table = verdicts.comparisons
    table = table.select(table.parsed)
    if not len(table):
        return None
    present, places = np.unique(np.stack([table.first, table.second]), return_inverse=True)
    first, second = places.reshape(2, -1)
    met = set(zip(first.tolist(), second.tolist(), strict=True))
    position = not table.symmetric and any((b, a) in met for a, b in met)
    fitted = bradley_terry(
        first,
        second,
        table.worth,
        table.prompt,
        players=len(present),
        trial=table.seed,
        position=position,
        draws=DRAWS,
        seed=seed,
    )
    return Strength(present.tolist(), fitted, position)


def position_of(strength: Strength | None) -> Json | None:
    """How much the first answer is preferred, in logits, all else being equal."""
    if strength is None or not strength.with_position:
        return None
    fitted = strength.fitted
    value = 0.0 if abs(fitted.position) < _ROUNDING else fitted.position
    return {"value": value, "low": fitted.position_low, "high": fitted.position_high}


def abilities_of(strength: Strength | None, players: Sequence[str], better: BoolArray) -> list[Json] | None:
    """Ratings in points, best first, with the ranks and groups that `better` (players, players) leaves.

    Ranks and groups are those of the corrected tests of the pairs, which the analysis shows: they assume no
    model, and say no more than the verdicts beside them, which are all true with 95% probability. The order
    is by rating: where preference is not transitive, who is shown to beat another may stand below it. A
    narrower rank could be had from the abilities, at the price of trusting that preference is transitive.
    An end of an interval is infinite where no verdict puts an end to the rating: of a player who never loses
    `high`, and `low` of those who never beat it; the rating itself is then no more than the ridge allows.
    """
    if strength is None or len(strength.present) < FEWEST_PLAYERS:
        return None
    fitted, present = strength.fitted, strength.present
    points, low, high = (to_elo(ends, centre=CENTRE) for ends in (fitted.value, fitted.low, fitted.high))
    low, high = np.where(fitted.bounded_below, low, -np.inf), np.where(fitted.bounded_above, high, np.inf)
    order = np.argsort(-points, kind="stable").tolist()
    apart = better[np.ix_(present, present)]
    ranks, letters = rank_intervals(apart), groups(apart, order)
    return [
        {
            "player": players[present[i]],
            "rating": float(points[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "rank": ranks[i].tolist(),
            "group": letters[i],
        }
        for i in order
    ]
