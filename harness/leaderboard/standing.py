"""The order of the candidates by a metric or by a judge, the ranks it leaves possible, and its neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.judging.pairs import better
from harness.leaderboard.comparisons import Compared, is_comparable
from harness.leaderboard.win_rates import win_rates
from harness.protocols import BoolArray
from harness.records import ALL
from harness.stats import ranks
from harness.stats.multiplicity import NO_DIFFERENCE

Json = dict[str, Any]
BY_COST = ("train_cost_usd", "train_seconds")
"""What two neighbours may differ in beside quality: money where it is known, else time."""


@dataclass(frozen=True)
class Standing:
    """Candidates from best to worst, and who is shown to be better than whom.

    Those without a place, for want of a figure or of one on the others' scale, are not in `order`.
    """

    order: tuple[str, ...]
    better: BoolArray

    @property
    def ranks(self) -> dict[str, list[int]]:
        """Candidate -> the [best, worst] rank that the comparisons leave possible."""
        return dict(zip(self.order, ranks.rank_intervals(self.better).tolist(), strict=True))

    @property
    def groups(self) -> dict[str, str]:
        """Candidate -> letters: two that share one cannot be told apart."""
        return dict(zip(self.order, ranks.groups(self.better, range(len(self.order))), strict=True))


NOBODY = Standing((), np.zeros((0, 0), dtype=np.bool_))


def by_metric(compared: Compared, names: Sequence[str]) -> Standing:
    """A score that is not comparable with base's (of another tokenizer) has no place among the others."""
    scores = {name: compared.scores[name] for name in names}
    sign = -1 if compared.info["higher_is_better"] else 1
    placed = [name for name, score in scores.items() if is_comparable(score)]
    order = tuple(sorted(placed, key=lambda name: sign * scores[name]["value"]))
    return Standing(order, better(compared.pairs, order))


def by_judge(judge: Mapping[str, Any], names: Sequence[str]) -> Standing:
    """By rating in a round robin, else by win rate against the opponent; nobody where it is refused.

    A candidate on which too many verdicts could not be read has no place either.
    """
    analysis = judge["analysis"]
    if analysis is None or analysis["refused"]:
        return NOBODY
    rates = {
        name: rate for name, rate in win_rates(judge).items() if not rate.get("unread", "missing" in rate)
    }
    values = {name: rate["rules"]["average"]["value"] for name, rate in rates.items()}
    if judge["against"] == ALL and analysis["abilities"]:
        values = {row["player"]: row["rating"] for row in analysis["abilities"] if row["player"] in rates}
    placed = [name for name in names if values.get(name) is not None]
    order = tuple(sorted(placed, key=lambda name: -values[name]))
    return Standing(order, better(judge["pairs"], order))


def neighbours(board: Mapping[str, Any]) -> Iterator[Json]:
    """Every two ranked candidates that follow each other: how far apart, and what one of them saves.

    The difference is that of the pair in `ranking_pairs`, from the side of the first.
    """
    ranked = [row for row in board["candidates"] if row["rank"]]
    found = {frozenset((pair["a"], pair["b"])): pair for pair in ranking_pairs(board)}
    for first, second in itertools.pairwise(ranked):
        pair = found.get(frozenset((first["name"], second["name"])))
        if pair is not None:
            yield {
                "first": first["name"],
                "second": second["name"],
                **_turned(pair, first["name"]),
                "cheaper": _cheaper(first, second),
            }


def ranking_pairs(board: Mapping[str, Any]) -> list[Json]:
    """The comparisons behind the ranks: those of the metric or of the judge that ranks."""
    ranks_by = board["suite"]["rank_by"]
    judge = next((judge for judge in board["judges"] if judge["name"] == ranks_by), None)
    return judge["pairs"] if judge else [pair for pair in board["pairs"] if pair["metric"] == ranks_by]


def ranking_figure(results: Mapping[str, Any]) -> dict[str, str] | None:
    """Label and unit of the metric or the judge that ranks; None where that is neither."""
    ranks_by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == ranks_by), None)
    if metric is not None:
        return {"label": metric["label"], "unit": metric["unit"]}
    named = any(judge["name"] == ranks_by for judge in results["judges"])
    return {"label": f"win rate by {ranks_by}", "unit": "%"} if named else None


def _turned(pair: Mapping[str, Any], first: str) -> Json:
    """The comparison as the first candidate sees it."""
    keys = ("n", "p_adjusted", "smallest_effect", "more_prompts")
    shared = {key: pair[key] for key in keys}
    mine = "a" if pair["a"] == first else "b"
    verdict = {mine: "better", NO_DIFFERENCE: NO_DIFFERENCE}.get(pair["verdict"], "worse")
    value, low, high = (pair[key] for key in ("value", "low", "high"))
    if mine == "b":  # what is not known stays so
        value, low, high = (None if end is None else -end for end in (value, high, low))
    return {"value": value, "low": low, "high": high, **shared, "verdict": verdict}


def _cheaper(one: Mapping[str, Any], other: Mapping[str, Any]) -> Json | None:
    """Which of two trainings cost less, how many times, and by what; None where one of them has no cost."""
    for field in BY_COST:
        costs = [float((row["costs"] or {}).get(field) or 0) for row in (one, other)]
        if all(costs):
            name = one["name"] if costs[0] <= costs[1] else other["name"]
            return {"name": name, "times": max(costs) / min(costs), "by": field}
    return None
