"""Verdicts by content, in one sqlite file: what was paid for once is never asked again.

A verdict is committed the moment it arrives, so a killed run loses no more than the requests in flight.
Threads of one process and several processes on one machine may use the file at once. It knows no stage:
the key says all that a verdict depends on. Values are JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from harness.errors import StoreError
from harness.records import Verdict, from_json, to_json

PATIENCE_SECONDS = 30.0
"""How long to wait for another process that is writing."""
SCHEMA = "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL) WITHOUT ROWID"


class Ledger:
    """A mapping from key to Verdict in a sqlite file, made at the first use.

    Every method raises StoreError if the file cannot be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with self._reported():
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, each statement under the lock: a verdict takes seconds to
            # get and a fraction of a millisecond to store. Autocommit: each insert is a transaction.
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._open()

    def verdict(self, key: str) -> Verdict | None:
        """The verdict under a key, or None."""
        with self._reported(), self._lock:
            row = self._connection.execute("SELECT verdict FROM verdicts WHERE key = ?", (key,)).fetchone()
            return from_json(Verdict, json.loads(row[0])) if row else None

    def add_verdict(self, key: str, verdict: Verdict) -> Verdict:
        """Store a verdict unless there is one; the one that is stored, which stands from then on.

        Two processes that asked the same at the same time thus go on with the same verdict.
        """
        text = json.dumps(to_json(verdict))  # escaped to ASCII: sqlite refuses lone surrogates
        with self._reported(), self._lock:
            self._connection.execute("INSERT OR IGNORE INTO verdicts VALUES (?, ?)", (key, text))
        stored = self.verdict(key)
        return verdict if stored is None else stored

    def close(self) -> None:
        """Close the file; it must not be used afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        # Readers do not wait for writers in WAL. With NORMAL a commit survives the process, though not a
        # power cut, in which the last verdicts may be lost but the file is not damaged.
        try:
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute(SCHEMA)
        except sqlite3.Error:
            self._connection.close()
            raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise StoreError(f"the verdict cache {self.path} cannot be used: {error}") from error
