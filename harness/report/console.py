"""The board for a terminal: as many columns as the width allows, the most important first."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import format as fmt
from harness.report.board import Board, Cell, Row, all_warnings, build_board, by_importance
from harness.report.text import ellipsis, one_line
from harness.stats.multiplicity import NO_DIFFERENCE

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

Json = Mapping[str, Any]
_NAME_LIMIT = 20
_GAP = 2
_VERDICT_STYLES = {"better": "green", "worse": "red"}
_NO_BREAK = "\N{NO-BREAK SPACE}"
_KEPT = re.compile(
    r"(?<=\b[pn]) (?=[=<≥])|(?<=[=<≥]) (?=[\d−])|(?<=\d) (?=(?:pt|[kMGT]?B|J)\b)|(?<=\d[hm]) (?=\d\d[ms]\b)"
    r"|(?<=[\d%]) (?=(?:–|to) [+−\d])|(?<=[\d%] –) (?=\d)|(?<=[\d%] to) (?=[+−\d])"
)
"""Blanks inside of `p < 0.001`, `n = 40`, `804 MB` and `−1.6 to +5.0 pt`, at which no line ends."""
_SIGNS = {"better": "+", "worse": "-", NO_DIFFERENCE: "~"}


def board_for_terminal(results: Json, *, width: int) -> RenderableType:
    """The finding, the board, further findings, failures and warnings; all as Text, never rich markup."""
    from rich.console import Group
    from rich.text import Text

    board = build_board(results)
    names = {row.index: ellipsis(one_line(row.name), _NAME_LIMIT) for row in board.rows}
    shown = _fitting(board, width - _fixed_width(board, names))
    first, *further = results["findings"] or [""]
    parts: list[RenderableType] = [Text(_wrapped(first, width), "bold"), Text()] if first else []
    legend = "\n".join(_wrapped(line, width) for line in _legend(board, results, shown).splitlines())
    parts += [_Trimmed(_table(board, names, shown)), Text(legend, "dim"), Text()]
    parts += [_item("•", finding, "", width) for finding in further]
    parts += [_item("✗", _failure(row), "red", width) for row in board.rows if row.kind == "failed"]
    parts += [_item("!", warning, "yellow", width) for warning in all_warnings(results)]
    return Group(*parts)


@dataclass(frozen=True)
class _Trimmed:
    """A table without the blanks that fill up its lines: what goes into a file has none."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for line in console.render_lines(self.table, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                text, style, _ = line.pop()
                line.append(Segment(text.rstrip(), style))
            yield from (*line, Segment.line())


def _wrapped(text: str, width: int, indent: str = "") -> str:
    """The text in lines of `width`, those after the first indented."""
    glued = _KEPT.sub(_NO_BREAK, one_line(text))
    lines = textwrap.wrap(glued, max(width, 20), subsequent_indent=indent, break_on_hyphens=False)
    return "\n".join(lines).replace(_NO_BREAK, " ")


