"""The leaderboard as columns, rows and cells, ready to print: HTML, Markdown and the terminal draw the same.

Nothing here knows markup. A value that is not there has `value` None and a `note` that says why: what
is missing is shown as missing, never as 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness import format as fmt
from harness.records import ALL
from harness.report.text import ellipsis, one_line

Json = Mapping[str, Any]
ColumnKind = Literal["score", "win rate", "cost"]
PRICE = "train_cost_usd"
"""A cost that has a column only where the suite names a price and a GPU was used."""
RULE = "average"
"""The aggregation rule whose win rate stands on the board; the judge section shows all three."""


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of the board. `direction` is +1 where higher is better, -1 where lower is, 0 for neither.

    `against` is whom the figure's differences, or its win rate, are against.
    """

    kind: ColumnKind
    key: str
    label: str
    unit: str
    direction: int
    against: str = "base"

    @property
    def arrow(self) -> str:
        return {1: "↑", -1: "↓", 0: ""}[self.direction]


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one candidate: as a number, as text, and with what must be said beside it.

    One that is not `comparable` is on another scale than the others of its column.
    """

    value: float | None = None
    text: str = fmt.MISSING
    low: float | None = None
    high: float | None = None
    interval: str = ""
    margin: str = ""
    n: int | None = None
    change: str = ""
    verdict: str = ""
    note: str = ""
    detail: str = ""
    comparable: bool = True


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


def metric_columns(results: Json) -> list[Column]:
    """The evaluators' metrics, as the suite orders them."""
    return [
        Column("score", m["name"], _label(m["label"]), m["unit"], 1 if m["higher_is_better"] else -1)
        for m in results["metrics"]
    ]


def quality_columns(results: Json) -> list[Column]:
    """The metric (or judge) that ranks first, then the judges' win rates, then the other metrics."""
    metrics = metric_columns(results)
    judges = [
        Column("win rate", j["name"], f"{j['name']} win rate", "%", 1, _opponent(j["against"]))
        for j in results["judges"]
    ]
    rank_by = results["suite"]["rank_by"]
    first = [c for c in metrics + judges if c.key == rank_by][:1]
    return first + [c for c in judges + metrics if c not in first]


def _opponent(against: str) -> str:
    return "all others" if against == ALL else against


def all_warnings(results: Json) -> Iterator[str]:
    """The warnings of the board, then those of candidates; what is true of several is said once."""
    yield from results["warnings"]
    names: dict[str, list[str]] = {}
    for candidate in results["candidates"]:
        for warning in row_warnings(candidate):
            names.setdefault(warning, []).append(candidate["name"])
    yield from (f"{', '.join(whose)}: {warning}" for warning, whose in names.items())


def row_warnings(candidate: Json) -> list[str]:
    """The warnings of a candidate: its own, then those that its win rates give rise to."""
    return [*candidate["warnings"], *candidate["judge_warnings"]]


def _label(text: str) -> str:
    # A head is as wide as its longest word; a plugin's label is not to push the board off the page.
    return ellipsis(one_line(text), 60)


def figure(candidate: Json, column: Column) -> Json:
    """A candidate's score, or its win rate by the default rule; {"missing": reason} where there is none."""
    if column.kind == "score":
        found = candidate["scores"].get(column.key) or {"missing": "not measured"}
    else:
        rates = candidate["win_rates"].get(column.key) or {"missing": "not judged"}
        found = rates["rules"][RULE] if "missing" not in rates else rates
    if "missing" not in found and not _finite(found["value"]):
        return {"missing": f"not a finite number ({fmt.number(found['value'])})"}
    return dict(found)


def _columns(results: Json) -> list[Column]:
    shown = [cost for cost in _COSTS if _is_known(results, cost[0])]
    return quality_columns(results) + [Column("cost", key, label, "", way) for key, label, way, _ in shown]


def has_price(results: Json) -> bool:
    """Whether any training has a cost in money."""
    return _is_known(results, PRICE)


def _is_known(results: Json, cost: str) -> bool:
    """Whether any candidate has a cost: a column that is empty for all would take the room of others."""
    return any((c.get("costs") or {}).get(cost) is not None for c in results["candidates"])


def _kind(candidate: Json, index: int) -> Literal["base", "ok", "failed"]:
    if candidate["status"] == "failed":
        return "failed"
    return "base" if index == 0 and candidate["rank"] is None else "ok"


