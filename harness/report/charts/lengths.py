"""How long the answers are, and the references: quantiles as strips."""

from __future__ import annotations

import html
from collections.abc import Mapping
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
    grouped,
    is_wide,
    tick_texts,
    x_axis,
    x_title,
)
from harness.report.text import one_line

Json = Mapping[str, Any]
QUANTILES = ("5", "25", "50", "75", "95")
REFERENCES = "references"
_WIDTH, _LEFT, _TOP, _ROW = 480, 130, 12, 24
_RIGHT = _WIDTH - RIGHT


@dataclass(frozen=True, slots=True)
class _Strip:
    name: str
    kind: str
    found: Json

    @property
    def quantiles(self) -> list[float]:
        return [float(self.found["quantiles"][q]) for q in QUANTILES]


def lengths_chart(results: Json) -> Chart | None:
    """The references' lengths and each candidate's answers'; None where no length is known."""
    references = results["data"].get("reference_lengths")
    strips = [_Strip(REFERENCES, "references", references)] if references else []
    omitted = []
    for index, candidate in enumerate(results["candidates"]):
        found = (candidate.get("answers") or {}).get("lengths")
        if found:
            strips.append(_Strip(one_line(candidate["name"]), colour(index), found))
        else:
            omitted.append((candidate, "failed" if candidate["status"] == "failed" else "no answers"))
    return _chart(strips, grouped(omitted)) if strips else None


def _chart(strips: list[_Strip], omitted: tuple[str, ...]) -> Chart:
    unit = one_line(strips[0].found["unit"])
    height = _TOP + _ROW * len(strips) + BOTTOM
    x = _scale([q for strip in strips for q in strip.quantiles])
    ticks = x.ticks()
    told = tick_texts(ticks, fmt.count)
    content = "".join(svg.line(x(t), _TOP, x(t), height - BOTTOM, "grid") for t in ticks)
    content += x_axis(x, list(zip(ticks, told, strict=True)), height)
    content += x_title(unit + (", logarithmic" if x.logarithmic else ""), _WIDTH, height)
    content += _reference_line(strips[0], x, height)
    content += "".join(_row(strip, x, _TOP + _ROW * i + _ROW / 2) for i, strip in enumerate(strips))
    title = "Lengths of the answers"
    medians = "; ".join(f"{s.name} {fmt.count(s.quantiles[2])}" for s in strips)
    drawing = svg.picture("lengths", title, f"Median {unit}: {medians}.", (_WIDTH, height), content)
    caption = (
        "The thick part is the middle half of the answers, the thin line nine in ten of them, the upright "
        "mark their median; the dashed line is the references' median. Of several seeds, the first "
        "one's answers."
    )
    return Chart(title, caption, drawing, _figures(strips, unit), omitted)


def _scale(values: list[float]) -> svg.Scale:
    if is_wide(values):
        return svg.Scale(min(values) / 1.2, max(values) * 1.2, _LEFT, _RIGHT, logarithmic=True)
    return svg.Scale(0, max(values) * 1.05 or 1, _LEFT, _RIGHT)


def _reference_line(first: _Strip, x: svg.Scale, height: int) -> str:
    if first.name != REFERENCES:
        return ""
    at = x(first.quantiles[2])
    return svg.line(at, _TOP, at, height - BOTTOM, "front")


def _row(strip: _Strip, x: svg.Scale, y: float) -> str:
    low, quarter, median, most, high = map(x, strip.quantiles)
    told = ", ".join(fmt.count(q) for q in strip.quantiles)
    title = svg.tag("title", html.escape(f"{strip.name}: {told} ({', '.join(QUANTILES)}% quantiles)"))
    marks = svg.line(low, y, high, y, "whisker")
    marks += svg.tag("rect", x=quarter, y=y - 5, width=max(most - quarter, 1), height=10, class_="middle")
    marks += svg.line(median, y - 8, median, y + 8, "median")
    name = svg.text(fitting(strip.name, _LEFT - 14), 4, y + 4, class_="label")
    return svg.tag("g", title + name + marks, class_=strip.kind)


def _figures(strips: list[_Strip], unit: str) -> Figures:
    rows = [
        [
            Datum(strip.name),
            datum(strip.found["n"], fmt.count),
            datum(strip.found["mean"], fmt.number),
            *(datum(strip.found["quantiles"][q], fmt.number) for q in QUANTILES),
        ]
        for strip in strips
    ]
    heads = ["answers of", "n", "mean", *(f"{q}%" for q in QUANTILES)]
    return figures(f"Lengths in {unit}: mean and quantiles", heads, rows)
