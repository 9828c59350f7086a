"""The analysis of verdicts for people: one list of blocks, drawn in the terminal and as Markdown.

Names come out of files of strangers: everything shown passes through `harness.report.text`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.json_files import write_json
from harness.report.drawing import put
from harness.report.verdict_summary.blocks import blocks
from harness.report.verdict_summary.markdown import as_markdown
from harness.whole_files import telling, write_text_whole

__all__ = ["as_markdown", "blocks", "show", "write"]

Json = Mapping[str, Any]


def show(report: Json, *, as_json: bool) -> None:
    """Print the report, as JSON or as tables for the terminal's width."""
    if as_json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        put(blocks(report))


def write(report: Json, folder: Path) -> None:
    """Write analysis.json and summary.md into a folder, which is made if need be."""
    with telling("cannot be written", folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "analysis.json", report)
        write_text_whole(folder / "summary.md", as_markdown(blocks(report)))
