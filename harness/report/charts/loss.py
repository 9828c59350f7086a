"""Training and validation loss by step, all candidates in one drawing."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.charts.common import (
    BOTTOM,
    RIGHT,
    Chart,
    Datum,
    Figures,
    colour,
    datum,
    figures,
    fitting,
    is_wide,
    tick_texts,
    x_axis,
    x_title,
    y_axis,
)
from harness.report.charts.labels import LINE, stacked
from harness.report.text import one_line
from harness.validity import is_finite

Json = Mapping[str, Any]
Point = tuple[float, float]
MAX_POINTS = 300
_WIDTH, _HEIGHT, _LEFT, _TOP, _NAMES = 640, 300, 52, 16, 128
"""Names stand to the right of the plot, each by the end of its line."""


@dataclass(frozen=True, slots=True)
class _Series:
    """A candidate's losses as logged by its first seed, and where each other seed's lowest was."""

    index: int
    name: str
    logged: list[Point]
    others: list[Point]

    @property
    def points(self) -> list[Point]:
        return downsample(self.logged)

    @property
    def lowest(self) -> Point:
        return min(self.logged, key=lambda p: (p[1], p[0]))


def loss_charts(results: Json) -> list[Chart]:
    """Training loss and validation loss; a chart without data is left out."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    charts = []
    for title, key, rows in (
        ("Training loss", "curve", "training batches as logged"),
        ("Validation loss", "validation", "all validation rows"),
    ):
        series = [
            _Series(
                i, one_line(c["name"]), _logged(c["training"].get(key) or []), _others(c["training"], key)
            )
            for i, c in trained
        ]
        if any(s.logged for s in series):
            without = tuple(f"{s.name} (none was logged)" for s in series if not s.logged)
            several = any(len(c["training"].get("per_seed") or []) > 1 for _, c in trained)
            charts.append(_chart(title, rows, [s for s in series if s.logged], without, several=several))
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


def _logged(entries: Sequence[Json]) -> list[Point]:
    return [(e["step"], e["loss"]) for e in entries if is_finite(e.get("loss"))]


def _others(training: Json, key: str) -> list[Point]:
    """The best validation of each seed but the first, whose curve is drawn."""
    seeds = (training.get("per_seed") or [])[1:] if key == "validation" else []
    known = [(one.get("best_step"), one.get("best_validation_loss")) for one in seeds]
    return [(step, loss) for step, loss in known if step is not None and is_finite(loss)]


def _chart(title: str, rows: str, series: list[_Series], without: tuple[str, ...], *, several: bool) -> Chart:
    every = [p for s in series for p in [*s.logged, *s.others]]
    right = _WIDTH - _NAMES
    height = max(_HEIGHT, LINE * len(series) + _TOP + BOTTOM)
    x = svg.Scale(0, max(step for step, _ in every) or 1, _LEFT, right)
    y = _loss_scale([loss for _, loss in every], height - BOTTOM)
    content = y_axis(y, _LEFT, right, fmt.number)
    ticks = x.ticks()
    content += x_axis(x, list(zip(ticks, tick_texts(ticks, fmt.count), strict=True)), height)
    content += x_title("optimizer step", right + RIGHT, height)
    content += svg.text("logarithmic", 4, _TOP - 4, class_="axis-title") if y.logarithmic else ""
    content += "".join(_line(s, x, y) for s in series) + _names(series, x, y, height - BOTTOM)
    ends = "; ".join(f"{s.name} from {_loss(s.logged[0])} to {_loss(s.logged[-1])}" for s in series)
    identity = title.lower().replace(" ", "-")
    drawing = svg.picture(identity, title, f"Loss by step: {ends}.", (_WIDTH, height), content)
    caption = f"Mean negative log-likelihood of a supervised token in nats, over {rows}."
    if several:
        caption += " Lines are the first seed's."
    if any(s.others for s in series):
        caption += " A ring is another seed's best validation."
    return Chart(title, caption, drawing, _figures(title, series), without)


def _loss_scale(losses: list[float], bottom: float) -> svg.Scale:
    if is_wide(losses):
        return svg.Scale(min(losses) / 1.2, max(losses) * 1.2, bottom, _TOP, logarithmic=True)
    return svg.Scale(*svg.spread(losses), bottom, _TOP)


def _loss(point: Point) -> str:
    return fmt.number(point[1])


def _line(series: _Series, x: svg.Scale, y: svg.Scale) -> str:
    points = series.points
    shape = svg.path([(x(step), y(loss)) for step, loss in points], "line")
    # Few points are validations: each is worth a mark. Many are a curve.
    marked = points if len(points) <= 40 else []
    marks = "".join(svg.tag("circle", cx=x(step), cy=y(loss), r=2.5) for step, loss in marked)
    rings = "".join(
        svg.tag("circle", cx=x(step), cy=y(loss), r=4, class_="hollow") for step, loss in series.others
    )
    title = svg.tag("title", html.escape(series.name))
    return svg.tag("g", title + shape + marks + rings, class_=colour(series.index))


def _names(series: list[_Series], x: svg.Scale, y: svg.Scale, bottom: float) -> str:
    """Each name by the end of its line, or with a thin line that leads there."""
    heights = stacked([y(s.logged[-1][1]) for s in series], _TOP, bottom)
    content, start = "", _WIDTH - _NAMES + 12
    for one, height in zip(series, heights, strict=True):
        step, loss = one.logged[-1]
        content += svg.line(x(step) + 3, y(loss), start - 2, height, "leader")
        content += svg.text(fitting(one.name, _NAMES - 14), start, height + 4, class_="label")
    return content


def _figures(title: str, series: list[_Series]) -> Figures:
    """The ends of each line, and where it was lowest; the whole of it is in results.json."""
    rows = []
    for one in series:
        (first, start), (last, end), (best, lowest) = one.logged[0], one.logged[-1], one.lowest
        pairs = [(first, start), (best, lowest), (last, end)]
        told = [[datum(loss, fmt.number), datum(step, fmt.count)] for step, loss in pairs]
        rows.append([Datum(one.name), *(d for pair in told for d in pair), Datum(fmt.count(len(one.logged)))])
    heads = ["first", "at step", "lowest", "at step", "last", "at step", "logged"]
    return figures(f"{title} in nats per token", ["candidate", *heads], rows)
