"""The small intervals in the board's cells, as markup: of the values, and of their differences to base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report import svg
from harness.report.board import Board, Cell
from harness.report.charts.common import with_base
from harness.stats.rates import EVEN
from harness.validity import is_finite

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT = 96, 14


@dataclass(frozen=True, slots=True)
class Whiskers:
    """Of one cell; empty where there is no interval."""

    value: Markup
    difference: Markup


def whiskers(board: Board) -> list[list[Whiskers]]:
    """Row by row, those of each cell; the cells of a column share a scale."""
    base = next((row for row in board.rows if row.kind == "base"), None)
    drawn = []
    for index, column in enumerate(board.columns):
        cells = [row.cells[index] for row in board.rows]
        origin = EVEN if column.kind == "win rate" else base.cells[index].value if base else None
        values = _drawn(cells, origin, anchored=False)
        differences = _drawn([_difference(cell) for cell in cells], 0.0, anchored=True)
        drawn.append([Whiskers(*pair) for pair in zip(values, differences, strict=True)])
    return [list(row) for row in zip(*drawn, strict=True)]


def _drawn(cells: Sequence[Cell], origin: float | None, *, anchored: bool) -> list[Markup]:
    from markupsafe import Markup

    scale = _column_scale(origin, cells, anchored=anchored)
    return [Markup(_whisker(scale, origin, cell)) for cell in cells]  # noqa: S704 - numbers only


def _difference(cell: Cell) -> Cell:
    """The difference to base as a cell of its own."""
    apart = cell.difference
    return Cell() if apart is None else Cell(value=apart.value, low=apart.low, high=apart.high)


def _column_scale(origin: float | None, cells: Sequence[Cell], *, anchored: bool) -> svg.Scale | None:
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


def _whisker(scale: svg.Scale | None, origin: float | None, cell: Cell) -> str:
    """A cell's interval; empty where there is none, or none that may be set against the others."""
    if scale is None or cell.value is None or cell.low is None or cell.high is None or not cell.comparable:
        return ""
    drawn = svg.interval(scale, cell.value, (cell.low, cell.high), origin, (_WIDTH, _HEIGHT))
    return svg.tag("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="interval", aria_hidden="true")


def _ends(cells: Sequence[Cell]) -> list[float]:
    ends = [v for cell in cells for v in (cell.value, cell.low, cell.high)]
    return [v for v in ends if is_finite(v)]
