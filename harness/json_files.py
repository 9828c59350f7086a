"""JSON and JSONL files of records: written whole or not at all, read with a torn tail if need be."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from harness.records import from_json, to_json
from harness.whole_files import replacing, write_text_whole

T = TypeVar("T")
ESCAPED = "backslashreplace"
"""Half of a surrogate pair, which UTF-8 cannot hold, is written as JSON spells it: `\\ud800`."""


def read_json(path: Path) -> Any:
    """The JSON value in a file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: Any, errors: str = "strict") -> None:
    """Write records or plain values as indented JSON, whole or not at all; `errors` is strict or ESCAPED."""
    write_text_whole(path, json.dumps(to_json(value), indent=2, ensure_ascii=False) + "\n", errors)


def dump_line(value: Any) -> str:
    """One JSON line, newline included."""
    return json.dumps(to_json(value), ensure_ascii=False) + "\n"


def write_jsonl(path: Path, values: Iterable[Any], errors: str = "strict") -> None:
    """Write records one a line, whole or not at all; `errors` as for `write_json`."""
    with replacing(path, errors) as file:
        file.writelines(map(dump_line, values))


def read_jsonl(path: Path, kind: type[T]) -> list[T]:
    """All records of type `kind` in a JSONL file."""
    return [from_json(kind, value) for value in iter_json_lines(path)]


def iter_json_lines(path: Path, *, torn_tail: bool = False) -> Iterator[Any]:
    """The JSON values of a JSONL file.

    With `torn_tail`, a last line that a crash cut short is passed over instead of raising.
    """
    # Split at newlines alone: str.splitlines would also break at U+2028 inside a text.
    lines = path.read_text(encoding="utf-8", errors="replace" if torn_tail else "strict").split("\n")
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            if torn_tail and number == len(lines) - 1:
                return
            raise
