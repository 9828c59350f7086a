"""Reads results.json and examples.jsonl, writes all that is made of them, each file whole or not at all."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import InputError, first_line
from harness.format import counted
from harness.records import RESULTS_SCHEMA
from harness.report.board import build_board
from harness.report.explorer import DATA_LIMIT, load_examples
from harness.report.outputs.writing import Outputs
from harness.report.page import page
from harness.report.shapes import example_fault, results_fault
from harness.report.tables import leaderboard_csv, leaderboard_markdown
from harness.report.text import ellipsis, one_line, visible
from harness.store import file_digest
from harness.whole_files import telling

FIX = "run the suite again"
_TOGETHER = f"put the files of one run together, or {FIX}"
RESULTS, EXAMPLES, VERDICTS = "results.json", "examples.jsonl", "verdicts.jsonl"
"""What the rank stage leaves, and a report is made from."""
FILES = (VERDICTS, EXAMPLES, RESULTS)
"""In the order in which they are replaced: the others follow from the verdicts, results.json says that all is
there."""
_DIGITS = 19
"""Of a whole number that is too long for 64 bits, perhaps with its sign."""
_LINES = {EXAMPLES: "an example of a report", VERDICTS: "a verdict of this report"}


def write_report(folder: Path, source: Path | None = None) -> Path:
    """Render `folder`; see harness.report.render.

    With a `source` the results are read there, and put into `folder` at last, after all that is made of
    them: as long as `folder` does not have them, whoever brings them does all of it again.
    """
    with telling("the report cannot be rendered", folder):
        return _write(folder, source or folder)


@contextmanager
def refusing(folder: Path, purpose: str) -> Iterator[None]:
    """InputError for results of the right form that contradict each other, or lack what no run leaves out.

    For results that may come from elsewhere: with those of a run of now the fault is ours, and is not told as
    somebody's input.
    """
    from jinja2 import TemplateError

    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, TemplateError) as error:
        what = f"holds no results that can be {purpose}: {type(error).__name__}: {first_line(error)}"
        raise InputError(what, where=str(folder / RESULTS), fix=FIX) from error


def _write(folder: Path, source: Path) -> Path:
    results = read_results(source / RESULTS)
    board = build_board(results)
    with Outputs(folder, results) as outputs:
        # All is read and written before anything is replaced: what cannot be rendered is left as it was.
        entries = outputs.passing(read_examples(source / EXAMPLES, results))
        examples = load_examples(results, entries, DATA_LIMIT)
        outputs.complete(entries)
        outputs.add("leaderboard.csv", leaderboard_csv(results))
        outputs.add("leaderboard.md", leaderboard_markdown(results, board))
        outputs.add("index.html", page(results, board, examples))
        for name in () if source == folder else FILES:
            outputs.copy(source / name)
        kept = outputs.place()
    for name in kept:
        fix = "it was edited and is kept; take it away to have it made anew"
        print(f"warning: {visible(str(folder / name))}: {fix}", file=sys.stderr)
    return folder / "index.html"


def report_folder(named: Path) -> Path:
    """A report's folder, which may be named by its results.json; InputError where another file is named."""
    if named.is_dir() or not named.exists():
        return named
    if named.name != RESULTS:
        fix = f"name the report's folder: {named.parent}"
        raise InputError(f"is a file, and not a {RESULTS}", where=str(named), fix=fix)
    return named.parent


def read_results(path: Path) -> Any:
    """A results.json of this schema; InputError where it is none."""
    _refuse_pipe(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "no such file", where=str(path), fix="run the suite first: harness run SUITE"
        ) from None
    results = _parsed(content, path)
    schema = results.get("schema") if isinstance(results, dict) else None
    if type(schema) is int and schema != RESULTS_SCHEMA:
        age = "an earlier" if schema < RESULTS_SCHEMA else "a later"
        what = f"written by {age} version of the harness (schema {schema}, this one reads {RESULTS_SCHEMA})"
        raise InputError(what, where=str(path), fix=FIX)
    if type(schema) is not int:
        raise InputError(f"not a results.json of schema {RESULTS_SCHEMA}", where=str(path), fix=FIX)
    if fault := results_fault(results):
        raise InputError(f"not a {RESULTS} of schema {RESULTS_SCHEMA}: {fault}", where=str(path), fix=FIX)
    for kind in ("candidates", "metrics", "judges"):
        names = Counter(one["name"] for one in results[kind])
        if twice := [name for name, count in names.items() if count > 1]:
            raise InputError(f"has two {kind} named {_quoted(twice[0])}", where=str(path), fix=FIX)
    return results


def read_examples(path: Path, results: Any = None, *, rewritten: bool = False) -> Iterator[Any]:
    """The examples, if there are any; a file that was cut short or changed by hand is refused at its line.

    With `results` also one that is not of this run: results.json says how many examples there are and what
    the file's digest is. Only where it tells of none may the file be missing. `rewritten`: the digest need
    not be right, for the file is about to be made anew.
    """
    told = None if results is None else results.get("examples")
    if not path.exists():
        if told and told["n"]:
            what = f"no such file, but {RESULTS} was written with one of {counted(told['n'], 'example')}"
            raise InputError(what, where=str(path), fix=_TOGETHER)
        return
    seen: set[str] = set()
    for where, example in read_objects(path):
        if fault := example_fault(example):
            raise InputError(f"not {_LINES[path.name]}: {fault}", where=where, fix=FIX)
        if example["id"] in seen:
            raise InputError(f"holds example {_quoted(example['id'])} twice", where=where, fix=FIX)
        seen.add(example["id"])
        yield example
    if told and (len(seen) != told["n"] or not (rewritten or file_digest(path) == told["sha256"])):
        what = f"is not the file that {RESULTS} was written with"
        raise InputError(what, where=str(path), fix=_TOGETHER)


def read_objects(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, object) of each line of a JSONL file; InputError at a line that holds no object."""
    _refuse_pipe(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            found = _parsed(line, path, number)
            if not isinstance(found, dict):
                raise InputError(f"not {_LINES[path.name]}", where=f"{path}:{number}", fix=FIX)
            yield f"{path}:{number}", found


def _refuse_pipe(path: Path) -> None:
    """InputError where a pipe or a device lies in a file's place: it may have no end, or no beginning."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError("is no file that can be read to its end", where=str(path), fix=FIX)


def _quoted(text: str) -> str:
    return f"'{ellipsis(one_line(text), 80)}'"


def _parsed(content: bytes, path: Path, first_line: int = 1) -> Any:
    """The JSON value of bytes that begin at a file's line `first_line`."""
    try:
        return json.loads(
            content.decode("utf-8"), parse_constant=_refuse, parse_float=_finite, parse_int=_small
        )
    except UnicodeDecodeError as error:
        line = first_line + content.count(b"\n", 0, error.start)
        raise InputError("not UTF-8", where=f"{path}:{line}", fix=FIX) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{first_line + error.lineno - 1}:{error.colno}"
        raise InputError(f"not JSON: {error.msg}", where=where, fix=FIX) from None
    except _NumberError as error:
        what = f"holds the number {ellipsis(str(error), 20)}, which JSON or this program cannot hold"
        raise InputError(what, where=f"{path}:{first_line}", fix=FIX) from None
    except (ValueError, RecursionError):
        raise InputError("not JSON that can be read", where=f"{path}:{first_line}", fix=FIX) from None


class _NumberError(ValueError):
    """A number that no program can be relied on to hold: NaN, Infinity, more than 64 bits."""


def _refuse(text: str) -> float:
    raise _NumberError(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _small(text: str) -> float:
    return int(text) if len(text) < _DIGITS else _refuse(text)
