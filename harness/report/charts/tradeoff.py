"""Quality against cost: the figure that ranks, by train time or money, with the Pareto front.

Without a price the cost is time. The page's script draws the chart anew for the price that a reader types;
it moves what carries the data attributes written here, and knows nothing else of the drawing.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.board import Column, figure, quality_columns
from harness.report.charts import labels, money
from harness.report.charts.common import (
    BOTTOM,
    Chart,
    Datum,
    Figures,
    colour,
    datum,
    figures,
    fitting,
    text_width,
    with_base,
    x_axis,
    x_title,
    y_axis,
)
from harness.report.charts.money import Point
from harness.report.text import one_line

Json = Mapping[str, Any]
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP = 640, 360, 60, 620, 26
_NAME = 170
_FRAME = labels.Frame(_LEFT + 4, _WIDTH - 4, _TOP - 6, _HEIGHT - BOTTOM - 2)
CAPTION = (
    "Up is better, left is cheaper; bars are 95% intervals. The dashed line joins the Pareto front: the "
    "candidates better than base, which costs nothing, that no other matches or beats in both quality and "
    "cost, by the values alone. Intervals do not count for it."
)


@dataclass(frozen=True, slots=True)
class Tradeoff:
    """The chart as it is first drawn, and what the reader may change: the price of an hour of `device`.

    `price` is what it is drawn by, None: by train time. It has no `device` where nothing was trained.
    """

    chart: Chart
    price: float | None
    device: str


def tradeoff_chart(results: Json, price: float | None = None) -> Tradeoff | None:
    """The ranking figure against cost; None where nothing that can be compared has a cost.

    `price`: US dollars for an hour of a device; the suite's, if there is none.
    """
    column = quality_columns(results)[0]
    points, omitted = money.points(results, column)
    price = money.first_price(results) if price is None else price
    if not any(p.seconds is not None or p.hours is not None for p in points):
        price = 0.0  # nothing was trained: an hour has no price, what servers charged is all there is
    if all(p.cost(price) is None for p in points):
        return None
    base = figure(results["candidates"][0], column)
    without = [f"{p.name} ({p.why_without(price)})" for p in points if p.cost(price) is None]
    title = _title(column, price)
    drawing = svg.picture(
        "tradeoff",
        title,
        f"{_told(points, price, column)}.",
        (_WIDTH, _HEIGHT),
        _content(points, price, column, base),
        data_direction=str(column.direction),
        data_free=None if (free := _free(base)) is None else str(free),
        data_frame=" ".join(map(str, (_FRAME.left, _FRAME.right, _FRAME.top, _FRAME.bottom))),
        data_plot=f"{_LEFT} {_RIGHT} {_HEIGHT - BOTTOM}",
        data_label=one_line(column.label),
        data_omitted=json.dumps(omitted, ensure_ascii=False),
    )
    chart = Chart(title, CAPTION, drawing, _figures(points, price, column, base), (*omitted, *without))
    return Tradeoff(chart, price, _device(results) if price != 0.0 else "")


def _device(results: Json) -> str:
    """What an hour is an hour of."""
    found = money.devices(results)
    if found == ["cpu"]:
        return "this CPU machine"
    return f"a GPU ({found[0]})" if len(found) == 1 else "a device"


def _title(column: Column, price: float | None) -> str:
    cost = "train time" if price is None else f"cost at {money.dollars(price)} per hour" if price else "cost"
    return f"{one_line(column.label)} against {cost}"


def _told(points: Sequence[Point], price: float | None, column: Column) -> str:
    show = fmt.seconds if price is None else money.dollars
    known = [(p, cost) for p in points if (cost := p.cost(price)) is not None]
    return "; ".join(f"{p.name}: {fmt.score(p.value, column.unit)} for {show(cost)}" for p, cost in known)


def _content(points: Sequence[Point], price: float | None, column: Column, base: Json) -> str:
    costs = {p.index: cost for p in points if (cost := p.cost(price)) is not None}
    # Also those that only a price draws have their place: the scale of quality stays as it is.
    y = _quality_scale(points, base, column)
    x = money.cost_scale(list(costs.values()), _LEFT, _RIGHT)
    ticks = money.time_ticks(x) if price is None else money.money_ticks(x)
    words = "train time" if price is None else "US dollars"
    drawn = [p for p in points if p.index in costs]
    front = money.pareto_front([(costs[p.index], p.value) for p in drawn], column.direction, _free(base))
    line = svg.path([(x(a), y(b)) for a, b in front], "front", data_part="front")
    spots = [labels.Spot(x(costs[p.index]), y(p.value), text_width(_name(p)), *_ends(p, y)) for p in drawn]
    places = labels.place(spots, _FRAME)
    names = "".join(
        labels.drawn(_name(p), spot, at) for p, spot, at in zip(drawn, spots, places, strict=True)
    )
    return (
        y_axis(y, _LEFT, _RIGHT, lambda v: fmt.score(v, column.unit), "%" if column.unit == "%" else "")
        + svg.tag("g", x_axis(x, ticks, _HEIGHT), data_part="ticks")
        + svg.tag(
            "g",
            x_title(words + (", logarithmic" if x.logarithmic else ""), _WIDTH, _HEIGHT),
            data_part="title",
        )
        + svg.text(f"better ↑  {one_line(column.label)}", 8, 14, class_="axis-title")
        + _base_line(base, column, y)
        + line
        + svg.tag("g", names, data_part="labels")
        + "".join(_mark(p, costs.get(p.index), x, y) for p in points)
    )


def _free(base: Json) -> float | None:
    """What is had for nothing: base's figure, if it has one."""
    return None if "missing" in base else float(base["value"])


