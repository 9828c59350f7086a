"""Training and validation loss by step, all candidates in one drawing."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.charts.common import BOTTOM, RIGHT, Chart, colour, x_axis, x_title, y_axis
from harness.report.text import one_line

Json = Mapping[str, Any]
Point = tuple[float, float]
MAX_POINTS = 300
_WIDTH, _HEIGHT, _LEFT = 560, 300, 52


@dataclass(frozen=True, slots=True)
class _Series:
    index: int
    name: str
    points: list[Point]


def loss_charts(results: Json) -> list[Chart]:
    """Training loss and validation loss; a chart without data is left out."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    charts = []
    for title, key, rows in (
        ("Training loss", "curve", "training batches as logged"),
        ("Validation loss", "validation", "all validation rows"),
    ):
        series = [_Series(i, one_line(c["name"]), _points(c["training"].get(key) or [])) for i, c in trained]
        if any(s.points for s in series):
            charts.append(_chart(title, rows, [s for s in series if s.points]))
    return charts


def downsample(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most `limit` points: both ends and each bucket's lowest and highest, so that no spike is lost."""
    if len(points) <= limit:
        return list(points)
    inner, buckets = points[1:-1], limit // 2 - 1
    kept = [points[0]]
    for b in range(buckets):
        part = inner[b * len(inner) // buckets : (b + 1) * len(inner) // buckets]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, points[-1]]


def _points(entries: Sequence[Json]) -> list[Point]:
    known = [e for e in entries if e.get("loss") is not None and math.isfinite(e["loss"])]
    return downsample([(e["step"], e["loss"]) for e in known])


def _chart(title: str, rows: str, series: list[_Series]) -> Chart:
    every = [p for s in series for p in s.points]
    x = svg.Scale(0, max(step for step, _ in every) or 1, _LEFT, _WIDTH - RIGHT)
    y = svg.Scale(*svg.spread([loss for _, loss in every]), _HEIGHT - BOTTOM, 14)
    content = y_axis(y, _LEFT, _WIDTH - RIGHT, fmt.number) + x_axis(x, x.ticks(), _HEIGHT, fmt.count)
    content += x_title("optimizer step", _WIDTH, _HEIGHT) + "".join(_line(s, x, y) for s in series)
    ends = "; ".join(f"{s.name} from {_loss(s.points[0])} to {_loss(s.points[-1])}" for s in series)
    identity = title.lower().replace(" ", "-")
    drawing = svg.picture(identity, title, f"Loss by step: {ends}.", (_WIDTH, _HEIGHT), content)
    return Chart(title, f"Mean negative log-likelihood of a supervised token in nats, over {rows}.", drawing)


def _loss(point: Point) -> str:
    return fmt.number(point[1])


def _line(series: _Series, x: svg.Scale, y: svg.Scale) -> str:
    shape = svg.path([(x(step), y(loss)) for step, loss in series.points], "line")
    # Few points are validations: each is worth a mark. Many are a curve.
    marked = series.points if len(series.points) <= 40 else []
    marks = "".join(svg.tag("circle", cx=x(step), cy=y(loss), r=2.5) for step, loss in marked)
    title = svg.tag("title", html.escape(series.name))
    return svg.tag("g", title + shape + marks, class_=colour(series.index))
