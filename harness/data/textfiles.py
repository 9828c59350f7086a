"""json, jsonl and csv with the standard library alone, so that an error names its line.

`load` is the entrance for a file, `parse` for the bytes of one. With `limit`, only the head of a file is
read: enough to know its columns, for files too large to parse before work starts.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import DataError, first_line

Row = dict[str, Any]
WHITESPACE = " \t\r\n"


@dataclass(frozen=True)
class Table:
    """Rows and where each was found; `columns` in order of first appearance, `whole` unless only a head."""

    where: str
    rows: list[Row]
    lines: list[int] = field(default_factory=list)
    whole: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that some row has."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row))

    def place(self, index: int) -> str:
        """`data.jsonl:17`, or `data.parquet, row 17` where rows are not lines; counted from 1."""
        return f"{self.where}:{self.lines[index]}" if self.lines else f"{self.where}, row {index + 1}"


def load(path: Path, where: str, *, limit: int | None = None) -> Table:
    """All rows of a .json, .jsonl or .csv file, or those that lie wholly in its first `limit` bytes.

    `where` is the file's name in errors. DataError if it cannot be read, is malformed or has no rows.
    """
    try:
        with path.open("rb") as file:
            raw = file.read() if limit is None else file.read(limit)
            torn = limit is not None and bool(file.read(1))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=where) from error
    return parse(raw, where, path.suffix.lower(), torn=torn)


def parse(raw: bytes, where: str, suffix: str = "", *, torn: bool = False) -> Table:
    """All rows of a file's bytes, or those that lie wholly in them where they are `torn` off.

    Without a suffix the first character says whether it is JSON, JSON lines or CSV. DataError as for `load`.
    """
    text = _decode(raw, where, torn)
    if not text.strip():
        raise DataError("is empty", where=where, fix="give a file with at least one row")
    suffix = suffix or {"[": ".json", "{": ".jsonl"}.get(text.lstrip()[:1], ".csv")
    table = PARSERS[suffix](text, where, torn)
    if not table.rows and table.whole:
        raise DataError("has no rows", where=where, fix="give a file with at least one row")
    return table


def _decode(raw: bytes, where: str, torn: bool) -> str:
    """UTF-8 as text, without its byte order mark."""
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError("is UTF-16, not UTF-8", where=where, fix="save it as UTF-8")
    try:
        # A cut may fall inside a character: an incremental decoder leaves that one out.
        text = codecs.getincrementaldecoder("utf-8")().decode(raw, final=not torn)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8 (byte 0x{raw[error.start]:02x})"
        raise DataError(what, where=f"{where}:{line}", fix="save it as UTF-8") from error
    return text.removeprefix("\ufeff")


def _parse_json(text: str, where: str, torn: bool) -> Table:
    """An array of objects, or an object with one list among its values such as {"data": [...]}."""
    if torn and _is_json_lines(text):
        return _parse_jsonl(text, where, torn)
    if torn:
        return Table(where, list(_head_of_array(text)), whole=False)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _parse_jsonl(text, where, torn)  # JSON lines under the name .json are common
        place = f"{where}:{error.lineno}:{error.colno}"
        raise DataError(f"not JSON: {error.msg}", where=place) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON that can be read: {first_line(error)}", where=where) from error
    rows = _only_list(value, where) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise DataError(f"holds {_kind(value)}, not rows", where=where, fix="give an array of objects")
    for number, row in enumerate(rows, 1):
        _check_row(row, f"{where}, row {number}")
    return Table(where, rows)


def _is_json_lines(text: str) -> bool:
    """Whether the first line is an object of its own: no JSON text that goes on after it has that."""
    first, newline, rest = text.lstrip().partition("\n")
    try:
        return bool(newline and rest.strip()) and isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _only_list(value: Row, where: str) -> list[Any]:
    lists = [key for key, item in value.items() if isinstance(item, list)]
    if len(lists) == 1:
        items: list[Any] = value[lists[0]]
        return items
    found = f"lists under {', '.join(lists)}" if lists else "no list"
    fix = 'give an array of objects, or an object with one list such as {"data": [...]}'
    raise DataError(f"is an object with {found}: which are the rows cannot be told", where=where, fix=fix)


def _head_of_array(text: str) -> Iterator[Row]:
    """The whole objects at the head of the first array in a JSON text that was cut off."""
    decoder, at = json.JSONDecoder(), text.find("[") + 1
    while 0 < at < len(text):
        while at < len(text) and text[at] in WHITESPACE + ",":
            at += 1
        try:
            row, at = decoder.raw_decode(text, at)
        except ValueError:
            return
        if not isinstance(row, dict):
            return
        yield row


def _parse_jsonl(text: str, where: str, torn: bool) -> Table:
    """One object a line; blank lines are passed over."""
    rows: list[Row] = []
    numbers: list[int] = []
    # Split at newlines alone: str.splitlines would also break at U+2028 inside a text.
    lines = text.split("\n")
    for number, line in enumerate(lines[:-1] if torn else lines, 1):
        if not line.strip():
            continue
        place = f"{where}:{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            fix = "a JSON array belongs into a .json file" if line.strip() == "[" else ""
            raise DataError(f"not JSON: {error.msg} at column {error.colno}", where=place, fix=fix) from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"not JSON that can be read: {first_line(error)}", where=place) from error
        rows.append(_check_row(row, place))
        numbers.append(number)
    return Table(where, rows, numbers, whole=not torn)


def _parse_csv(text: str, where: str, torn: bool) -> Table:
    """Comma separated, double quotes, a header; a short row's missing fields are None."""
    with _field_size_limit(len(text)):
        records = _csv_records(text, where, torn)
        _, header = next(records, (0, []))
        _check_header(header, where)
        rows: list[Row] = []
        lines: list[int] = []
        for line, record in records:
            if len(record) > len(header):
                what = f"{len(record)} fields, but the header has {len(header)}"
                fix = "put fields that hold commas or quotes into double quotes"
                raise DataError(what, where=f"{where}:{line}", fix=fix)
            rows.append(dict(zip(header, record + [None] * (len(header) - len(record)), strict=True)))
            lines.append(line)
    if torn and rows:
        del rows[-1], lines[-1]
    return Table(where, rows, lines, whole=not torn)


def _csv_records(text: str, where: str, torn: bool) -> Iterator[tuple[int, list[Any]]]:
    """Each record that is not blank, with the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader, None)
        except csv.Error as error:
            if torn:
                return
            fix = "check the quotes from this line on"
            raise DataError(f"not CSV: {error}", where=f"{where}:{line}", fix=fix) from error
        if record is None:
            return
        if record:
            yield line, record


def _check_header(header: list[str], where: str) -> None:
    place = f"{where}:1"
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"column '{name}' occurs twice in the header", where=place, fix="rename one")
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise DataError("the columns are not separated by commas", where=place, fix="save with commas")


@contextmanager
def _field_size_limit(size: int) -> Iterator[None]:
    """csv refuses fields over 128 KiB by default; no field is longer than its file."""
    before = csv.field_size_limit()
    csv.field_size_limit(max(before, size))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _check_row(row: Any, place: str) -> Row:
    if not isinstance(row, dict):
        raise DataError(f"the row is {_kind(row)}, not an object", where=place, fix='write {"column": value}')
    return row


def _kind(value: Any) -> str:
    names = {list: "a list", dict: "an object", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


PARSERS: dict[str, Callable[[str, str, bool], Table]] = {
    ".json": _parse_json,
    ".jsonl": _parse_jsonl,
    ".ndjson": _parse_jsonl,
    ".csv": _parse_csv,
}
"""By suffix, in lower case."""
