"""A content-addressed store: key -> artifact, a folder that is there whole or not at all.

A stage writes into `<key>.partial/`; its manifest is written last, then one rename. The manifest's
presence is the hit. What a crash leaves stays in `.partial` and is handed back to the next attempt.
The store knows no stage.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.json_files import read_json, write_json
from harness.records import to_json

MANIFEST = "manifest.json"
REMEMBERED_BYTES = 16 * 2**20
"""Files at least this large have their digest remembered, by path, size and time of change."""


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """sha256 of the canonical JSON of a value, as hex."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """Artifacts below one folder, which is made at the first write."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._digests = self.root / "digests.json"
        self._fresh: dict[str, str] = {}
        self._made_parent = not self.root.parent.exists()

    def path(self, key: str) -> Path:
        """Where the artifact is, or would be."""
        return self.root / key

    def partial(self, key: str) -> Path:
        """Where the artifact is made."""
        return self.root / f"{key}.partial"

    def has(self, key: str) -> bool:
        """Whether the artifact is there, whole."""
        return (self.path(key) / MANIFEST).is_file()

    def open(self, key: str) -> Path:
        """The folder of an artifact; StoreError if it is not there."""
        if not self.has(key):
            raise StoreError(f"no artifact {key} in {self.root}")
        return self.path(key)

    def manifest(self, key: str) -> dict[str, Any]:
        """What the artifact says of its making."""
        manifest: dict[str, Any] = read_json(self.open(key) / MANIFEST)
        return manifest

    def create(self, key: str) -> Path:
        """The folder to make the artifact in, with whatever a killed attempt left there."""
        folder = self.partial(key)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        return folder

    def _unwritable(self, error: OSError) -> StoreError:
        return StoreError(f"cannot write into the store {self.root}: {error.strerror}")

    def commit(self, key: str, manifest: dict[str, Any]) -> Path:
        """Make the partial folder the artifact: manifest last, then one rename."""
        folder = self.partial(key)
        write_json(folder / MANIFEST, manifest)
        shutil.rmtree(self.path(key), ignore_errors=True)  # a folder without manifest is no artifact
        folder.replace(self.path(key))
        return self.path(key)

    def discard(self, key: str) -> None:
        """Forget an attempt; a store that holds nothing else goes too."""
        shutil.rmtree(self.partial(key), ignore_errors=True)
        if not self.root.is_dir() or {path.name for path in self.root.iterdir()} - {"locks"}:
            return
        shutil.rmtree(self.root)
        if self._made_parent and not any(self.root.parent.iterdir()):
            self.root.parent.rmdir()

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Only one process at a time makes an artifact; the lock dies with its process.

        The lock's file stays: to unlink it would let a waiting and a new process both hold "the" lock.
        """
        try:
            self._lock_file(key).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        with self._lock_file(key).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _lock_file(self, key: str) -> Path:
        return self.root / "locks" / key

    def content_digest(self, path: Path) -> str:
        """sha256 of a file, or of a folder's names and contents."""
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            return digest([[p.relative_to(path).as_posix(), self.content_digest(p)] for p in files])
        status = path.stat()
        if status.st_size < REMEMBERED_BYTES:
            return file_digest(path)
        return self._remembered_digest(path, f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}")

    def _remembered_digest(self, path: Path, stamp: str) -> str:
        known = {**self._remembered(), **self._fresh}
        if stamp not in known:
            known[stamp] = self._fresh[stamp] = file_digest(path)
        return known[stamp]

    def _remembered(self) -> dict[str, str]:
        return read_json(self._digests) if self._digests.is_file() else {}

    def remember_digests(self) -> None:
        """Write down the digests of large files that were computed; a plan alone writes nothing."""
        if self._fresh:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                write_json(self._digests, {**self._remembered(), **self._fresh})
            except OSError as error:
                raise self._unwritable(error) from error
