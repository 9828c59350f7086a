"""The board for a terminal: as many columns as the width allows, the most important first."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness import format as fmt
from harness.report.board import Board, Cell, Row, all_warnings, build_board
from harness.report.text import ellipsis, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Json = Mapping[str, Any]
_NAME_LIMIT = 20
_GAP = 2
_VERDICT_STYLES = {"better": "green", "worse": "red"}


def board_for_terminal(results: Json, *, width: int) -> RenderableType:
    """Board, findings and warnings. Candidate names and messages are Text, never rich markup."""
    from rich.console import Group
    from rich.text import Text

    board = build_board(results)
    names = {row.index: ellipsis(one_line(row.name), _NAME_LIMIT) for row in board.rows}
    shown = _fitting(board, results, width - _fixed_width(board, names))
    parts: list[RenderableType] = [_table(board, names, shown), _legend(board, results, shown), Text()]
    parts += [_item("•", finding, "") for finding in results["findings"]]
    parts += [_item("✗", _failure(row), "red") for row in board.rows if row.kind == "failed"]
    parts += [_item("!", warning, "yellow") for warning in all_warnings(results)]
    return Group(*parts)


def _table(board: Board, names: Mapping[int, str], shown: Sequence[int]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("rank", no_wrap=True)
    table.add_column("candidate", no_wrap=True)
    for index in shown:
        table.add_column(Text("\n".join(_head(board, index))), justify="right", no_wrap=True)
    for row in board.rows:
        _add_row(table, row, names[row.index], shown)
    return table


def _add_row(table: Table, row: Row, name: str, shown: Sequence[int]) -> None:
    from rich.text import Text

    if row.kind == "failed":
        table.add_row(Text("failed", "red"), Text(name, "red"))
        return
    cells = [Text(_short(row.cells[i]), _VERDICT_STYLES.get(row.cells[i].verdict, "")) for i in shown]
    table.add_row(Text(row.rank), Text(name, "dim" if row.kind == "base" else "bold"), *cells)


def _fixed_width(board: Board, names: Mapping[int, str]) -> int:
    """Columns taken by rank and candidate, gaps included."""
    ranks = ["failed" if row.kind == "failed" else row.rank for row in board.rows]
    return max(map(len, [*ranks, "rank"])) + max(map(len, [*names.values(), "candidate"])) + 2 * _GAP


def _fitting(board: Board, results: Json, room: int) -> list[int]:
    """Indices of the columns that fit into `room` characters, the most important chosen first."""
    chosen = []
    for index in _by_importance(board, results):
        needed = max(map(len, [*_head(board, index), *_texts(board, index)])) + _GAP
        if needed <= room:
            chosen.append(index)
            room -= needed
    return sorted(chosen)


def _by_importance(board: Board, results: Json) -> list[int]:
    """The ranking figure, one win rate, the train time, then the other metrics and win rates."""
    ranking, rates, times, others = [], [], [], []
    for index, column in enumerate(board.columns):
        if column.key == results["suite"]["rank_by"]:
            ranking.append(index)
        elif column.kind == "win rate":
            rates.append(index)
        elif column.key == "train_seconds":
            times.append(index)
        elif column.kind == "score":
            others.append(index)
    return ranking + rates[:1] + times + others + rates[1:]


def _texts(board: Board, index: int) -> list[str]:
    return [_short(row.cells[index]) for row in board.rows if row.kind != "failed"]


def _head(board: Board, index: int) -> list[str]:
    """A column's name, broken into lines no wider than its figures where its words allow it."""
    column = board.columns[index]
    # The train time needs no arrow to be understood, and columns are dear here.
    name = one_line(column.label)
    if column.kind != "cost":
        name += f"\N{NO-BREAK SPACE}{column.arrow}"
    width = max(map(len, [*_texts(board, index), *name.split(" ")]))
    return textwrap.wrap(name, max(width, 1), break_long_words=False, break_on_hyphens=False)


def _short(cell: Cell) -> str:
    return f"{cell.text} {cell.margin}".rstrip()


def _legend(board: Board, results: Json, shown: Sequence[int]) -> RenderableType:
    """What the signs mean, how many examples the shown figures rest on, and what is not shown."""
    from rich.text import Text

    cells = [row.cells[index] for row in board.rows for index in shown]
    sizes = sorted({cell.n for cell in cells if cell.n is not None})
    parts = [f"rank: places not excluded by {one_line(results['suite']['rank_by'])}"]
    parts.append("± half the 95% interval")
    if any(cell.margin.startswith("[") for cell in cells):
        parts.append("[ ] the interval, where it is lopsided")
    if sizes:
        parts.append("n = " + "–".join(map(fmt.count, dict.fromkeys((sizes[0], sizes[-1])))))
    lines = ["; ".join(parts)]
    hidden = [one_line(board.columns[i].label) for i in _by_importance(board, results) if i not in shown]
    if hidden:
        lines.append(f"not shown for lack of width: {', '.join(hidden)} (see the page)")
    return Text("\n".join(lines), "dim")


def _item(sign: str, text: str, style: str) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(sign, style), Text(one_line(text), style))
    return grid


def _failure(row: Row) -> str:
    failure = row.candidate["failure"] or {"stage": "unknown stage", "message": ""}
    return f"{row.name} failed in {failure['stage']}: {failure['message']}"
