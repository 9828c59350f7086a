"""All outputs of a report for other programs, written beside it and then put in their places.

They grow in a folder of their own while the examples are read for the page, so that the examples are read
once and a report that cannot be rendered is left as it was. `.outputs.json` keeps what was written into
lm-eval/ and cards/, with digests: the next render takes away what it no longer writes, but nothing of
anybody else's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.report.outputs.lm_eval import LmEvalSamples
from harness.report.outputs.model_card import has_card, model_card
from harness.report.outputs.names import folder_names
from harness.report.outputs.parquet import ParquetExamples

Json = Mapping[str, Any]

PARQUET, LM_EVAL, CARDS, WRITTEN = "examples.parquet", "lm-eval", "cards", ".outputs.json"


class Outputs:
    """Takes the examples as they pass by on their way to the page; `place` then makes the files visible."""

    def __init__(self, folder: Path, results: Json) -> None:
        self._folder, self._results = folder, results
        self._partial = folder / "outputs.partial"
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir()
        names = folder_names([candidate["name"] for candidate in results["candidates"]])
        answered = {c["name"]: self._partial / LM_EVAL / names[c["name"]] for c in results["candidates"]
                    if c["status"] == "ok"}  # fmt: skip
        for path in answered.values():
            path.mkdir(parents=True)
        self._names = names
        self._writers = (ParquetExamples(self._partial / PARQUET, results), LmEvalSamples(answered, results))

    def passing(self, entries: Iterable[Json]) -> Iterator[Json]:
        """The same examples, each written on the way."""
        for entry in entries:
            for writer in self._writers:
                writer.add(entry)
            yield entry

    def complete(self, rest: Iterable[Json]) -> None:
        """Finish the files; `rest` are the examples of `passing` that nobody has asked for."""
        deque(rest, maxlen=0)
        for writer in self._writers:
            writer.close()
        for candidate in self._results["candidates"]:
            if has_card(candidate):
                path = card_path(self._partial, self._names[candidate["name"]])
                path.parent.mkdir(parents=True)
                path.write_text(model_card(self._results, candidate), encoding="utf-8", newline="\n")

    def place(self) -> None:
        """Move every file to its place and take away what an earlier render left there."""
        files = sorted(path for path in self._partial.rglob("*") if path.is_file())
        written = {path.relative_to(self._partial).as_posix(): _digest(path) for path in files}
        stale = _known(self._folder).items() - written.items()
        for path in files:
            target = self._folder / path.relative_to(self._partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
        _remove(self._folder, {name: digest for name, digest in stale if name not in written})
        _write_known(self._folder, written)
        shutil.rmtree(self._partial)

    def abandon(self) -> None:
        """Leave nothing of what was begun."""
        for writer in self._writers:
            writer.abandon()
        shutil.rmtree(self._partial, ignore_errors=True)


def card_path(folder: Path, name: str) -> Path:
    """Where the card of a candidate lies whose folder has that name."""
    return folder / CARDS / name / "README.md"


def _known(folder: Path) -> dict[str, str]:
    """File -> digest of what the last render wrote; empty where none is known."""
    try:
        found = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {str(name): str(digest) for name, digest in found.items()} if isinstance(found, dict) else {}


def _write_known(folder: Path, written: Mapping[str, str]) -> None:
    kept = {name: digest for name, digest in written.items() if name != PARQUET}
    partial = folder / f"{WRITTEN}.partial"
    partial.write_text(json.dumps({"files": kept}, indent=2) + "\n", encoding="utf-8", newline="\n")
    partial.replace(folder / WRITTEN)


def _remove(folder: Path, stale: Mapping[str, str]) -> None:
    """Take away files that still are as they were written, and the folders that are empty without them."""
    for name, digest in stale.items():
        path = folder / name
        ours = any(path.resolve().is_relative_to(folder.resolve() / room) for room in (LM_EVAL, CARDS))
        if not ours or path.is_symlink() or not path.is_file() or _digest(path) != digest:
            continue
        path.unlink()
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
