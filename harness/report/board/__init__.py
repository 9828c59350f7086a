"""The leaderboard as columns, rows and cells, ready to print: HTML, Markdown and the terminal draw the same.

Nothing here knows markup.
"""

from __future__ import annotations

from harness.report.board.cells import RULE, Cell, Difference, figure
from harness.report.board.columns import (
    Column,
    by_importance,
    has_price,
    metric_columns,
    quality_columns,
)
from harness.report.board.rows import Board, Row, all_warnings, build_board, row_warnings

__all__ = [
    "RULE",
    "Board",
    "Cell",
    "Column",
    "Difference",
    "Row",
    "all_warnings",
    "build_board",
    "by_importance",
    "figure",
    "has_price",
    "metric_columns",
    "quality_columns",
    "row_warnings",
]
