"""Reads results.json and examples.jsonl, writes all that is made of them, each file whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records import RESULTS_SCHEMA
from harness.report.board import build_board
from harness.report.explorer import DATA_LIMIT, load_examples
from harness.report.outputs.writing import Outputs
from harness.report.page import page
from harness.report.tables import leaderboard_csv, leaderboard_markdown

FIX = "run the suite again"
RESULTS, EXAMPLES, VERDICTS = "results.json", "examples.jsonl", "verdicts.jsonl"
"""What the rank stage leaves, and a report is made from."""
_RESULTS_KEYS = frozenset(
    (
        *("suite", "data", "metrics", "judges", "candidates", "pairs", "agreement", "neighbours"),
        *("findings", "environment", "warnings"),
    )
)
_LINES = {EXAMPLES: "an example of a report", VERDICTS: "a verdict of this report"}
_EXAMPLE_KEYS = frozenset(("id", "prompt", "reference", "answers", "verdicts"))


def write_report(folder: Path) -> Path:
    """Render `folder`; see harness.report.render."""
    results = read_results(folder / RESULTS)
    board = build_board(results)
    outputs = Outputs(folder, results)
    try:
        # All is read before anything is replaced: a folder that cannot be rendered is left as it was.
        entries = outputs.passing(read_examples(folder / EXAMPLES))
        examples = load_examples(results, entries, DATA_LIMIT)
        outputs.complete(entries)
        index = folder / "index.html"
        contents = {
            folder / "leaderboard.csv": leaderboard_csv(results),
            folder / "leaderboard.md": leaderboard_markdown(results, board),
            index: page(results, board, examples),
        }
    except BaseException:
        outputs.abandon()
        raise
    outputs.place()
    for path, content in contents.items():
        _write(path, content)
    return index


def read_results(path: Path) -> Any:
    """A results.json of this schema; InputError where it is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "no such file", where=str(path), fix="run the suite first: harness run SUITE"
        ) from None
    results = _parsed(content, path)
    schema = results.get("schema") if isinstance(results, dict) else None
    if isinstance(schema, int) and schema != RESULTS_SCHEMA:
        age = "an earlier" if schema < RESULTS_SCHEMA else "a later"
        what = f"written by {age} version of the harness (schema {schema}, this one reads {RESULTS_SCHEMA})"
        raise InputError(what, where=str(path), fix=FIX)
    if schema != RESULTS_SCHEMA:
        raise InputError(f"not a results.json of schema {RESULTS_SCHEMA}", where=str(path), fix=FIX)
    missing = sorted(_RESULTS_KEYS - results.keys())
    if missing:
        raise InputError(f"lacks {', '.join(missing)}", where=str(path), fix=FIX)
    return results


def read_examples(path: Path) -> Iterator[Any]:
    """The examples, if there are any; a file that was cut short or changed by hand is refused at its line."""
    if not path.exists():
        return
    for where, example in read_objects(path):
        if not example.keys() >= _EXAMPLE_KEYS:
            raise InputError(f"not {_LINES[path.name]}", where=where, fix=FIX)
        yield example


def read_objects(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, object) of each line of a JSONL file; InputError at a line that holds no object."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            found = _parsed(line, path, number)
            if not isinstance(found, dict):
                raise InputError(f"not {_LINES[path.name]}", where=f"{path}:{number}", fix=FIX)
            yield f"{path}:{number}", found


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
    except (ValueError, RecursionError):
        raise InputError("not JSON that can be read", where=f"{path}:{first_line}", fix=FIX) from None


def _write(path: Path, content: str) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(content, encoding="utf-8", newline="\n")
    partial.replace(path)
