"""How single examples differ from base: small histograms, a candidate each. Right is always better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.board import Column, metric_columns, quality_columns
from harness.report.charts.common import (
    Chart,
    Datum,
    Figures,
    Panels,
    datum,
    figures,
    grouped,
    text_width,
    tick_texts,
)
from harness.report.text import one_line

Json = Mapping[str, Any]
_WIDTH, _HEIGHT, _TOP, _FOOT, _SIDE, _BEYOND = 300, 132, 20, 22, 8, 16
"""`_BEYOND` is the room on either side for what lies beyond the bins."""


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar of a histogram: its ends as coordinates, how many examples, and which side of 0 it is on."""

    start: float
    end: float
    count: int
    is_better: bool


def distribution_panels(results: Json) -> list[Panels]:
    """One group of panels for every metric of which examples differ, the ranking one first."""
    edges = {m["name"]: m.get("difference_edges") for m in results["metrics"]}
    columns = [c for c in quality_columns(results) if c.kind == "score"] or metric_columns(results)
    groups = [
        _group(f"distribution-{i}", c, edges[c.key], results) for i, c in enumerate(columns) if edges[c.key]
    ]
    return [group for group in groups if group is not None]


def _group(identity: str, column: Column, edges: Sequence[float], results: Json) -> Panels | None:
    found = [
        (index, candidate, candidate["per_example"][column.key])
        for index, candidate in enumerate(results["candidates"])
        if column.key in (candidate.get("per_example") or {})
    ]
    if not found:
        return None
    most = max(max([*one["counts"], one["below"], one["above"]]) for _, _, one in found)
    shown = {index for index, _, _ in found}
    others = [c for i, c in enumerate(results["candidates"]) if i and i not in shown]
    omitted = grouped((c, _why_missing(c, column)) for c in others)
    panels = tuple(
        _panel(f"{identity}-{index}", index, candidate, column, edges, one, most)
        for index, candidate, one in found
    )
    caption = (
        f"How far{_unit(column)} single examples are from base's, to the right for the better. "
        "Filled bars are better, hollow ones worse; what came out the same is in no bar. The bars at the "
        "very ends, past a gap, hold all that lies beyond. One scale for all: the highest bar has "
        f"{fmt.count(most)}. "
        "Of several seeds, the first one's answers."
    )
    return Panels(
        f"{one_line(column.label)}, example by example",
        caption,
        panels,
        _figures(column, edges, [(one_line(c["name"]), one) for _, c, one in found]),
        column.key,
        omitted,
    )


def _unit(column: Column) -> str:
    return " in points" if column.unit == "%" else f" in {one_line(column.unit)}" if column.unit else ""


def _why_missing(candidate: Json, column: Column) -> str:
    if candidate["status"] == "failed":
        return "failed"
    for found in (candidate["scores"], candidate["differences"]):
        reason = (found.get(column.key) or {}).get("missing")
        if reason:
            return str(reason)
    return "no example that both answered"


def _panel(
    identity: str, index: int, candidate: Json, column: Column, edges: Sequence[float], found: Json, most: int
) -> Chart:
    name = one_line(candidate["name"])
    ends = (_SIDE + _BEYOND, _WIDTH - _SIDE - _BEYOND)
    x = svg.Scale(edges[0], edges[-1], *(ends if column.direction > 0 else ends[::-1]))
    y = svg.Scale(0, most or 1, _HEIGHT - _FOOT, _TOP)
    foot = _HEIGHT - _FOOT
    content = svg.line(_SIDE, foot, _WIDTH - _SIDE, foot, "axis")
    if x.holds(0):
        content += svg.line(x(0), _TOP - 8, x(0), foot + 4, "origin")
    bars = _bars(x, edges, found, column.direction)
    content += _shape([bar for bar in bars if not bar.is_better], y, "worse")
    content += _shape([bar for bar in bars if bar.is_better], y, "better")
    content += svg.text(f"← worse {fmt.count(found['worse'])}", _SIDE, 11, class_="note")
    content += svg.text(f"better {fmt.count(found['better'])} →", _WIDTH - _SIDE, 11, "end", "note")
    content += _ticks(x, column)
    counts = ", ".join(f"{fmt.count(found[key])} {key}" for key in ("better", "worse", "same"))
    told = f"{counts} of {fmt.count(found['n'])}; median {fmt.difference(found['median'], column.unit)}"
    title = f"{name}, {one_line(column.label)} against base, example by example"
    drawing = svg.picture(identity, title, f"{told}.", (_WIDTH, _HEIGHT), content)
    return Chart(name, told, drawing, index=index)


def _bars(x: svg.Scale, edges: Sequence[float], found: Json, direction: int) -> list[_Bar]:
    """The bins, and at both ends what lies beyond them."""
    bars = [
        _Bar(x(low), x(high), count, (low >= 0) == (direction > 0))
        for (low, high), count in zip(pairwise(edges), found["counts"], strict=True)
    ]
    before, after = (-1, 1) if x.end > x.start else (1, -1)
    for at, way, count, is_up in (
        (x.start, before, found["below"], False),
        (x.end, after, found["above"], True),
    ):
        bars.append(_Bar(at + way * 4, at + way * _BEYOND, count, is_up == (direction > 0)))
    return [_Bar(min(b.start, b.end), max(b.start, b.end), b.count, b.is_better) for b in bars if b.count]


def _shape(bars: list[_Bar], y: svg.Scale, kind: str) -> str:
    """All bars of one side as one path."""
    if not bars:
        return ""
    at = svg.coordinate
    steps = "".join(
        f"M{at(bar.start + 0.5)} {at(y(0))}V{at(min(y(bar.count), y(0) - 1))}H{at(bar.end - 0.5)}V{at(y(0))}Z"
        for bar in bars
    )
    return svg.tag("path", d=steps, class_=f"bars {kind}")


def _ticks(x: svg.Scale, column: Column) -> str:
    ticks = x.ticks(4)
    factor = 100 if column.unit == "%" else 1
    told = tick_texts(ticks, lambda t: fmt.number(t * factor, 2))
    return "".join(
        svg.line(x(t), _HEIGHT - _FOOT, x(t), _HEIGHT - _FOOT + 4, "axis")
        + svg.text(text, _within(x(t), text), _HEIGHT - 5, "middle", "tick")
        for t, text in zip(ticks, told, strict=True)
    )


def _within(at: float, text: str) -> float:
    """Where the middle of a text must be for all of it to be on the drawing."""
    half = text_width(text) / 2
    return min(max(at, half), _WIDTH - half)


def _figures(column: Column, edges: Sequence[float], found: list[tuple[str, Json]]) -> Figures:
    def show(value: float) -> str:
        return fmt.difference(value, column.unit)

    counts = ("n", "better", "worse", "same")
    rows = [[Datum(key), *(datum(one[key], fmt.count) for _, one in found)] for key in counts]
    rows.append([Datum("median"), *(datum(one["median"], show) for _, one in found)])
    rows.append([Datum(f"below {show(edges[0])}"), *(datum(one["below"], fmt.count) for _, one in found)])
    for i, (low, high) in enumerate(pairwise(edges)):
        cells = [datum(one["counts"][i], fmt.count) for _, one in found]
        rows.append([Datum(f"{show(low)} to {show(high)}"), *cells])
    rows.append([Datum(f"above {show(edges[-1])}"), *(datum(one["above"], fmt.count) for _, one in found)])
    caption = f"Differences to base in {one_line(column.label)}, example by example"
    return figures(caption, ["examples", *(name for name, _ in found)], rows)
