"""The page's charts, each an SVG drawing with a title, a description and a caption in plain words."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report import format as fmt
from harness.report import svg
from harness.report.board import Board, Cell, Column, Row, figure, quality_columns
from harness.report.text import ellipsis, one_line

Json = Mapping[str, Any]
MAX_POINTS = 300
COLOURS = 8
"""How many colours the style sheet has; later candidates take them again with a dashed line."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing (`svg`, already escaped markup), its heading, what it shows, and what it leaves out."""

    title: str
    caption: str
    svg: str
    omitted: tuple[str, ...] = ()


def colour(index: int) -> str:
    """The classes that colour a candidate: base is grey, the others take turns."""
    if index == 0:
        return "c0"
    dash = " dashed" if (index - 1) // COLOURS % 2 else ""
    return f"c{(index - 1) % COLOURS + 1}{dash}"


def whisker(column_cells: Sequence[Cell], cell: Cell) -> str:
    """A small interval on the scale of its column; the first cell is base and is drawn as a tick.

    Where base lies far off the others, the scale is theirs, and an arrow points to where base would be.
    """
    if cell.value is None or cell.low is None or cell.high is None:
        return ""
    width, height = 96, 14
    scale = svg.Scale(*_column_range(column_cells), 3, width - 3)
    content = svg.line(0, 7, width, 7, "track")
    base = column_cells[0]
    if base.value is not None and base is not cell and scale.holds(base.value):
        content += svg.line(scale(base.value), 1, scale(base.value), 13, "origin")
    if not scale.holds(cell.value):
        left = cell.value < scale.low
        content += svg.tag("path", d="M7 3L2 7L7 11" if left else "M89 3L94 7L89 11", class_="away")
    else:
        low, high = (scale(min(max(v, scale.low), scale.high)) for v in (cell.low, cell.high))
        content += svg.line(low, 7, high, 7, "whisker") + svg.tag("circle", cx=scale(cell.value), cy=7, r=3)
    return svg.tag("svg", content, viewBox=f"0 0 {width} {height}", class_="interval", aria_hidden="true")


def _column_range(cells: Sequence[Cell]) -> tuple[float, float]:
    ends = [[v for v in (c.value, c.low, c.high) if v is not None and math.isfinite(v)] for c in cells]
    base, tuned = ends[0], [v for values in ends[1:] for v in values]
    if not tuned:
        return svg.spread(base)
    return svg.spread(_with_base(tuned, base))


def _with_base(tuned: list[float], base: list[float]) -> list[float]:
    """The values to scale by: base too, unless it would squeeze the others to under a third of the room."""
    both = tuned + base
    return both if (max(both) - min(both)) <= 3 * (max(tuned) - min(tuned)) else tuned


# Loss curves


