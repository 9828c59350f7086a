"""The comparison of two runs for people: in the terminal, as one HTML page, and for a pull request.

What is drawn is a pure function of the analysis. Its texts come out of the reports of strangers: everything
shown passes through `harness.report.text`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.json_files import write_json
from harness.report.comparison.markdown import as_markdown
from harness.report.comparison.page import page
from harness.report.comparison.views import terminal

__all__ = ["as_markdown", "page", "show", "terminal", "write"]


def show(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the comparison, as JSON or as sentences and a table for the terminal's width."""
    from rich.console import Console

    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        Console(highlight=False).print(terminal(found))


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write compare.json, compare.md and compare.html into a folder, which is made if need be."""
    texts = {"compare.md": as_markdown(found), "compare.html": page(found)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "compare.json", found)
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder)) from error
