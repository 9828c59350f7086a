"""One figure of one candidate: its number, its text, its difference to base, and what must be said beside it.

A value that is not there has `value` None and a `note` that says why: what is missing is shown as
missing, never as 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report.board.columns import PRICE, SHOW_COST, Column
from harness.report.text import one_line
from harness.validity import is_finite

Json = Mapping[str, Any]
RULE = "average"
"""The aggregation rule whose win rate stands on the board; the judge section shows all three."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What a score is more than base's, with its interval, as numbers and as text."""

    value: float
    text: str
    low: float | None
    high: float | None
    interval: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A figure of one candidate: as a number, as text, and with what must be said beside it.

    `verdict` is that on the comparison with base, or with the judge's opponent. A cell that is not
    `comparable` is on another scale than the others of its column.
    """

    value: float | None = None
    text: str = fmt.MISSING
    low: float | None = None
    high: float | None = None
    interval: str = ""
    margin: str = ""
    n: int | None = None
    difference: Difference | None = None
    verdict: str = ""
    note: str = ""
    detail: str = ""
    comparable: bool = True


def figure(candidate: Json, column: Column) -> Json:
    """A candidate's score, or its win rate by the default rule; {"missing": reason} where there is none."""
    if column.kind == "score":
        found = candidate["scores"].get(column.key) or {"missing": "not measured"}
    else:
        rates = candidate["win_rates"].get(column.key) or {"missing": "not judged"}
        found = rates["rules"][RULE] if "missing" not in rates else rates
    if "missing" not in found and not is_finite(found["value"]):
        return {"missing": f"not a finite number ({fmt.number(found['value'])})"}
    if found.get("n") == 1 and found.get("low") == found.get("high"):
        # One example says nothing of how far others lie apart.
        return {**found, "low": None, "high": None}
    return dict(found)


def make_cell(candidate: Json, column: Column) -> Cell:
    """The cell of a candidate in a column."""
    if column.kind == "cost":
        return _cost_cell(candidate, column)
    found = figure(candidate, column)
    if "missing" in found:
        if column.kind == "win rate" and candidate["name"] == column.against:
            return Cell(text=fmt.NONE if column.against == "base" else "opponent", note="the opponent")
        return Cell(text="missing", note=one_line(found["missing"]))
    value, low, high = float(found["value"]), found.get("low"), found.get("high")
    compared = _comparison(candidate, column)
    difference = _difference(compared, column.unit)
    return Cell(
        value=value,
        text=fmt.score(value, column.unit, low, high),
        low=low,
        high=high,
        interval=fmt.interval(value, low, high, column.unit),
        margin=fmt.margin(value, low, high, column.unit),
        n=found.get("n"),
        difference=difference,
        verdict="" if column.doubt else str(compared.get("verdict", "")),
        note=_note(found),
        detail=_detail(found, compared, difference, column),
        comparable="incomparable" not in found,
    )


def _note(found: Json) -> str:
    """What must be said beside a score: what it rests on, and that it is on another scale."""
    unscored = f"{fmt.count(found['unscored'])} unscored" if found.get("unscored") else ""
    alone = "n = 1, no interval" if found.get("n") == 1 and found.get("low") is None else ""
    return "; ".join(filter(None, (alone, unscored, one_line(found.get("incomparable") or ""))))


def _comparison(candidate: Json, column: Column) -> Json:
    source = candidate["differences"] if column.kind == "score" else candidate["win_rates"]
    return source.get(column.key) or {}


def _difference(compared: Json, unit: str) -> Difference | None:
    """Only of a score: a win rate is a comparison itself."""
    if compared.get("value") is None or not is_finite(compared["value"]):
        return None
    value, low, high = float(compared["value"]), compared.get("low"), compared.get("high")
    return Difference(
        value, fmt.difference(value, unit, low, high), low, high,
        fmt.difference_interval(value, low, high, unit),
    )  # fmt: skip


def _detail(found: Json, compared: Json, difference: Difference | None, column: Column) -> str:
    """What a reader who points at a cell is told."""
    seeds = found.get("per_seed") or []
    sampled = f" and {len(seeds)} seeds" if len(seeds) > 1 else ""
    n = fmt.count(found.get("n"))
    parts = [f"95% interval over n = {n} examples{sampled}" if found.get("n") != 1 else "n = 1"]
    if difference is not None:
        span = f" [{difference.interval}]" if difference.interval else ""
        parts.append(f"difference to {one_line(compared['against'])}: {difference.text}{span}")
    if "against" in compared and column.kind == "win rate":
        parts.append(f"against {one_line(column.against)}")
        if compared.get("consistency") is not None:
            parts.append(f"consistency {fmt.share(compared['consistency'])}")
    if compared.get("p_adjusted") is not None:
        parts.append(f"{fmt.p_value(compared['p_adjusted'])} after correction for multiple comparisons")
    if len(seeds) > 1:
        parts.append("per seed " + ", ".join(fmt.score(v, column.unit) for v in seeds))
    return "; ".join(parts)


def _cost_cell(candidate: Json, column: Column) -> Cell:
    costs, key = candidate.get("costs") or {}, column.key
    value = costs.get(key)
    if value is None or not is_finite(value):
        if candidate["training"] is not None:
            return Cell(text=fmt.NONE, note="not measured")
        # Said of what comes first is enough: the other costs of what was not trained are plainly empty.
        return Cell(text=fmt.NONE, note="not trained" if key in (PRICE, "train_seconds") else "")
    note = ""
    if key == "trainable_parameters" and costs.get("total_parameters"):
        total = costs["total_parameters"]
        note = f"{fmt.share(value / total)} of {fmt.parameters(total)}"
    if key == "peak_memory_bytes" and not column.unit:
        note = one_line(costs.get("memory_kind") or "")
    return Cell(value=float(value), text=SHOW_COST[key](value), note=note)