def _ends(point: Point, y: svg.Scale) -> list[float]:
    """Top and bottom of its interval."""
    return sorted(y(point.value if end is None else end) for end in (point.low, point.high))


def _name(point: Point) -> str:
    return fitting(point.name, _NAME)


def _quality_scale(points: Sequence[Point], base: Json, column: Column) -> svg.Scale:
    """A scale on which up is better."""
    ends = [v for p in points for v in (p.value, p.low, p.high) if v is not None]
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


def _mark(point: Point, cost: float | None, x: svg.Scale, y: svg.Scale) -> str:
    """A point with its interval, at its cost; without one it is there for the script, and not shown."""
    content = svg.tag("title", html.escape(point.name))
    if point.low is not None and point.high is not None:
        content += svg.line(0, y(point.low), 0, y(point.high), "whisker")
    content += svg.tag("circle", cx=0, cy=y(point.value), r=5)
    return svg.tag(
        "g",
        content,
        class_=colour(point.index),
        transform=None if cost is None else f"translate({svg.coordinate(x(cost))} 0)",
        display="none" if cost is None else None,
        data_candidate=str(point.index),
        data_name=point.name,
        data_label=_name(point),
        data_width=repr(text_width(_name(point))),
        data_height=repr(y(point.value)),
        data_ends=" ".join(map(repr, _ends(point, y))),
        data_value=repr(point.value),
        data_hours=None if point.hours is None else repr(point.hours),
        data_charged=None if point.charged is None else repr(point.charged),
    )


def _figures(points: Sequence[Point], price: float | None, column: Column, base: Json) -> Figures:
    costs = [p.cost(price) for p in points]
    known = [(cost, p.value) for p, cost in zip(points, costs, strict=True) if cost is not None]
    front = set(money.pareto_front(known, column.direction, _free(base)))
    heads = [
        "candidate",
        one_line(column.label),
        "low",
        "high",
        "train time",
        "device hours",
        "charged by servers",
    ]
    rows = [
        [
            Datum(p.name),
            Datum(fmt.score(p.value, column.unit, p.low, p.high), p.value),
            datum(p.low, lambda v: fmt.score(v, column.unit)),
            datum(p.high, lambda v: fmt.score(v, column.unit)),
            datum(p.seconds, fmt.seconds),
            datum(p.hours, fmt.number),
            datum(p.charged, money.dollars),
            Datum(fmt.NONE if cost is None else "yes" if (cost, p.value) in front else "no", part="front"),
            *([] if price is None else [replace(datum(cost, money.dollars), part="money")]),
        ]
        for p, cost in zip(points, costs, strict=True)
    ]
    last = [] if price is None else [Datum("US dollars", part="money")]
    return figures(f"{one_line(column.label)} and cost", [*heads, "on the Pareto front", *last], rows)
