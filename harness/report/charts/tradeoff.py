"""Quality against cost: the figure that ranks, by train time, with the Pareto front."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.board import Column, figure, quality_columns
from harness.report.charts.common import BOTTOM, Chart, colour, with_base, x_axis, x_title, y_axis
from harness.report.text import ellipsis, one_line

Json = Mapping[str, Any]
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 640, 360, 60, 620, 26
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18000, 36000, 86400)
"""Seconds between ticks that people count in."""


@dataclass(frozen=True, slots=True)
class _Point:
    index: int
    name: str
    cost: float
    value: float
    low: float
    high: float


def tradeoff_chart(results: Json) -> Chart | None:
    """The ranking figure against train time; None where nothing that was trained has both."""
    column = quality_columns(results)[0]
    points, omitted = _points(results, column)
    if not points:
        return None
    base = figure(results["candidates"][0], column)
    x, y = _cost_scale([p.cost for p in points]), _quality_scale(points, base, column)
    front = pareto_front([(p.cost, p.value) for p in points], column.direction)
    content = y_axis(y, _LEFT, _RIGHT, lambda v: fmt.score(v, column.unit), "%" if column.unit == "%" else "")
    content += x_axis(x, _time_ticks(x), _HEIGHT, lambda s: fmt.seconds(s) if s else "0", "s")
    content += x_title("train time" + (", logarithmic" if x.logarithmic else ""), _WIDTH, _HEIGHT)
    content += svg.text(f"better ↑  {one_line(column.label)}", 8, 14, class_="axis-title")
    content += _base_line(base, column, y)
    content += svg.path([(x(a), y(b)) for a, b in front], "front") if len(front) > 1 else ""
    content += _labels(points, x, y) + "".join(_mark(p, x, y) for p in points)
    title = f"{one_line(column.label)} against train time"
    told = "; ".join(f"{p.name}: {fmt.score(p.value, column.unit)} for {fmt.seconds(p.cost)}" for p in points)
    drawing = svg.picture("tradeoff", title, f"{told}.", (_WIDTH, _HEIGHT), content)
    caption = (
        "Up is better, left is cheaper; bars are 95% intervals. The dashed line joins the Pareto front: "
        "the candidates that no other beats in both quality and time."
    )
    return Chart(title, caption, drawing, tuple(omitted))


def pareto_front(points: Sequence[tuple[float, float]], direction: int) -> list[tuple[float, float]]:
    """The (cost, value) points that no other point beats in both, by rising cost."""
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda p: (p[0], -direction * p[1])):
        if not front or direction * value > direction * front[-1][1]:
            front.append((cost, value))
    return front


def _points(results: Json, column: Column) -> tuple[list[_Point], list[str]]:
    points, omitted = [], []
    for index, candidate in enumerate(results["candidates"]):
        name, score = one_line(candidate["name"]), figure(candidate, column)
        cost = (candidate.get("costs") or {}).get("train_seconds")
        if index == 0 and candidate["rank"] is None:
            continue  # base costs nothing: it is a line, not a point
        if candidate["status"] == "failed":
            omitted.append(f"{name} (failed)")
        elif "missing" in score or not cost:
            omitted.append(f"{name} ({one_line(score.get('missing') or 'no train time')})")
        elif score.get("incomparable"):
            omitted.append(f"{name} ({one_line(score['incomparable'])})")
        else:
            value = float(score["value"])
            low, high = (value if score.get(key) is None else float(score[key]) for key in ("low", "high"))
            points.append(_Point(index, name, float(cost), value, low, high))
    return points, omitted


def _cost_scale(costs: list[float]) -> svg.Scale:
    if max(costs) > 20 * min(costs):
        return svg.Scale(min(costs) / 1.4, max(costs) * 1.4, _LEFT, _RIGHT, logarithmic=True)
    # From 0, unless that would leave most of the plot empty.
    low, high = min(costs), max(costs) * 1.12
    return svg.Scale(0 if low < high / 2 else low - (high - low) / 4, high, _LEFT, _RIGHT)


def _time_ticks(scale: svg.Scale) -> list[float]:
    if scale.logarithmic:
        wanted = [t for t in (0.1, 1, 10, 60, 600, 3600, 36000, 360000) if scale.holds(t)]
        return wanted if len(wanted) > 1 else scale.ticks()
    step = next((s for s in _STEPS if (scale.high - scale.low) / s <= 6), _STEPS[-1])
    return [i * step for i in range(math.ceil(scale.low / step), int(scale.high / step) + 1)]


def _quality_scale(points: list[_Point], base: Json, column: Column) -> svg.Scale:
    """A scale on which up is better."""
    ends = [v for p in points for v in (p.value, p.low, p.high)]
    shown = ends if "missing" in base else with_base(ends, [float(base["value"])])
    low, high = svg.spread(shown, 0.08)
    bottom = _HEIGHT - BOTTOM
    return svg.Scale(low, high, *((bottom, _TOP) if column.direction > 0 else (_TOP, bottom)))


def _base_line(base: Json, column: Column, y: svg.Scale) -> str:
    if "missing" in base:
        return ""
    value = float(base["value"])
    told = f"base {fmt.score(value, column.unit)}"
    if y.holds(value):
        line = svg.line(_LEFT, y(value), _RIGHT, y(value), "origin")
        return line + svg.text(told, _RIGHT - 2, y(value) - 5, "end", "note")
    below = (value - y.low) * column.direction < 0
    arrow, at = ("↓", _HEIGHT - BOTTOM - 8) if below else ("↑", _TOP + 12)
    return svg.text(f"{arrow} {told}, off the scale", _RIGHT - 2, at, "end", "note")


def _mark(point: _Point, x: svg.Scale, y: svg.Scale) -> str:
    at = x(point.cost)
    content = svg.tag("title", html.escape(point.name))
    content += svg.line(at, y(point.low), at, y(point.high), "whisker")
    content += svg.tag("circle", cx=at, cy=y(point.value), r=5)
    return svg.tag("g", content, class_=colour(point.index))


def _labels(points: list[_Point], x: svg.Scale, y: svg.Scale) -> str:
    """Names beside their points, moved down where they would cover one another, then with a thin line."""
    written: list[tuple[float, float, float]] = []
    content = ""
    for point in sorted(points, key=lambda p: y(p.value)):
        name = ellipsis(point.name, 24)
        size, line = 7.0 * len(name), y(point.value) + 4
        to_left = x(point.cost) + 10 + size > _WIDTH - 10
        start = x(point.cost) - 10 - size if to_left else x(point.cost) + 10
        while any(abs(line - b) < 13 and start < a + s and a < start + size for a, b, s in written):
            line += 3
        written.append((start, line, size))
        if line > y(point.value) + 16:
            content += svg.line(x(point.cost), y(point.value), start - 3, line - 4, "leader")
        anchor = (x(point.cost) - 10, "end") if to_left else (start, "start")
        content += svg.text(name, anchor[0], line, anchor[1], "label")
    return content