def _table(board: Board, names: Mapping[int, str], shown: Sequence[int]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("rank", no_wrap=True)
    table.add_column("candidate", no_wrap=True)
    for index in shown:
        table.add_column(Text("\n".join(_head(board, index)), justify="right"), no_wrap=True)
    columns = [_flush_right(board, index) for index in shown]
    for row in board.rows:
        name = names[row.index]
        if row.kind == "failed":
            table.add_row(Text("failed", "red"), Text(name, "red"))
            continue
        styles = [_VERDICT_STYLES.get(row.cells[index].verdict, "") for index in shown]
        cells = map(Text, (column[row.index] for column in columns), styles)
        table.add_row(Text(_rank(row)), Text(name, "dim" if row.kind == "base" else "bold"), *cells)
    return table


def _fixed_width(board: Board, names: Mapping[int, str]) -> int:
    """Columns taken by rank and candidate, gaps included."""
    ranks = ["failed" if row.kind == "failed" else _rank(row) for row in board.rows]
    return max(map(len, [*ranks, "rank"])) + max(map(len, [*names.values(), "candidate"])) + 2 * _GAP


def _rank(row: Row) -> str:
    """The places that are possible, and the letters of the tie groups."""
    return f"{row.rank} {one_line(row.group)}".rstrip()


def _fitting(board: Board, room: int) -> list[int]:
    """Places of the columns that fit into `room` characters, the most important chosen first."""
    chosen = []
    for index in by_importance(board.columns):
        needed = _width(board, index) + _GAP
        if needed <= room:
            chosen.append(index)
            room -= needed
    return sorted(chosen)


def _texts(board: Board, place: int) -> dict[int, str]:
    """The figures of a column by row, with a sign for the verdict, so that colour is not needed.

    Where one has a sign, the others keep its room free, so that figures stand below figures.
    """
    cells = {row.index: row.cells[place] for row in board.rows if row.kind != "failed"}
    signs = {index: _SIGNS.get(cell.verdict, "") for index, cell in cells.items()}
    room = 2 if any(signs.values()) else 0
    return {
        index: f"{cell.text} {cell.margin}".rstrip() + f" {signs[index]}"[:room].ljust(room)
        for index, cell in cells.items()
    }


def _flush_right(board: Board, place: int) -> dict[int, str]:
    """The same, each as wide as the column."""
    # rich drops the blanks at the end of what it sets flush right itself.
    width = _width(board, place)
    return {index: text.rjust(width) for index, text in _texts(board, place).items()}


def _width(board: Board, place: int) -> int:
    """Characters that a column takes."""
    return max(map(len, [*_head(board, place), *_texts(board, place).values()]))


def _head(board: Board, index: int) -> list[str]:
    """A column's name, broken into lines no wider than its figures where its words allow it."""
    column = board.columns[index]
    # The train time needs no arrow to be understood, and columns are dear here.
    name = one_line(column.label)
    if column.kind != "cost":
        name += f"{_NO_BREAK}{column.arrow}"
    width = max(map(len, [*_texts(board, index).values(), *name.split(" ")]))
    lines = textwrap.wrap(name, max(width, 1), break_long_words=False, break_on_hyphens=False)
    return [*lines, column.doubt] if column.doubt else lines


def _legend(board: Board, results: Json, shown: Sequence[int]) -> str:
    """What the signs mean, how many examples the shown figures rest on, and what is not shown."""
    cells = [row.cells[index] for row in board.rows for index in shown]
    ranks_by = one_line(results["suite"]["rank_by"])
    ranks = [f"rank: places not excluded by {ranks_by}"]
    if any(row.group for row in board.rows):
        ranks.append("who shares a letter cannot be told apart")
    margins = ["± half the 95% interval"]
    if any(cell.margin.startswith("[") for cell in cells):
        margins.append("[ ] the interval, where it is lopsided")
    if sizes := board.sizes(shown):
        margins.append("n = " + "–".join(map(fmt.count, sizes)))
    lines = ["; ".join(ranks), "; ".join(margins)]
    if signs := [f"{sign} {verdict}" for verdict, sign in _SIGNS.items() if _has(cells, verdict)]:
        lines.append(f"{', '.join(signs)}, against base or the judge's opponent")
    hidden = [one_line(board.columns[i].label) for i in by_importance(board.columns) if i not in shown]
    if hidden:
        lines.append(f"not shown for lack of width: {', '.join(hidden)} (see the page)")
    return "\n".join(lines)


def _has(cells: Sequence[Cell], verdict: str) -> bool:
    return any(cell.verdict == verdict for cell in cells)


def _item(sign: str, text: str, style: str, width: int) -> RenderableType:
    from rich.text import Text

    return Text(_wrapped(f"{sign} {text}", width, "  "), style)


def _failure(row: Row) -> str:
    failure = row.candidate["failure"] or {"stage": "unknown stage", "message": ""}
    return f"{row.name} failed in {failure['stage']}: {failure['message']}"
