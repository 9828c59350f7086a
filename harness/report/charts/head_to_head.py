"""Who beats whom: the pairs of what ranks as a square, of which the matrix is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.words import WITHHELD
from harness.leaderboard.standing import ranking_figure, ranking_pairs
from harness.records import ALL
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.rates import EVEN

Json = Mapping[str, Any]


def head_to_head(results: Json) -> dict[str, Any] | None:
    """The pairs of what ranks as a square: what the row's candidate has over the column's.

    `indices` are the places of `names` on the board, 0 that of base.

    In a round robin that is the row's win rate against the column (`rates`), else a difference. `omitted` are
    the candidates that are in no pair.
    """
    ranks_by = ranking_figure(results)
    pairs = ranking_pairs(results)
    if ranks_by is None or not pairs:
        return None
    rates = any(j["against"] == ALL for j in results["judges"] if j["name"] == results["suite"]["rank_by"])
    levels = _levels(pairs, results["candidates"][0]["name"])
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for pair, level in zip(pairs, levels, strict=True):
        for a, b, sign in (("a", "b", 1), ("b", "a", -1)):
            told = _versus(pair, ranks_by["unit"], sign, rates=rates)
            cells[pair[a], pair[b]] = told | {"level": level}
    compared = {name for key in cells for name in key}
    names = [c["name"] for c in results["candidates"] if c["name"] in compared]
    return {
        "label": ranks_by["label"],
        "rates": rates,
        "names": names,
        "indices": [i for i, c in enumerate(results["candidates"]) if c["name"] in compared],
        "rows": [(a, [cells.get((a, b)) for b in names]) for a in names],
        "omitted": [c for c in results["candidates"] if c["name"] not in compared],
    }


def _levels(pairs: Sequence[Json], base: str) -> list[int]:
    """How large a difference is among those that are told apart, 1 to 4; 0: is not told apart.

    4 is at least half of the largest between two candidates, 3 a quarter of it, 2 an eighth. Base often lies
    so far off that beside it all other differences would be the same.
    """
    apart = [p for p in pairs if p["verdict"] in ("a", "b") and p["value"] is not None]
    among = [p for p in apart if base not in (p["a"], p["b"])] or apart
    largest = max((abs(p["value"]) for p in among), default=0.0)
    return [
        1 + sum(abs(pair["value"]) >= largest / part for part in (2, 4, 8))
        if pair["verdict"] in ("a", "b") and pair["value"] is not None
        else 0
        for pair in pairs
    ]


def _versus(pair: Json, unit: str, sign: int, *, rates: bool) -> dict[str, Any]:
    """The pair from the side of a (`sign` 1) or of b (-1)."""
    wins = {"a": 1, "b": -1}.get(pair["verdict"], 0) * sign
    value, low, high = (None if pair[key] is None else sign * pair[key] for key in ("value", "low", "high"))
    low, high = (low, high) if sign > 0 else (high, low)
    win_rate = None if value is None else EVEN + value
    return {
        "text": fmt.share(win_rate) if rates else fmt.difference(value, unit, low, high),
        "value": win_rate if rates else value,
        "verdict": {1: "better", -1: "worse", 0: NO_DIFFERENCE}[wins],
        "p": "; ".join(
            filter(None, (fmt.p_value(pair["p_adjusted"]), WITHHELD.get(pair.get("withheld") or "")))
        ),
        "p_adjusted": pair["p_adjusted"],
        "n": pair["n"],
    }
