"""Forest plots: per metric and judge, how far each candidate is from base. Right is always better."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.board import Board, Column, Row, figure, quality_columns
from harness.report.charts import families
from harness.report.charts.common import (
    LEVEL,
    SIGNS,
    Chart,
    Datum,
    Figures,
    datum,
    figures,
    fitting,
    grouped,
    tick_texts,
)
from harness.report.text import one_line
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.rates import EVEN
from harness.validity import is_finite

Json = Mapping[str, Any]
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _FOOT = 440, 130, 346, 44, 24, 22


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    value: float
    low: float
    high: float
    verdict: str
    told: str
    found: Json


def forest_charts(results: Json, board: Board) -> list[Chart]:
    """One chart for every metric and judge that has a comparison; the ranking one first."""
    charts: list[Chart] = []
    for column in quality_columns(results):
        found = [(row, _bar(row, column)) for row in board.rows]
        bars = [bar for _, bar in found if bar is not None]
        if bars:
            others = [row for row, bar in found if bar is None]
            omitted = grouped((row.candidate, why) for row in others if (why := _why_missing(row, column)))
            family = families.of_differences(results, column)
            charts.append(_chart(f"forest-{len(charts)}", column, bars, family, omitted))
    return charts


def _bar(row: Row, column: Column) -> _Bar | None:
    if row.kind == "failed":
        return None
    if column.kind == "win rate":
        found = figure(row.candidate, column)
        compared = row.candidate["win_rates"].get(column.key) or {}
        told = "" if "missing" in found else fmt.share(found["value"])
    else:
        found = compared = row.candidate["differences"].get(column.key) or {}
        told = fmt.difference(found.get("value"), column.unit, found.get("low"), found.get("high"))
    ends = [found.get(key) for key in ("value", "low", "high")]
    known = [float(end) for end in ends if is_finite(end)]
    if len(known) < len(ends):
        return None
    value, low, high = known
    tested = {key: compared.get(key) for key in ("n", "p_value", "p_adjusted")}
    verdict = column.doubt or str(compared.get("verdict") or "")
    return _Bar(one_line(row.name), value, low, high, verdict, told, tested)


def _why_missing(row: Row, column: Column) -> str:
    """Why a candidate is not drawn; empty for those that the others are compared with."""
    if row.kind == "failed":
        return "failed"
    if row.candidate["name"] == column.against or row.kind == "base":
        return ""
    if column.kind == "win rate":
        return str(figure(row.candidate, column).get("missing") or "no interval")
    reason = (row.candidate["differences"].get(column.key) or {}).get("missing")
    return str(reason or figure(row.candidate, column).get("missing") or "not compared")


def _chart(identity: str, column: Column, bars: list[_Bar], family: int, omitted: tuple[str, ...]) -> Chart:
    origin = EVEN if column.kind == "win rate" else 0.0
    height = _TOP + _ROW * len(bars) + _FOOT
    low, high = svg.spread([origin, *(v for b in bars for v in (b.low, b.high))], 0.06)
    # A metric of which less is better has its axis reversed, so that every panel reads the same way.
    ends = (_LEFT, _RIGHT) if column.direction > 0 else (_RIGHT, _LEFT)
    x = svg.Scale(low, high, *ends)
    ticks = x.ticks(4)
    told = tick_texts(ticks, lambda t: _tick_text(t, column), "%" if column.kind == "win rate" else "")
    content = "".join(_tick(x(t), text, height) for t, text in zip(ticks, told, strict=True))
    content += svg.line(x(origin), _TOP - 18, x(origin), height - _FOOT, "origin")
    content += svg.text("← worse", _LEFT, 16, class_="note")
    content += svg.text("better →", _RIGHT, 16, "end", "note")
    content += "".join(_row(bar, x, _TOP + _ROW * i) for i, bar in enumerate(bars))
    doubt = f" ({column.doubt})" if column.doubt else ""
    title = f"{one_line(column.label)}{doubt}, against {one_line(column.against)}"
    description = "; ".join(f"{b.name} {b.told}, {b.verdict}" for b in bars)
    drawing = svg.picture(identity, title, f"{description}.", (_WIDTH, height), content)
    caption = f"Verdicts after Holm's correction for {fmt.counted(family, 'comparison')} at once."
    return Chart(title, caption, drawing, _figures(title, column, bars), omitted)


def _figures(title: str, column: Column, bars: list[_Bar]) -> Figures:
    def show(value: float) -> str:
        return fmt.share(value) if column.kind == "win rate" else fmt.difference(value, column.unit)

    rows = [
        [
            Datum(b.name),
            Datum(b.told, b.value),
            *(datum(end, show) for end in (b.low, b.high)),
            datum(b.found["n"], fmt.count),
            *(datum(b.found[key], fmt.p_figure) for key in ("p_value", "p_adjusted")),
            Datum(b.verdict, kind=b.verdict.replace(" ", "-")),
        ]
        for b in bars
    ]
    what = "win rate" if column.kind == "win rate" else "difference"
    return figures(title, ["candidate", what, "low", "high", "n", "p", "p, corrected", "verdict"], rows)


def _tick(at: float, told: str, height: int) -> str:
    line = svg.line(at, _TOP - 14, at, height - _FOOT, "grid")
    return line + svg.text(told, at, height - 7, "middle", "tick")


def _tick_text(value: float, column: Column) -> str:
    if column.kind == "win rate":
        return f"{value * 100:.0f}%"
    return fmt.number(value * 100 if column.unit == "%" else value, 2)


def _row(bar: _Bar, x: svg.Scale, y: float) -> str:
    kind = bar.verdict if bar.verdict in SIGNS else "level"
    title = svg.tag("title", html.escape(f"{bar.name}: {bar.told}, {bar.verdict}"))
    mark = svg.line(x(bar.low), y, x(bar.high), y, "whisker")
    # What cannot be told apart is hollow, for those who do not tell colours apart.
    mark += svg.tag("circle", cx=x(bar.value), cy=y, r=4, class_="hollow" if kind == "level" else None)
    name = svg.text(fitting(bar.name, _LEFT - 14), 4, y + 4, class_="label")
    sign = LEVEL if bar.verdict == NO_DIFFERENCE else SIGNS.get(bar.verdict, "")
    value = svg.text(f"{bar.told} {sign}".rstrip(), _WIDTH - 4, y + 4, "end", "value")
    return svg.tag("g", title + name + mark + value, class_=kind)
