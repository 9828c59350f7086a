"""Verdicts out of files, of whatever form: `read` is the entrance.

The form is found by what a file holds. A row that cannot be read is an error that names its line; no row is
dropped in silence.
"""

from __future__ import annotations

import difflib
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.textfiles import Table, parse
from harness.errors import InputError
from harness.judging.formats import FORMATS, Format
from harness.judging.rows import Row, quoted
from harness.judging.table import Verdicts, tabulate

MOST_FAULTS = 10
"""Faults listed in one error."""
_GZIP = b"\x1f\x8b"
_OUR_KEYS = ("example_id", "first", "second", "verdict")


@dataclass(frozen=True)
class Reading:
    """The verdicts of each judge, and what a reader of the files should know of them."""

    judges: Mapping[str, Verdicts]
    notes: Sequence[str]


def read(paths: Sequence[Path]) -> Reading:
    """The verdicts of all files together, by judge; a row without a judge has its file's name for one.

    A judgment that occurs twice counts once. InputError names the line of each row that cannot be read, up to
    ten of them, and of judgments that contradict each other.
    """
    rows: dict[tuple[Any, ...], tuple[Row, str]] = {}
    controls: list[Row] = []
    faults: list[str] = []
    again = 0
    for path in paths:
        for row, place in _rows(path, faults):
            if row.control:
                controls.append(row)
                continue
            before = rows.setdefault(row.place, (row, place))
            if before[0] is row:
                continue
            again += 1
            if before[0].said != row.said:
                faults.append(
                    f"{place}: contradicts {before[1]}: the same pair, in the same order, by one judge"
                )
    if faults:
        raise InputError("\n".join(_first(faults)))
    notes = [f"{again:,} judgments occur twice in the files and are counted once"] if again else []
    return Reading(_by_judge([*(row for row, _ in rows.values()), *controls]), notes)


def _rows(path: Path, faults: list[str]) -> Iterator[tuple[Row, str]]:
    """Each judgment of a file with its place; what cannot be read goes to `faults`."""
    table = _load(path)
    form = _format_of(table)
    judge = path.name.split(".")[0] or path.name
    for index, record in enumerate(table.rows):
        try:
            for number, row in enumerate(form.read(record, judge)):
                place = table.place(index)
                yield row, f"{place} (game {number + 1})" if number else place
        except InputError as error:
            faults.append(f"{table.place(index)}: {error}")


def _load(path: Path) -> Table:
    """The rows of a file; JSON, JSON lines or CSV by its first character, gzipped or not."""
    try:
        raw = path.read_bytes()
        plain = gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"is not whole: {error}", where=path.name, fix="fetch it again") from error
    except OSError as error:
        fix = "name a file of verdicts, such as verdicts.jsonl in a report's folder"
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), fix=fix) from error
    return parse(plain, path.name)


def _format_of(table: Table) -> Format:
    """The form that the first row shows."""
    row = table.rows[0]
    found = next((form for form in FORMATS if form.knows(row)), None)
    if found is None:
        missing = next((key for key in _OUR_KEYS if key not in row), "")
        near = difflib.get_close_matches(missing, row, n=1)
        raise InputError(
            f"has no '{missing}'" + (f", but {quoted(near[0])}" if near else ""),
            where=table.where,
            fix="verdicts have example_id, first, second, verdict, or are AlpacaEval's or FastChat's",
        )
    return found


def _by_judge(rows: Iterable[Row]) -> dict[str, Verdicts]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.judge, []).append(row)
    return {judge: _table(mine) for judge, mine in found.items()}


def _table(rows: Sequence[Row]) -> Verdicts:
    columns = dict(zip(Row._fields, zip(*rows, strict=True), strict=True))
    del columns["judge"]
    symmetric = not any(columns.pop("ordered"))
    return tabulate(**columns, symmetric=symmetric)


def _first(faults: Sequence[str]) -> list[str]:
    left = len(faults) - MOST_FAULTS
    return [*faults[:MOST_FAULTS], *([f"and {left:,} more such rows"] if left > 0 else [])]
