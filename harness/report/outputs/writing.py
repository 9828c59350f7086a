"""All files of a report, written beside it and then put in their places.

They grow in a folder of their own while the examples are read for the page, so that the examples are read
once, a report that cannot be rendered is left as it was, and two renders at once do not meet. Who puts files
in their places, or takes away what a render that was killed left behind, holds a lock on the report's folder.

`.outputs.json` keeps what was written into lm-eval/ and cards/, with digests: the next render takes away what
it no longer writes, but nothing of anybody else's, and a card that somebody edited stays. The folder may be a
stranger's: no link in it is followed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.report.outputs.lm_eval import LmEvalSamples
from harness.report.outputs.model_card import has_card, model_card
from harness.report.outputs.names import folder_names
from harness.report.outputs.parquet import ParquetExamples
from harness.store import file_digest
from harness.whole_files import remove_folder, write_text_whole

Json = Mapping[str, Any]

PARQUET, LM_EVAL, CARDS, WRITTEN = "examples.parquet", "lm-eval", "cards", ".outputs.json"
_ROOMS = (LM_EVAL, CARDS)
_IN_ROOMS = tuple(f"{room}/" for room in _ROOMS)
_PREFIX, _SUFFIX = ".outputs.", ".partial"


class Outputs:
    """Takes the examples as they pass by on their way to the page; `place` then makes the files visible.

    A context: when it ends nothing is left of what was not placed.
    """

    def __init__(self, folder: Path, results: Json) -> None:
        self._folder, self._results = folder, results
        self._names = folder_names([candidate["name"] for candidate in results["candidates"]])
        self._last: list[str] = []
        self._open = ExitStack()
        with ExitStack() as begun:
            self._partial = begun.enter_context(_partial_folder(folder))
            answered = {c["name"]: self._partial / LM_EVAL / self._names[c["name"]]
                        for c in results["candidates"] if c["status"] == "ok"}  # fmt: skip
            for path in answered.values():
                path.mkdir(parents=True)
            self._writers: list[ParquetExamples | LmEvalSamples] = []
            begun.callback(self._let_go)
            self._writers.append(ParquetExamples(self._partial / PARQUET, results))
            self._writers.append(LmEvalSamples(answered, results))
            self._open = begun.pop_all()

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

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

    def add(self, name: str, text: str) -> None:
        """A file that is put in its place after all that came before."""
        (self._partial / name).write_text(text, encoding="utf-8", newline="\n")
        self._last.append(name)

    def copy(self, source: Path) -> None:
        """As `add`, a file from elsewhere."""
        shutil.copyfile(source, self._partial / source.name)
        self._last.append(source.name)

    def place(self) -> list[str]:
        """Move every file to its place and take away what an earlier render left there.

        Returns the cards that stay as somebody edited them.
        """
        paths = {p.relative_to(self._partial).as_posix(): p for p in self._partial.rglob("*") if p.is_file()}
        made = {name: paths[name] for name in sorted(paths.keys() - set(self._last))}
        digests = {name: file_digest(path) for name, path in made.items()}
        with _locked(self._folder):
            known = _known(self._folder)
            for name in made:
                _refuse_links(self._folder, name)
            kept = [name for name in made if self._is_edited(name, known.get(name, ()), digests[name])]
            ours: dict[str, tuple[str, ...]] = {
                name: (digest,) for name, digest in digests.items() if name.startswith(_IN_ROOMS)
            }
            ours = {name: known.get(name, ()) if name in kept else found for name, found in ours.items()}
            # Whatever happens between here and the end, no file that was moved is nobody's.
            _write_known(self._folder, _union(known, ours))
            for name, path in made.items():
                if name not in kept:
                    (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
                    path.replace(self._folder / name)
            _remove(self._folder, {name: found for name, found in known.items() if name not in digests})
            for name in self._last:
                paths[name].replace(self._folder / name)
            _write_known(self._folder, ours)
        return kept

    def _is_edited(self, name: str, known: Iterable[str], new: str) -> bool:
        """Whether a card lies there that no render wrote."""
        path = self._folder / name
        return name.startswith(f"{CARDS}/") and path.is_file() and file_digest(path) not in {*known, new}

    def _let_go(self) -> None:
        for writer in self._writers:
            with suppress(Exception):  # on a full disk closing fails too; all of it goes anyway
                writer.abandon()


def card_path(folder: Path, name: str) -> Path:
    """Where the card of a candidate lies whose folder has that name."""
    return folder / CARDS / name / "README.md"


@contextmanager
def _partial_folder(folder: Path) -> Iterator[Path]:
    """A new folder in the report's, nobody else's; those of renders that were killed are taken away."""
    with ExitStack() as stack:
        with _locked(folder):
            _sweep(folder)
            made = Path(tempfile.mkdtemp(prefix=_PREFIX, suffix=_SUFFIX, dir=folder))
            stack.callback(remove_folder, made)
            _lock(stack.enter_context(_opened(made)), fcntl.LOCK_SH)
        yield made


def _sweep(folder: Path) -> None:
    """Take away partial folders that no living render holds."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError), _opened(path) as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_folder(path)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time, as far as the file system can lock a folder."""
    with _opened(folder, follow=True) as opened:
        _lock(opened, fcntl.LOCK_EX)
        yield


def _lock(opened: int, how: int) -> None:
    with suppress(OSError):  # some network file systems lock no folder: there two at once may disagree
        fcntl.flock(opened, how)


@contextmanager
def _opened(folder: Path, *, follow: bool = False) -> Iterator[int]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        yield opened
    finally:
        os.close(opened)


def _refuse_links(folder: Path, name: str) -> None:
    """InputError where a file would be put behind a link, which may lead out of the report."""
    for parent in Path(name).parents:
        if (folder / parent).is_symlink() and parent != Path():
            fix = "take it away: a report's folders are no links, and nothing is written behind one"
            raise InputError("is a symbolic link", where=str(folder / parent), fix=fix)


def _known(folder: Path) -> dict[str, tuple[str, ...]]:
    """File -> digests that it may have had from a render; empty where none is known."""
    path = folder / WRITTEN
    try:
        # Nothing is read of a link, nor of a pipe, which would be waited for.
        is_plain = path.is_file() and not path.is_symlink()
        found = json.loads(path.read_text(encoding="utf-8"))["files"] if is_plain else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: tuple(map(str, digests)) if isinstance(digests, list) else (str(digests),)
        for name, digests in found.items()
        if "\0" not in name
    }


def _union(*known: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    names = {name for each in known for name in each}
    return {name: tuple(sorted({d for each in known for d in each.get(name, ())})) for name in names}


def _write_known(folder: Path, known: Mapping[str, tuple[str, ...]]) -> None:
    told = {name: found[0] if len(found) == 1 else found for name, found in sorted(known.items()) if found}
    write_text_whole(folder / WRITTEN, json.dumps({"files": told}, indent=2) + "\n")


def _remove(folder: Path, stale: Mapping[str, tuple[str, ...]]) -> None:
    """Take away files that still are as they were written, and the folders that are empty without them."""
    for name, digests in stale.items():
        path = folder / name
        ours = any(path.resolve().is_relative_to(folder.resolve() / room) for room in _ROOMS)
        if not ours or path.is_symlink() or not path.is_file() or file_digest(path) not in digests:
            continue
        path.unlink()
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