def _row(index: int, candidate: Json, columns: Sequence[Column]) -> Row:
    kind = _kind(candidate, index)
    rank = "base" if kind == "base" else fmt.ranks(candidate["rank"]) or "–"
    return Row(index, candidate, kind, rank, tuple(_cell(candidate, column) for column in columns))


def _cell(candidate: Json, column: Column) -> Cell:
    if column.kind == "cost":
        return _cost_cell(candidate, column.key)
    found = figure(candidate, column)
    if "missing" in found:
        if column.kind == "win rate" and candidate["name"] == column.against:
            return Cell(text="–" if column.against == "base" else "opponent", note="the opponent")
        return Cell(text="missing", note=one_line(found["missing"]))
    value, low, high = float(found["value"]), found.get("low"), found.get("high")
    compared = _comparison(candidate, column)
    return Cell(
        value=value,
        text=fmt.score(value, column.unit, low, high),
        low=low,
        high=high,
        interval=fmt.interval(value, low, high, column.unit),
        margin=fmt.margin(value, low, high, column.unit),
        n=found.get("n"),
        change=_change(compared, column.unit),
        verdict=str(compared.get("verdict", "")),
        note=_note(found),
        detail=_detail(found, compared, column),
        comparable="incomparable" not in found,
    )


def _note(found: Json) -> str:
    """What must be said beside a score: examples left out, and that it is on another scale."""
    unscored = f"{fmt.count(found['unscored'])} unscored" if found.get("unscored") else ""
    return "; ".join(filter(None, (unscored, one_line(found.get("incomparable") or ""))))


def _change(compared: Json, unit: str) -> str:
    ends = (compared.get("low"), compared.get("high"))
    return fmt.difference(compared["value"], unit, *ends) if "value" in compared else ""


def _comparison(candidate: Json, column: Column) -> Json:
    source = candidate["differences"] if column.kind == "score" else candidate["win_rates"]
    return source.get(column.key) or {}


def _detail(found: Json, compared: Json, column: Column) -> str:
    """What a reader who points at a cell is told."""
    seeds = found.get("per_seed") or []
    sampled = f" and {len(seeds)} seeds" if len(seeds) > 1 else ""
    parts = [f"95% interval over n = {fmt.count(found.get('n'))} examples{sampled}"]
    if "low" in compared:
        span = fmt.difference_interval(compared["value"], compared["low"], compared["high"], column.unit)
        parts.append(f"difference to {one_line(compared['against'])}: {span}")
    if "against" in compared and column.kind == "win rate":
        parts.append(f"against {one_line(column.against)}")
        if compared.get("consistency") is not None:
            parts.append(f"consistency {fmt.share(compared['consistency'])}")
    if compared.get("p_adjusted") is not None:
        parts.append(f"{fmt.p_value(compared['p_adjusted'])} after correction for multiple comparisons")
    if len(seeds) > 1:
        parts.append("per seed " + ", ".join(fmt.score(v, column.unit) for v in seeds))
    return "; ".join(parts)


def _cost_cell(candidate: Json, key: str) -> Cell:
    costs = candidate.get("costs") or {}
    value = costs.get(key)
    if value is None or not _finite(value):
        if candidate["training"] is not None:
            return Cell(text="–", note="not measured")
        # Said once is enough: the other costs of what was not trained are plainly empty.
        return Cell(text="–", note="not trained" if key == "train_seconds" else "")
    show = next(show for name, _, _, show in _COSTS if name == key)
    note = ""
    if key == "trainable_parameters" and costs.get("total_parameters"):
        total = costs["total_parameters"]
        note = f"{fmt.share(value / total)} of {fmt.parameters(total)}"
    if key == "peak_memory_bytes":
        note = one_line(costs.get("memory_kind") or "")
    return Cell(value=float(value), text=show(value), note=note)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


_COSTS: tuple[tuple[str, str, int, Callable[[float | None], str]], ...] = (
    ("train_seconds", "train time", -1, fmt.seconds),
    (PRICE, "train cost", -1, fmt.dollars),
    ("tokens_per_second", "tokens/s", 1, fmt.count),
    ("peak_memory_bytes", "peak memory", -1, fmt.size),
    ("trainable_parameters", "trainable", 0, fmt.parameters),
    ("artifact_bytes", "artifact", -1, fmt.size),
)
