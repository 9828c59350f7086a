"""How many comparisons a verdict was corrected for, all at once, by Holm's method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harness.leaderboard.standing import ranking_pairs
from harness.records import ALL
from harness.report.board import Column

Json = Mapping[str, Any]


def of_differences(results: Json, column: Column) -> int:
    """Those of the board's column: with base or, by a judge, with its opponent."""
    judge = _judge(results, column.key) if column.kind == "win rate" else None
    if judge is None:
        return _tested(c["differences"].get(column.key) or {} for c in results["candidates"])
    if judge["against"] == ALL:
        return _tested(c["win_rates"].get(column.key) or {} for c in results["candidates"])
    return _of_judge(judge)


def of_pairs(results: Json) -> int:
    """Those of every two candidates by what ranks."""
    judge = _judge(results, results["suite"]["rank_by"])
    return _of_judge(judge) if judge and judge["against"] != ALL else _tested(ranking_pairs(results))


def _of_judge(judge: Json) -> int:
    """The pairs with the one opponent and the differences between them are one family."""
    analysis = judge["analysis"] or {}
    return _tested([*analysis.get("pairs", ()), *analysis.get("differences", ())])


def _judge(results: Json, name: str) -> Json | None:
    return next((judge for judge in results["judges"] if judge["name"] == name), None)


def _tested(rows: Iterable[Json]) -> int:
    return sum(row.get("p_adjusted") is not None for row in rows)
