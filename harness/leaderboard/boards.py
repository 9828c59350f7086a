"""A board of candidates completed: what the judges' verdicts say, the order and ranks, the words.

All of it follows from the figures of the board and the lines of verdicts.jsonl, so that `harness report
--reparse` completes a board anew without a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.leaderboard import cautions, standing, win_rates
from harness.leaderboard.findings import findings
from harness.leaderboard.standing import Standing

Json = dict[str, Any]
FROM_VERDICTS = frozenset(("analysis", "pairs", "warnings"))
"""What of a judge's entry follows from its verdicts."""


def complete(board: Json, lines: Mapping[str, Sequence[Json]], by_metric: Standing | None = None) -> Json:
    """The board with what follows from `lines` (judge -> its lines of verdicts.jsonl), and in words.

    `by_metric` gives the order; without it a judge that ranks does, and else the order is as it was.
    """
    judges = [_opinion(judge, lines, board) for judge in board["judges"]]
    rows = [_judged(row, judges) for row in board["candidates"]]
    ranks_by = next((judge for judge in judges if judge["name"] == board["suite"]["rank_by"]), None)
    if by_metric is None and ranks_by is not None:
        by_metric = standing.by_judge(ranks_by, [row["name"] for row in rows[1:]])
    if by_metric is not None:
        rows = in_order(rows, by_metric)
    agreement = win_rates.agreements(judges, lines)
    board = {**board, "judges": judges, "candidates": rows, "agreement": agreement}
    board["neighbours"] = list(standing.neighbours(board))
    return {**board, "findings": findings(board), "warnings": cautions.board_warnings(board)}


def _opinion(judge: Json, lines: Mapping[str, Sequence[Json]], board: Json) -> Json:
    analysis = judge.get("analysis")
    players = analysis["players"] if analysis else [row["name"] for row in board["candidates"]]
    known = {key: value for key, value in judge.items() if key not in FROM_VERDICTS}
    return win_rates.opinion(known, lines.get(judge["name"], ()), players)


def _judged(row: Json, judges: Sequence[Json]) -> Json:
    """A candidate's row with its win rates, and the warnings that these give rise to beside its own."""
    rates = {judge["name"]: win_rates.win_rates(judge).get(row["name"]) for judge in judges}
    found = {**row, "win_rates": {name: rate for name, rate in rates.items() if rate is not None}}
    return {**found, "judge_warnings": list(cautions.judge_warnings(found))}


def in_order(rows: Sequence[Json], by: Standing) -> list[Json]:
    """Base first, then the others from best to worst, those without a place next, those that failed last.

    `rank` has the places that the comparisons leave possible, `group` the letters of those that cannot be
    told apart; both are None without a place.
    """
    base, *others = rows
    ranks, groups = by.ranks, by.groups
    place = {name: index for index, name in enumerate(by.order)}
    placed = [{**row, "rank": ranks.get(row["name"]), "group": groups.get(row["name"])} for row in others]

    def key(row: Json) -> tuple[bool, int]:
        return row["status"] == "failed", place.get(row["name"], len(place))

    return [{**base, "rank": None, "group": None}, *sorted(placed, key=key)]
