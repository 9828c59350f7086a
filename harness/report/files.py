"""Reads results.json and examples.jsonl, writes the three reports beside them, each whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records import RESULTS_SCHEMA
from harness.report.board import build_board
from harness.report.examples import TEXT_LIMIT, load_examples
from harness.report.page import page
from harness.report.tables import leaderboard_csv, leaderboard_markdown

FIX = "run the suite again"
_RESULTS_KEYS = frozenset(
    ("suite", "data", "metrics", "judges", "candidates", "pairs", "findings", "environment", "warnings")
)
_EXAMPLE_KEYS = frozenset(("id", "prompt", "reference", "answers", "verdicts"))


def write_report(folder: Path) -> Path:
    """Render `folder`; see harness.report.render."""
    results = _results(folder / "results.json")
    board = build_board(results)
    # All is read before anything is written: a folder that cannot be rendered is left as it was.
    examples = load_examples(results, _examples(folder / "examples.jsonl"), TEXT_LIMIT)
    index = folder / "index.html"
    _write(folder / "leaderboard.csv", leaderboard_csv(results))
    _write(folder / "leaderboard.md", leaderboard_markdown(results, board))
    _write(index, page(results, board, examples))
    return index


def _results(path: Path) -> Any:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "no such file", where=str(path), fix="run the suite first: harness run SUITE"
        ) from None
    results = _parsed(content, path)
    if not isinstance(results, dict) or results.get("schema") != RESULTS_SCHEMA:
        raise InputError(f"not a results.json of schema {RESULTS_SCHEMA}", where=str(path), fix=FIX)
    missing = sorted(_RESULTS_KEYS - results.keys())
    if missing:
        raise InputError(f"lacks {', '.join(missing)}", where=str(path), fix=FIX)
    return results


def _examples(path: Path) -> Iterator[Any]:
    """The examples, if there are any; a file that was cut short or changed by hand is refused at its line."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            example = _parsed(line, path, number)
            if not isinstance(example, dict) or not example.keys() >= _EXAMPLE_KEYS:
                raise InputError("not an example of a report", where=f"{path}:{number}", fix=FIX)
            yield example


def _parsed(content: bytes, path: Path, first_line: int = 1) -> Any:
    """The JSON value of bytes that begin at a file's line `first_line`."""
    try:
        return json.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise InputError("not UTF-8", where=f"{path}:{line}", fix=FIX) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{first_line + error.lineno - 1}:{error.colno}"
        raise InputError(f"not JSON: {error.msg}", where=where, fix=FIX) from None


def _write(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8", newline="\n")
    partial.replace(path)
