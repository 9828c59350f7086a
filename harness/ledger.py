"""What was paid for, in one sqlite file: verdicts, servers' replies, who spent what, and small notes.

Each entry is committed the moment it arrives, so a killed run loses no more than the requests in flight.
Threads of one process and several processes on one machine may use the file at once. The ledger knows no
stage: a key says all that an entry depends on. Values are JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import sqlite3
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import StoreError
from harness.records import Verdict, from_json, to_json

PATIENCE_SECONDS = 30.0
"""How long to wait for another process that is writing."""
TABLES = {
    "verdicts": "key TEXT PRIMARY KEY, verdict TEXT NOT NULL",
    "replies": "key TEXT PRIMARY KEY, reply TEXT NOT NULL",
    "spending": "account TEXT, key TEXT, usd REAL, prompt_tokens INTEGER, completion_tokens INTEGER, "
    "PRIMARY KEY (account, key)",
    "totals": "account TEXT PRIMARY KEY, requests INTEGER, usd REAL, unpriced INTEGER, "
    "prompt_tokens INTEGER, completion_tokens INTEGER",
    "notes": "key TEXT PRIMARY KEY, text TEXT NOT NULL",
}
"""`totals` sums `spending` up by account, so that a budget is looked at without reading every row."""
ADD_TO_TOTAL = """
INSERT INTO totals VALUES (?, 1, ?, ?, ?, ?) ON CONFLICT (account) DO UPDATE SET
requests = requests + 1, usd = usd + excluded.usd, unpriced = unpriced + excluded.unpriced,
prompt_tokens = prompt_tokens + excluded.prompt_tokens,
completion_tokens = completion_tokens + excluded.completion_tokens
"""


@dataclass(frozen=True, slots=True)
class Spending:
    """What an account has spent; `usd` is the known part, `unpriced` counts requests of unknown price."""

    requests: int = 0
    usd: float = 0.0
    unpriced: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Ledger:
    """The file at `path`, made at the first use; one of an earlier version is brought up to date.

    Every method raises StoreError if the file cannot be read or written. It must not be used across a fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._claims: dict[str, tuple[threading.Lock, list[None]]] = {}
        self._claims_file: int | None = None
        with self._reported():
            path.parent.mkdir(parents=True, exist_ok=True)
            # One connection for all threads, each statement under the lock: a reply takes seconds to get
            # and a fraction of a millisecond to store. Autocommit: each statement is a transaction.
            self._connection = sqlite3.connect(
                path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._connection.close()
                raise

    def verdict(self, key: str) -> Verdict | None:
        """The verdict under a key, or None."""
        with self._reported():
            row = self._row("SELECT verdict FROM verdicts WHERE key = ?", key)
            try:
                return from_json(Verdict, json.loads(row[0])) if row else None
            except (KeyError, AttributeError):
                raise ValueError(f"the entry {key} is no verdict") from None

    def add_verdict(self, key: str, verdict: Verdict) -> Verdict:
        """Store a verdict unless there is one; the one that is stored, which stands from then on.

        Two processes that asked the same at the same time thus go on with the same verdict.
        """
        self._add("verdicts", key, to_json(verdict))
        stored = self.verdict(key)
        return verdict if stored is None else stored

    def reply(self, key: str) -> dict[str, Any] | None:
        """What a server sent under a key, or None."""
        with self._reported():
            row = self._row("SELECT reply FROM replies WHERE key = ?", key)
            body: dict[str, Any] | None = json.loads(row[0]) if row else None
            return body

    def add_reply(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a reply unless there is one; the one that is stored, which stands from then on."""
        self._add("replies", key, to_json(body))
        stored = self.reply(key)
        return dict(body) if stored is None else stored

    def spend(
        self, account: str, key: str, *, usd: float | None, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """Write down what an account paid for the entry `key`, once; `usd` None: the price is not known."""
        with self.transaction(), self._reported():
            added = self._connection.execute(
                "INSERT OR IGNORE INTO spending VALUES (?, ?, ?, ?, ?)",
                (account, key, usd, prompt_tokens, completion_tokens),
            )
            if added.rowcount:
                amounts = (usd or 0.0, int(usd is None), prompt_tokens, completion_tokens)
                self._connection.execute(ADD_TO_TOTAL, (account, *amounts))

    def spent(self, account: str, keys: Collection[str] | None = None) -> Spending:
        """What an account has spent in all, or on the entries `keys`."""
        with self._reported():
            if keys is None:
                query = "SELECT requests, usd, unpriced, prompt_tokens, completion_tokens FROM totals"
                row = self._row(f"{query} WHERE account = ?", account)
                return Spending(*row) if row else Spending()
            return self._spent_on(account, keys)

    def note(self, key: str) -> str | None:
        """The note under a key, or None."""
        with self._reported():
            row = self._row("SELECT text FROM notes WHERE key = ?", key)
            return str(row[0]) if row else None

    def notes(self, start: str) -> dict[str, str]:
        """All notes whose keys begin with `start`, by key."""
        with self._reported(), self._lock:
            query = "SELECT key, text FROM notes WHERE substr(key, 1, ?) = ? ORDER BY key"
            return dict(self._connection.execute(query, (len(start), start)).fetchall())

    def set_note(self, key: str, text: str | None) -> None:
        """Write a note over whatever stood there; None takes it away."""
        with self._reported(), self._lock:
            if text is None:
                self._connection.execute("DELETE FROM notes WHERE key = ?", (key,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (key, text))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is added within is committed together, or not at all if it is left by an error."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            with self._reported():
                self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            with self._reported():
                self._connection.execute("COMMIT")

    @contextmanager
    def claim(self, key: str) -> Iterator[None]:
        """Only one thread of all processes at a time has the claim on a key; it ends with its process.

        Who gets it looks into the ledger again before paying: the one before may have left the entry there.
        """
        with self._lock:
            lock, users = self._claims.setdefault(key, (threading.Lock(), []))
            users.append(None)
        try:
            with lock, self._claimed_from_other_processes(key):
                yield
        finally:
            with self._lock:
                users.pop()
                if not users:
                    del self._claims[key]

    def close(self) -> None:
        """Close the file; it must not be used afterwards."""
        with self._lock:
            self._connection.close()
            if self._claims_file is not None:
                os.close(self._claims_file)
                self._claims_file = None

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        found = {
            row[0] for row in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if found and "verdicts" not in found:
            raise ValueError(f"it is a database of something else, with the table {min(found)}")
        # Readers do not wait for writers in WAL. With NORMAL a commit survives the process, though not a
        # power cut, in which the last entries may be lost but the file is not damaged.
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        for name, columns in TABLES.items():
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns}) WITHOUT ROWID")
            wanted = [part.split()[0] for part in columns.split(", PRIMARY")[0].split(", ")]
            if [row[1] for row in self._connection.execute(f"PRAGMA table_info({name})")] != wanted:
                raise ValueError(f"its table {name} has other columns than {', '.join(wanted)}")

    def _row(self, query: str, key: str) -> tuple[Any, ...] | None:
        with self._lock:
            row: tuple[Any, ...] | None = self._connection.execute(query, (key,)).fetchone()
            return row

    def _add(self, table: str, key: str, value: Any) -> None:
        with self._reported(), self._lock:
            text = json.dumps(value)  # escaped to ASCII: sqlite refuses lone surrogates
            self._connection.execute(f"INSERT OR IGNORE INTO {table} VALUES (?, ?)", (key, text))  # noqa: S608

    def _spent_on(self, account: str, keys: Collection[str]) -> Spending:
        query = """SELECT usd, prompt_tokens, completion_tokens FROM spending
                   WHERE account = ? AND key IN (SELECT value FROM json_each(?))"""
        with self._lock:
            rows = self._connection.execute(query, (account, json.dumps(list(keys)))).fetchall()
        known = [usd for usd, _, _ in rows if usd is not None]
        tokens = (sum(row[1] for row in rows), sum(row[2] for row in rows))
        return Spending(len(rows), math.fsum(known), len(rows) - len(known), *tokens)

    @contextmanager
    def _claimed_from_other_processes(self, key: str) -> Iterator[None]:
        """Locks one byte of a file, whose offset stands for the key.

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
        with self._reported():
            with self._lock:
                if self._claims_file is None:
                    path = self.path.with_name(f"{self.path.name}-claims")
                    self._claims_file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            flock = struct.pack("hhqqi", kind, os.SEEK_SET, offset, 1, 0)
            with suppress(OSError):  # a file system without locks: two processes may both ask
                fcntl.fcntl(self._claims_file, fcntl.F_OFD_SETLKW, flock)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise StoreError(f"the ledger {self.path} was opened before a fork; open it again after it")
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            raise StoreError(f"the ledger {self.path} cannot be used: {error}") from error


@dataclass(frozen=True)
class Account:
    """What a stage lends to a server: a ledger, and whose money is spent up to which limit (None: none)."""

    ledger: Ledger
    name: str
    budget_usd: float | None = None
