"""The figures that a board has columns for, the most important first, and which of them are spare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness import format as fmt
from harness.leaderboard.findings.judges import why_refused
from harness.report.text import ellipsis, one_line, opponent

Json = Mapping[str, Any]
ColumnKind = Literal["score", "win rate", "cost"]
PRICE = "train_cost_usd"
"""A cost that has a column only where the suite names a price and a GPU was used."""
PREDICT_PRICE = "predict_cost_usd"
NOT_BELIEVED = "not believed"
"""Of a judge of whose verdicts too many could not be read."""
WITH_CARE = "read with care"
"""Of a judge that warnings are given of."""
ROOM = 10
"""So many columns of figures fit beside the candidate and its rank on a page 1440 pixels wide."""
LABEL_LIMIT = 60
COSTS: tuple[tuple[str, str, int, Callable[[float | None], str]], ...] = (
    (PRICE, "train cost", -1, fmt.dollars),
    ("train_seconds", "train time", -1, fmt.seconds),
    (PREDICT_PRICE, "predict cost", -1, fmt.dollars),
    ("peak_memory_bytes", "peak memory", -1, fmt.size),
    ("tokens_per_second", "tokens/s", 1, fmt.count),
    ("trainable_parameters", "trainable", 0, fmt.parameters),
    ("artifact_bytes", "artifact", -1, fmt.size),
)
"""Key in `costs`, label, direction, and how it is written; the most important first."""
SHOW_COST = {key: show for key, _, _, show in COSTS}
_ELSE = {"score": "metric", "win rate": "judge", "cost": "cost"}
_RESERVED = frozenset(("candidate", "rank"))


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the board. `direction` is +1 where higher is better, -1 where lower is, 0 for neither.

    `against` is whom the figure's differences, or its win rate, are against. A `spare` column is shown
    only to those who ask for it; `ranks` marks the one that the board is ranked by. Empty if nothing speaks
    against its figures: `doubt`, for which no conclusion is drawn from them, and `caution`, where one is.
    """

    kind: ColumnKind
    key: str
    label: str
    unit: str
    direction: int
    against: str = "base"
    spare: bool = False
    ranks: bool = False
    doubt: str = ""
    caution: str = ""

    @property
    def arrow(self) -> str:
        return {1: "↑", -1: "↓", 0: ""}[self.direction]

    @property
    def id(self) -> str:
        """What a link calls it: a metric by its name, the others with their kind, so that no two are one."""
        plain = self.kind == "score" and self.key not in _RESERVED
        return self.key if plain else f"{_ELSE[self.kind]}:{self.key}"


def board_columns(results: Json) -> tuple[Column, ...]:
    """All columns: quality, then the costs that anybody had; costs that find no room are spare.

    What a served model's answers cost is its only price, and therefore never spare.
    """
    quality = [replace(column, ranks=_ranks(column, results)) for column in quality_columns(results)]
    known = [cost for cost in COSTS if is_known(results, cost[0])]
    room = max(ROOM - len(quality), 1)
    prices = {PREDICT_PRICE} if any(map(_is_served, results["candidates"])) else set()
    costs = (
        Column("cost", key, label, _cost_unit(results, key), way, spare=place >= room and key not in prices)
        for place, (key, label, way, _) in enumerate(known)
    )
    return (*quality, *costs)


def quality_columns(results: Json) -> list[Column]:
    """The metric (or judge) that ranks first, then the judges' win rates, then the other metrics."""
    metrics = metric_columns(results)
    judges = [
        Column(
            "win rate",
            j["name"],
            f"{j['name']} win rate",
            "%",
            1,
            opponent(j["against"]),
            doubt=NOT_BELIEVED if why_refused(j) else "",
            caution=WITH_CARE if j["warnings"] and not why_refused(j) else "",
        )
        for j in results["judges"]
    ]
    first = [c for c in metrics + judges if _ranks(c, results)][:1]
    return first + [c for c in judges + metrics if c not in first]


def metric_columns(results: Json) -> list[Column]:
    """The evaluators' metrics, as the suite orders them."""
    return [
        Column("score", m["name"], _label(m["label"]), m["unit"], 1 if m["higher_is_better"] else -1)
        for m in results["metrics"]
    ]


def by_importance(columns: Sequence[Column]) -> list[int]:
    """Places of the columns: what ranks, one win rate, the first cost, the other metrics and win rates.

    Other costs are not among them: where room is dear the page has them.
    """

    def places(kind: ColumnKind) -> list[int]:
        return [i for i, column in enumerate(columns) if column.kind == kind and not column.ranks]

    ranking = [i for i, column in enumerate(columns) if column.ranks]
    rates, scores, costs = places("win rate"), places("score"), places("cost")
    return ranking + rates[:1] + costs[:1] + scores + rates[1:]


def has_price(results: Json) -> bool:
    """Whether any training has a cost in money."""
    return is_known(results, PRICE)


def is_known(results: Json, cost: str) -> bool:
    """Whether any candidate has a cost: a column that is empty for all would take the room of others."""
    return any((c.get("costs") or {}).get(cost) is not None for c in results["candidates"])


def _is_served(candidate: Json) -> bool:
    costs = candidate.get("costs") or {}
    return candidate["training"] is None and costs.get(PREDICT_PRICE) is not None


def _cost_unit(results: Json, cost: str) -> str:
    """Of the memory: which was measured, where that is the same for all."""
    if cost != "peak_memory_bytes":
        return ""
    measured = [c["costs"] for c in results["candidates"] if (c.get("costs") or {}).get(cost) is not None]
    kinds = {one_line(costs.get("memory_kind") or "") for costs in measured}
    return kinds.pop() if len(kinds) == 1 else ""


def _ranks(column: Column, results: Json) -> bool:
    return column.kind != "cost" and column.key == results["suite"]["rank_by"]


def _label(text: str) -> str:
    # A plugin's label is not to push the board off the page.
    return ellipsis(one_line(text), LABEL_LIMIT)
