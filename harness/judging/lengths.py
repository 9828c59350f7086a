"""What a judge makes of length: how often the longer answer wins, and win rates at equal length."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.judging.table import Verdicts
from harness.stats.length import length_adjusted, length_preference

Json = dict[str, Any]


def longer_wins(verdicts: Verdicts, *, seed: int = 0) -> Json | None:
    """How often the longer answer is preferred; None where no two lengths are known.

    `n` counts judgments of answers that differ in length, `pairs` such answers, in whatever order.
    """
    table = _measured(verdicts)
    found = length_preference(table.worth, table.length_first, table.length_second, table.prompt, seed=seed)
    if not found.n:
        return None
    apart = table.length_first != table.length_second
    sides = np.sort(np.stack([table.first, table.second]), axis=0)
    places = np.stack([table.prompt, table.seed, *sides])[:, apart]
    return {
        "prompts": len(np.unique(places[0])),
        "pairs": np.unique(places, axis=1).shape[1],
        "longer_wins": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "p_value": found.p_value,
    }


def adjusted_rates(verdicts: Verdicts, against: str | None, *, seed: int = 0) -> dict[str, Json]:
    """Player -> its length-adjusted win rate against the opponent or the field; empty without lengths."""
    table = _measured(verdicts)
    if not len(table):
        return {}
    opponent = None if against is None else table.players.index(against)
    found = {}
    for player, name in enumerate(table.players):
        ours = (table.first == player) | (table.second == player)
        if opponent is not None:
            ours &= (table.first == opponent) | (table.second == opponent)
        if player == opponent or not ours.any():
            continue
        mine = table.select(ours)
        estimate = length_adjusted(
            mine.worth,
            mine.length_first,
            mine.length_second,
            mine.prompt,
            candidate_first=mine.first == player,
            opponent=np.where(mine.first == player, mine.second, mine.first),
            seed=seed,
        )
        found[name] = estimate._asdict()
    return found


def _measured(verdicts: Verdicts) -> Verdicts:
    """The parsed comparisons of answers whose lengths are both known."""
    table = verdicts.comparisons
    known = np.isfinite(table.length_first) & np.isfinite(table.length_second)
    return table.select(table.parsed & known)
