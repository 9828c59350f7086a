"""The small interval under each figure of the board."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.report import svg
from harness.report.board import Cell
from harness.report.charts.common import with_base

_WIDTH, _HEIGHT, _MIDDLE = 96, 14, 7


def column_scale(origin: float | None, cells: Sequence[Cell], *, anchored: bool = False) -> svg.Scale | None:
    """The scale that a column's whiskers share; None where it has no values.

    `origin` is what they are compared with: base's value, or an even win rate. Where it lies far off the
    others, the scale is theirs alone, unless they are `anchored` to it.
    """
    cells = [cell for cell in cells if cell.comparable]
    others = _ends([cell for cell in cells if cell.value != origin])
    known = [] if origin is None else [origin]
    if anchored:
        values = others + known if others else []
    else:
        values = with_base(others, known) if others else _ends(cells)
    return svg.Scale(*svg.spread(values), 3, _WIDTH - 3) if values else None


def whisker(scale: svg.Scale | None, origin: float | None, cell: Cell) -> str:
    """A cell's interval, the origin as a small upright line; an arrow where the value is off the scale.

    Empty where there is no interval, or none that may be set against the others.
    """
    if scale is None or cell.value is None or cell.low is None or cell.high is None or not cell.comparable:
        return ""
    content = svg.line(0, _MIDDLE, _WIDTH, _MIDDLE, "track")
    if origin is not None and origin != cell.value and scale.holds(origin):
        content += svg.line(scale(origin), 1, scale(origin), _HEIGHT - 1, "origin")
    if scale.holds(cell.value):
        low, high = (scale(min(max(v, scale.low), scale.high)) for v in (cell.low, cell.high))
        content += svg.line(low, _MIDDLE, high, _MIDDLE, "whisker")
        content += svg.tag("circle", cx=scale(cell.value), cy=_MIDDLE, r=3)
    else:
        arrow = "M7 3L2 7L7 11" if cell.value < scale.low else "M89 3L94 7L89 11"
        content += svg.tag("path", d=arrow, class_="away")
    return svg.tag("svg", content, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="interval", aria_hidden="true")


def _ends(cells: Sequence[Cell]) -> list[float]:
    ends = [v for cell in cells for v in (cell.value, cell.low, cell.high)]
    return [v for v in ends if v is not None and math.isfinite(v)]
