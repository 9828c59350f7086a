"""Reads results.json and examples.jsonl, writes the three reports beside them, each whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records import iter_json_lines, read_json
from harness.report.board import build_board
from harness.report.examples import TEXT_LIMIT, load_examples
from harness.report.page import page
from harness.report.tables import leaderboard_csv, leaderboard_markdown

SCHEMA = 1


def write_report(folder: Path) -> Path:
    """Render `folder`; see harness.report.render."""
    results = _results(folder / "results.json")
    board = build_board(results)
    lines = iter_json_lines(folder / "examples.jsonl") if (folder / "examples.jsonl").exists() else iter(())
    index = folder / "index.html"
    _write(folder / "leaderboard.csv", leaderboard_csv(results))
    _write(folder / "leaderboard.md", leaderboard_markdown(results, board))
    _write(index, page(results, board, load_examples(results, lines, TEXT_LIMIT)))
    return index


def _results(path: Path) -> Any:
    try:
        results = read_json(path)
    except FileNotFoundError:
        raise InputError(
            "no such file", where=str(path), fix="run the suite first: harness run SUITE"
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg}", where=f"{path}:{error.lineno}:{error.colno}") from None
    if not isinstance(results, dict) or results.get("schema") != SCHEMA:
        raise InputError(f"not a results.json of schema {SCHEMA}", where=str(path), fix="run the suite again")
    return results


def _write(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8", newline="\n")
    partial.replace(path)
