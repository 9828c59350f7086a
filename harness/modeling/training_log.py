"""log.jsonl: what a person watches while a model trains, and the curves of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.records import dump_line, iter_json_lines, write_jsonl


class TrainingLog:
    """One JSON object a line, each flushed at once: `type` is `train` or `validation`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut_after(self, step: int) -> None:
        """Remove the lines behind `step`, and a torn last one: those steps are about to be done again."""
        if self._path.exists():
            kept = [line for line in iter_json_lines(self._path, torn_tail=True) if line["step"] <= step]
            write_jsonl(self._path, kept)

    def append(self, kind: str, **entry: Any) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(dump_line({"type": kind, **entry}))
