"""The comparison of two runs for people: in the terminal, as one HTML page, and for a pull request.

What is drawn is a pure function of the analysis. Its texts come out of the reports of strangers: everything
shown passes through `harness.report.text`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report.comparison.markdown import as_markdown
from harness.report.comparison.page import as_html
from harness.report.comparison.views import blocks
from harness.report.drawing import put
from harness.whole_files import telling, write_text_whole

__all__ = ["as_html", "as_markdown", "blocks", "show", "write"]


def show(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the comparison, as JSON or as sentences and a table for the terminal's width."""
    if as_json:
        print(_json(found))
    else:
        put(blocks(found))


def _json(found: Mapping[str, Any]) -> str:
    """In ASCII: no character of a stranger's text acts on the terminal that shows it."""
    return json.dumps(found, indent=2, allow_nan=False)


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write compare.json, compare.md and compare.html into a folder, which is made if need be."""
    texts = {
        "compare.json": _json(found) + "\n",
        "compare.md": as_markdown(found),
        "compare.html": as_html(found),
    }
    with telling("cannot be written", folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_text_whole(folder / name, text)
