"""Headings, sentences and tables as blocks, drawn for a terminal; tables as Markdown too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.report.text import ellipsis, markdown, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

_LONGEST_NAME = 20
_LONGEST_LINE = 1000


@dataclass(frozen=True)
class Table:
    """Figures with a title and a note below.

    `names` are the columns that hold names, which a terminal shortens; it shows `most` rows (None: all).
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    names: Sequence[int] = (0,)
    most: int | None = None


@dataclass(frozen=True)
class Heading:
    """What the blocks that follow are of; `facts` is a line below."""

    text: str
    facts: str = ""


@dataclass(frozen=True)
class Sentences:
    """What the figures say."""

    items: Sequence[str]


Block = Table | Heading | Sentences


def markdown_table(block: Table) -> str:
    """The head and the rows alone."""
    sides = ["---" if index in block.names else "---:" for index in range(len(block.head))]
    head, *rows = ([markdown(cell) for cell in row] for row in (block.head, *block.rows))
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, sides, *rows))


def put(shown: Sequence[Block]) -> None:
    """Print blocks for the terminal's width, without the blanks that fill the lines of a table."""
    from rich.console import Console

    console = Console(highlight=False)
    with console.capture() as drawn:
        console.print(for_terminal(shown))
    print("\n".join(line.rstrip(" ") for line in drawn.get().split("\n")), end="")


def for_terminal(shown: Sequence[Block]) -> RenderableType:
    """A rich renderable; names and messages are Text, never rich markup."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for block in shown:
        if isinstance(block, Heading):
            parts.append(Text("\n" + ellipsis(one_line(block.text), _LONGEST_NAME * 4), "bold"))
            parts += [Text(one_line(block.facts), "dim")] if block.facts else []
        elif isinstance(block, Sentences):
            parts += [Text(), *map(_item, block.items)]
        else:
            parts += _drawn(block)
    return Group(*parts)


def _drawn(block: Table) -> Iterator[RenderableType]:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for index, head in enumerate(block.head):
        if index in block.names:
            grid.add_column(Text(head), no_wrap=True)
        else:
            grid.add_column(Text(head), justify="right", overflow="fold")
    for row in block.rows[: block.most]:
        cells = map(one_line, row)
        grid.add_row(
            *(Text(ellipsis(c, _LONGEST_NAME) if i in block.names else c) for i, c in enumerate(cells))
        )
    yield Text("\n" + one_line(block.title))
    yield grid
    left = 0 if block.most is None else len(block.rows) - block.most
    note = f"{block.note}; {left:,} more in the files of --output" if left > 0 else block.note
    if note:
        yield Text(one_line(note), "dim")


def _item(sentence: str) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text("•"), Text(ellipsis(one_line(sentence), _LONGEST_LINE)))
    return grid