def loss_charts(results: Json) -> list[Chart]:
    """Training loss and validation loss by step; a chart without data is left out."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    kinds = (("Training loss", "curve", "as logged"), ("Validation loss", "validation", "on the validation rows"))
    charts = []
    for title, key, where in kinds:
        series = [(i, c["name"], _points(c["training"].get(key) or [])) for i, c in trained]
        if any(points for _, _, points in series):
            charts.append(_loss_chart(title, where, [s for s in series if s[2]]))
    return charts


def _points(entries: Sequence[Json]) -> list[tuple[float, float]]:
    found = [(e["step"], e["loss"]) for e in entries if e.get("loss") is not None and math.isfinite(e["loss"])]
    return downsample(found)


def downsample(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """At most `limit` points that keep the ends and every bucket's lowest and highest, so no spike is lost."""
    if len(points) <= limit:
        return list(points)
    inner, buckets = points[1:-1], limit // 2 - 1
    kept = [points[0]]
    for b in range(buckets):
        part = inner[b * len(inner) // buckets : (b + 1) * len(inner) // buckets]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


def _loss_chart(title: str, where: str, series: list[tuple[int, str, list[tuple[float, float]]]]) -> Chart:
    width, height = 560, 300
    every = [p for _, _, points in series for p in points]
    x = svg.Scale(min(0, *(p[0] for p in every)), max(p[0] for p in every) or 1, 52, width - 14)
    y = svg.Scale(*svg.spread([p[1] for p in every]), height - 42, 14)
    content = _y_axis(y, width, fmt.number) + _x_axis(x, height, fmt.count) + _axis_title("optimizer step", width, height)
    for index, name, points in series:
        shape = svg.path([(x(a), y(b)) for a, b in points], "line")
        few = points if len(points) <= 40 else []
        marks = "".join(svg.tag("circle", cx=x(a), cy=y(b), r=2.5) for a, b in few)
        content += svg.tag("g", svg.tag("title", html.escape(one_line(name))) + shape + marks, class_=colour(index))
    ends = "; ".join(f"{one_line(n)} from {fmt.number(p[0][1])} to {fmt.number(p[-1][1])}" for _, n, p in series)
    identity = title.lower().replace(" ", "-")
    drawing = svg.picture(identity, title, f"Loss by step: {ends}.", (width, height), content)
    return Chart(title, f"Mean negative log-likelihood per supervised token, in nats, {where}.", drawing)


# Quality against cost


@dataclass(frozen=True, slots=True)
class _Point:
    index: int
    name: str
    cost: float
    score: Json

    @property
    def value(self) -> float:
        return float(self.score["value"])


def tradeoff_chart(results: Json) -> Chart | None:
    """The ranking metric against train time, the Pareto front joined; None where nothing was trained."""
    column = quality_columns(results)[0]
    points, omitted = _tradeoff_points(results, column)
    if not points:
        return None
    width, height = 640, 360
    x = _cost_scale([p.cost for p in points], width)
    base = figure(results["candidates"][0], column)
    y, base_fits = _quality_scale(points, base, column, height)
    content = _y_axis(y, width, lambda v: fmt.score(v, column.unit)) + _x_axis(x, height, fmt.seconds)
    content += _axis_title("train time" + (", logarithmic" if x.logarithmic else ""), width, height)
    content += svg.text(f"better ↑  {one_line(column.label)}", 8, 14, class_="axis-title")
    content += _base_line(base, base_fits, column, y, width)
    front = pareto_front([(p.cost, p.value) for p in points], column.direction)
    content += svg.path([(x(a), y(b)) for a, b in front], "front") if len(front) > 1 else ""
    content += "".join(_tradeoff_point(p, x, y) for p in points) + _labels(points, x, y, width)
    title = f"{one_line(column.label)} against train time"
    told = "; ".join(f"{p.name}: {fmt.score(p.value, column.unit)} for {fmt.seconds(p.cost)}" for p in points)
    drawing = svg.picture("tradeoff", title, f"{told}. On the Pareto front: {len(front)}.", (width, height), content)
    caption = (
        "Up is better, left is cheaper; bars are 95% intervals. The dashed line joins the Pareto front: "
        "the candidates that no other beats in both quality and time."
    )
    return Chart(title, caption, drawing, tuple(omitted))


def _tradeoff_points(results: Json, column: Column) -> tuple[list[_Point], list[str]]:
    points, omitted = [], []
    for index, candidate in enumerate(results["candidates"]):
        name, score = one_line(candidate["name"]), figure(candidate, column)
        cost = (candidate.get("costs") or {}).get("train_seconds")
        if index == 0:
            continue
        if "missing" in score or not cost:
            reason = score.get("missing") or "no train time"
            omitted.append(f"{name} ({'failed' if candidate['status'] == 'failed' else one_line(reason)})")
            continue
        points.append(_Point(index, name, float(cost), score))
    return points, omitted


def _cost_scale(costs: list[float], width: int) -> svg.Scale:
    if max(costs) > 20 * min(costs):
        return svg.Scale(min(costs) / 1.4, max(costs) * 1.4, 60, width - 20, logarithmic=True)
    return svg.Scale(0, max(costs) * 1.12, 60, width - 20)


def _quality_scale(points: list[_Point], base: Json, column: Column, height: int) -> tuple[svg.Scale, bool]:
    """A scale on which up is better, and whether base's value lies on it."""
    ends = [float(p.score.get(k) or p.value) for p in points for k in ("value", "low", "high")]
    known = [] if "missing" in base else [float(base["value"])]
    shown = _with_base(ends, known)
    bottom, top = svg.spread(shown, 0.08)
    starts = (height - 42, 26) if column.direction > 0 else (26, height - 42)
    return svg.Scale(bottom, top, *starts), bool(known) and len(shown) > len(ends)


def _base_line(base: Json, fits: bool, column: Column, y: svg.Scale, width: int) -> str:
    if "missing" in base:
        return ""
    told = f"base {fmt.score(float(base['value']), column.unit)}"
    if not fits:
        worse = (float(base["value"]) - y.low) * column.direction < 0
        arrow, at = ("↓", max(y.start, y.end) - 6) if worse else ("↑", min(y.start, y.end) + 12)
        return svg.text(f"{arrow} {told}, off the scale", width - 22, at, "end", "note")
    at = y(float(base["value"]))
    return svg.line(60, at, width - 20, at, "origin") + svg.text(told, width - 22, at - 5, "end", "note")


def pareto_front(points: Sequence[tuple[float, float]], direction: int) -> list[tuple[float, float]]:
    """The (cost, value) points that no other point beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda p: (p[0], -direction * p[1])):
        if not front or direction * value > direction * front[-1][1]:
            front.append((cost, value))
    return front


def _tradeoff_point(point: _Point, x: svg.Scale, y: svg.Scale) -> str:
    at, low, high = x(point.cost), point.score.get("low"), point.score.get("high")
    bar = svg.line(at, y(low), at, y(high), "whisker") if low is not None and high is not None else ""
    title = svg.tag("title", html.escape(point.name))
    return svg.tag("g", title + bar + svg.tag("circle", cx=at, cy=y(point.value), r=5), class_=colour(point.index))


def _labels(points: list[_Point], x: svg.Scale, y: svg.Scale, width: int) -> str:
    """Names beside their points, moved down where they would cover one another."""
    written, content = [], ""
    for point in sorted(points, key=lambda p: y(p.value)):
        name = ellipsis(point.name, 24)
        at, size = x(point.cost), 7.0 * len(name)
        left = at + 10 + size > width - 10
        start, line = (at - 10 - size if left else at + 10), y(point.value) + 4
        while any(abs(line - b) < 13 and start < a + s and a < start + size for a, b, s in written):
            line += 3
        written.append((start, line, size))
        content += svg.text(name, at - 10 if left else at + 10, line, "end" if left else "start", "label")
    return content


# Differences to base


@dataclass(frozen=True, slots=True)
class _Bar:
    name: str
    value: float
    low: float
    high: float
    verdict: str
    told: str


def forest_charts(results: Json, board: Board) -> list[Chart]:
    """One chart per metric and judge: how far each candidate is from base, right is better."""
    charts = []
    for column in quality_columns(results):
        bars = [bar for row in board.rows if (bar := _bar(row, column)) is not None]
        if bars:
            charts.append(_forest_chart(len(charts), column, bars, results))
    return charts


def _bar(row: Row, column: Column) -> _Bar | None:
    candidate, name = row.candidate, one_line(row.name)
    if row.kind == "failed":
        return None
    if column.kind == "win rate":
        rates = candidate["win_rates"].get(column.key) or {}
        found, verdict = figure(candidate, column), str(rates.get("verdict", ""))
        told = "" if "missing" in found else fmt.share(found["value"])
    else:
        found = candidate["differences"].get(column.key) or {"missing": ""}
        verdict, told = str(found.get("verdict", "")), fmt.difference(found.get("value"), column.unit)
    ends = [found.get(key) for key in ("value", "low", "high")]
    if "missing" in found or not all(isinstance(v, int | float) and math.isfinite(v) for v in ends):
        return None
    value, low, high = (float(v) for v in ends if v is not None)
    return _Bar(name, value, low, high, verdict, told)


def _forest_chart(number: int, column: Column, bars: list[_Bar], results: Json) -> Chart:
    rate = column.kind == "win rate"
    origin = 0.5 if rate else 0.0
    width, row_height, left = 440, 24, 122
    height = 40 + row_height * len(bars) + 26
    low, high = svg.spread([origin, *(v for b in bars for v in (b.low, b.high))], 0.06)
    ends = (left, width - 84) if column.direction > 0 else (width - 84, left)
    x = svg.Scale(low, high, *ends)
    content = "".join(
        svg.line(x(t), 30, x(t), height - 22, "grid") + svg.text(_tick(t, column), x(t), height - 8, "middle", "tick")
        for t in x.ticks(3)
    )
    content += svg.line(x(origin), 26, x(origin), height - 22, "origin")
    content += svg.text("better →", width - 84, 18, "end", "note") + svg.text("← worse", left, 18, "start", "note")
    for i, bar in enumerate(bars):
        content += _forest_row(bar, x, 44 + row_height * i, width)
    against = next((j["against"] for j in results["judges"] if rate and j["name"] == column.key), "base")
    title = f"{one_line(column.label)}, against {one_line(against)}"
    told = "; ".join(f"{b.name} {b.told} ({b.verdict})" for b in bars)
    drawing = svg.picture(f"forest-{number}", title, f"{told}.", (width, height), content)
    return Chart(title, "", drawing)


def _forest_row(bar: _Bar, x: svg.Scale, y: float, width: int) -> str:
    mark = svg.line(x(bar.low), y, x(bar.high), y, "whisker") + svg.tag("circle", cx=x(bar.value), cy=y, r=4)
    kind = {"better": "better", "worse": "worse"}.get(bar.verdict, "level")
    name = svg.tag("title", html.escape(f"{bar.name}: {bar.told}, {bar.verdict}"))
    words = svg.text(ellipsis(bar.name, 17), 4, y + 4, class_="label")
    return svg.tag("g", name + words + mark + svg.text(bar.told, width - 4, y + 4, "end", "value"), class_=kind)


def _tick(value: float, column: Column) -> str:
    if column.kind == "win rate":
        return f"{value * 100:.0f}%"
    return fmt.fixed(value * 100, decimals_of(value * 100)) if column.unit == "%" else fmt.number(value, 2)


def decimals_of(value: float) -> int:
    """Decimals for a tick: two significant digits."""
    return fmt.decimals(value, 2)


# Axes


def _y_axis(scale: svg.Scale, width: int, show: Callable[[float], str]) -> str:
    left = 52 if width == 560 else 60
    return "".join(
        svg.line(left, scale(t), width - 14, scale(t), "grid") + svg.text(show(t), left - 8, scale(t) + 4, "end", "tick")
        for t in scale.ticks()
    )


def _x_axis(scale: svg.Scale, height: int, show: Callable[[float], str]) -> str:
    bottom = height - 42
    return "".join(
        svg.line(scale(t), bottom, scale(t), bottom + 4, "axis") + svg.text(show(t), scale(t), bottom + 17, "middle", "tick")
        for t in scale.ticks()
    )


def _axis_title(words: str, width: int, height: int) -> str:
    return svg.text(words, width - 14, height - 6, "end", "axis-title")
