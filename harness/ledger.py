"""What was paid for, in one sqlite file: verdicts, servers' replies, who spent what, and small notes.

Each entry is committed the moment it arrives, so a killed run loses no more than the requests in flight.
Threads of one process and several processes on one machine may use the file at once. The ledger knows no
stage: a key says all that an entry depends on. Values are JSON; nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.claims import Claims
from harness.errors import StoreError
from harness.records import Verdict, from_json, to_json
from harness.validity import is_verdict

PATIENCE_SECONDS = 30.0
"""How long to wait for another process that is writing."""
BROKEN = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
"""What reading an entry raises that is not what it should be."""
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
    """The file at `path`, made at the first use.

    Every method raises StoreError if the file cannot be read or written. It must not be used across a fork.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._claims = Claims(path.with_name(f"{path.name}-claims"))
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
                verdict = from_json(Verdict, json.loads(row[0])) if row else None
            except BROKEN:
                raise ValueError(f"the entry {key} is no verdict") from None
            if verdict is not None and not is_verdict(verdict):
                raise ValueError(f"the entry {key} is no verdict")
            return verdict

    def add_verdict(self, key: str, verdict: Verdict) -> Verdict:
        """Store a verdict unless there is one, and return the one that is stored.

        Two processes that asked the same at the same time thus go on with the same verdict.
        """
        self._add("verdicts", key, to_json(verdict))
        stored = self.verdict(key)
        return verdict if stored is None else stored

    def reply(self, key: str) -> dict[str, Any] | None:
        """What a server sent under a key, or None."""
        with self._reported():
            row = self._row("SELECT reply FROM replies WHERE key = ?", key)
            if row is None:
                return None
            try:
                body = json.loads(row[0])
            except BROKEN:
                body = None
            if not isinstance(body, dict):
                raise ValueError(f"the entry {key} is no reply")
            return body

    def add_reply(self, key: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Store a reply unless there is one, and return the one that is stored."""
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

    def spent(self, account: str) -> Spending:
        """What an account has spent."""
        with self._reported():
            query = "SELECT requests, usd, unpriced, prompt_tokens, completion_tokens FROM totals"
            row = self._row(f"{query} WHERE account = ?", account)
            return Spending(*row) if row else Spending()

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
        with ExitStack() as held:
            with self._reported():
                held.enter_context(self._claims.claim(key))
            yield

    def broken(self, what: str) -> StoreError:
        """The error to raise where an entry is found not to be what it should be."""
        return StoreError(f"the ledger {self.path} cannot be used: {what}")

    def close(self) -> None:
        """Close the file; it must not be used afterwards."""
        with self._lock:
            self._connection.close()
        self._claims.close()

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

    @contextmanager
    def _reported(self) -> Iterator[None]:
        if os.getpid() != self._process:
            raise StoreError(f"the ledger {self.path} was opened before a fork; open it again after it")
        try:
            yield
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError) as error:
            raise self.broken(str(error)) from error


@dataclass(frozen=True)
class Account:
    """What a stage lends to a server: a ledger, and whose money is spent up to which limit (None: none).

    `receipt` is an account of the step's own: what the step causes is booked there a second time.
    """

    ledger: Ledger
    name: str
    budget_usd: float | None = None
    receipt: str = ""

    def spend(
        self, key: str, *, usd: float | None, prompt_tokens: int, completion_tokens: int, payer: str = ""
    ) -> None:
        """Book what the entry `key` cost, for `payer` if another paid; what is free, on a receipt alone."""
        owners = (self.receipt,) if self.receipt and usd == 0 else (payer or self.name, self.receipt)
        with self.ledger.transaction():
            for owner in filter(None, owners):
                self.ledger.spend(
                    owner, key, usd=usd, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
                )
