"""results.json -> what people read: one HTML page, Markdown, CSV, and the board in a terminal.

What is rendered is a pure function of `results.json` and `examples.jsonl`: no date, no path of the
machine, so that a page rendered twice is the same page. Model output reaches it and is hostile:
see `text.py` for the rules that keep it text.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["render", "reread", "terminal"]


def render(folder: Path) -> Path:
    """Write the page, leaderboard.md and .csv, examples.parquet, lm-eval/ and cards/ beside results.json.

    Returns the path of index.html. Raises InputError where `folder` holds no results of this schema, or
    a file that was cut short.
    """
    from harness.report.files import refusing, write_report

    with refusing(folder, "rendered"):
        return write_report(folder)


def reread(folder: Path, suite_folder: Path | None = None) -> list[str]:
    """Read the judges' old replies in `folder` again and rewrite its results; see harness.report.reparse.

    Returns what came of it, a line for each judge. The page is rendered with it.
    """
    from harness.report.reparse import reparse

    return [str(told) for told in reparse(folder, suite_folder)]


def terminal(results: Mapping[str, Any], *, width: int) -> RenderableType:
    """The board, the findings and the warnings for a terminal of `width` columns, as a rich renderable."""
    from harness.report.console import board_for_terminal

    return board_for_terminal(results, width=width)
