"""The leaderboard as columns, rows and cells, ready to print: HTML, Markdown and the terminal draw the same.

Nothing here knows markup. A value that is not there has `value` None and a `note` that says why: what
is missing is shown as missing, never as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.report import format as fmt
from harness.report.text import one_line

Json = Mapping[str, Any]
ColumnKind = Literal["score", "win rate", "cost"]
RULE = "average"
"""The aggregation rule whose win rate stands on the board; the judge section shows all three."""


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the board. `direction` is +1 where higher is better, -1 where lower is, 0 for neither."""

    kind: ColumnKind
    key: str
    label: str
    unit: str
    direction: int

    @property
    def arrow(self) -> str:
        return {1: "↑", -1: "↓", 0: ""}[self.direction]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one candidate: as a number, as text, and with what must be said beside it."""

    value: float | None = None
    text: str = fmt.MISSING
    low: float | None = None
    high: float | None = None
    interval: str = ""
    half_width: str = ""
    n: int | None = None
    change: str = ""
    verdict: str = ""
    note: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate on the board. `index` is its place in results.json, which also gives it its colour."""

    index: int
    candidate: Json
    kind: Literal["base", "ok", "failed"]
    rank: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return str(self.candidate["name"])


@dataclass(frozen=True, slots=True)
class Board:
    """All rows in the order of results.json: base, then best to worst, then the failed."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def build_board(results: Json) -> Board:
    """The board of a results.json."""
    columns = tuple(_columns(results))
    return Board(columns, tuple(_row(i, c, columns) for i, c in enumerate(results["candidates"])))


def quality_columns(results: Json) -> list[Column]:
    """The metric (or judge) that ranks first, then the judges' win rates, then the other metrics."""
    metrics = [
        Column("score", m["name"], m["label"], m["unit"], 1 if m["higher_is_better"] else -1)
        for m in results["metrics"]
    ]
    judges = [Column("win rate", j["name"], f"{j['name']} win rate", "%", 1) for j in results["judges"]]
    rank_by = results["suite"]["rank_by"]
    first = [c for c in metrics + judges if c.key == rank_by][:1]
    return first + [c for c in judges + metrics if c not in first]


def figure(candidate: Json, column: Column) -> Json:
    """The score, or the win rate by the default rule, of a candidate; {"missing": reason} where there is none."""
    if column.kind == "score":
        found = candidate["scores"].get(column.key) or {"missing": "not measured"}
    else:
        rates = candidate["win_rates"].get(column.key) or {"missing": "not judged"}
        found = rates["rules"][RULE] if "missing" not in rates else rates
    if "missing" not in found and not _finite(found["value"]):
        return {"missing": f"not a finite number ({fmt.number(found['value'])})"}
    return dict(found)


def name_of_kind(candidate: Json, index: int) -> Literal["base", "ok", "failed"]:
    """Whether a row is the pinned base, an ordinary one, or one that failed."""
    if candidate["status"] == "failed":
        return "failed"
    return "base" if index == 0 and candidate["rank"] is None else "ok"


def _columns(results: Json) -> list[Column]:
    return quality_columns(results) + [Column("cost", key, label, "", way) for key, label, way, _ in _COSTS]


def _row(index: int, candidate: Json, columns: Sequence[Column]) -> Row:
    kind = name_of_kind(candidate, index)
    rank = "base" if kind == "base" else fmt.ranks(candidate["rank"]) or "–"
    return Row(index, candidate, kind, rank, tuple(_cell(candidate, column, kind) for column in columns))


def _cell(candidate: Json, column: Column, kind: str) -> Cell:
    if column.kind == "cost":
        return _cost_cell(candidate, column.key)
    found = figure(candidate, column)
    if "missing" in found:
        opponent = column.kind == "win rate" and kind == "base"
        return Cell(text="–" if opponent else "missing", note=one_line(found["missing"]))
    value, low, high = float(found["value"]), found.get("low"), found.get("high")
    compared = _comparison(candidate, column)
    return Cell(
        value=value,
        text=fmt.score(value, column.unit, low, high),
        low=low,
        high=high,
        interval=fmt.interval(value, low, high, column.unit),
        half_width=fmt.half_width(value, low, high, column.unit),
        n=found.get("n"),
        change=fmt.difference(compared.get("value"), column.unit) if column.kind == "score" and compared else "",
        verdict=str(compared.get("verdict", "")),
        note=f"{fmt.count(found['unscored'])} unscored" if found.get("unscored") else "",
        detail=_detail(found, compared, column),
    )


def _comparison(candidate: Json, column: Column) -> Json:
    source = candidate["differences"] if column.kind == "score" else candidate["win_rates"]
    return source.get(column.key) or {}


def _detail(found: Json, compared: Json, column: Column) -> str:
    """What a reader who points at a cell is told."""
    parts = [f"95% interval over n = {fmt.count(found.get('n'))} examples"]
    if "low" in compared:
        span = fmt.difference_interval(compared["low"], compared["high"], column.unit)
        parts.append(f"difference to {one_line(compared['against'])}: {span}")
    if "against" in compared and column.kind == "win rate":
        parts.append(f"against {one_line(compared['against'])}")
        parts.append(f"consistency {fmt.share(compared.get('consistency'))}")
    if compared.get("p_adjusted") is not None:
        parts.append(f"{fmt.p_value(compared['p_adjusted'])} after correction for multiple comparisons")
    seeds = found.get("per_seed") or []
    if len(seeds) > 1:
        parts.append("per seed " + ", ".join(fmt.score(v, column.unit) for v in seeds))
    return "; ".join(parts)


def _cost_cell(candidate: Json, key: str) -> Cell:
    costs = candidate.get("costs") or {}
    value = costs.get(key)
    if value is None or not _finite(value):
        return Cell(text="–", note="not trained" if candidate["training"] is None else "not measured")
    show = next(show for name, _, _, show in _COSTS if name == key)
    note = ""
    if key == "trainable_parameters" and costs.get("total_parameters"):
        note = f"{fmt.share(value / costs['total_parameters'])} of {fmt.parameters(costs['total_parameters'])}"
    if key == "peak_memory_bytes":
        note = one_line(costs.get("memory_kind") or "")
    if key == "train_seconds":
        note = one_line(costs.get("device") or "")
    return Cell(value=float(value), text=show(value), note=note)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_COSTS: tuple[tuple[str, str, int, Callable[[float | None], str]], ...] = (
    ("train_seconds", "train time", -1, fmt.seconds),
    ("tokens_per_second", "tokens/s", 1, fmt.count),
    ("peak_memory_bytes", "peak memory", -1, fmt.size),
    ("trainable_parameters", "trainable", 0, fmt.parameters),
    ("artifact_bytes", "artifact", -1, fmt.size),
)
