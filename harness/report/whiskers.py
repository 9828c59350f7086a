"""The small intervals in the board's cells, as markup: of the values, and of their differences to base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report import charts
from harness.report.board import Board, Cell
from harness.stats.rates import EVEN

if TYPE_CHECKING:
    from markupsafe import Markup


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

    scale = charts.column_scale(origin, cells, anchored=anchored)
    return [Markup(charts.whisker(scale, origin, cell)) for cell in cells]  # noqa: S704 - numbers only


def _difference(cell: Cell) -> Cell:
    """The difference to base as a cell of its own."""
    apart = cell.difference
    return Cell() if apart is None else Cell(value=apart.value, low=apart.low, high=apart.high)
