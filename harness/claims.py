"""One at a time: a key is one thread's, of all processes that use the same file of claims."""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class _Claim:
    """The lock of a key in this process, and how many threads have it or wait for it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0


class Claims:
    """Claims on keys through the file at `path`, made at the first; OSError where it cannot be.

    It must not be used across a fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._claims: dict[str, _Claim] = {}
        self._file: int | None = None

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Only one thread of all processes at a time has the claim on a key; it ends with its process."""
        with self._lock:
            claim = self._claims.setdefault(key, _Claim())
            claim.users += 1
        try:
            with claim.lock, self._claimed_from_other_processes(key):
                yield
        finally:
            with self._lock:
                claim.users -= 1
                if not claim.users:
                    del self._claims[key]

    def close(self) -> None:
        """Close the file; it is opened anew by the next claim."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    @contextmanager
    def _claimed_from_other_processes(self, key: str) -> Iterator[None]:
        """Locks one byte of the file, whose offset is derived from the key.

        An open file description's lock, not a process's: the kernel takes threads that wait for each
        other's keys for a deadlock of their processes. Elsewhere than on Linux two processes may both ask.
        """
        if not hasattr(fcntl, "F_OFD_SETLKW"):
            yield
            return
        offset = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big")
        self._lock_byte(fcntl.F_WRLCK, offset)
        try:
            yield
        finally:
            self._lock_byte(fcntl.F_UNLCK, offset)

    def _lock_byte(self, kind: int, offset: int) -> None:
        with self._lock:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        flock = struct.pack("hhqqi", kind, os.SEEK_SET, offset, 1, 0)
        with suppress(OSError):  # a file system without locks: two processes may both ask
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLKW, flock)
