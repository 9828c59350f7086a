"""The ledger: what was paid for stands once, for all threads and processes, whatever happens to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness import Verdict
from harness.errors import StoreError
from harness.ledger import Ledger, Spending

OLD_SCHEMA = "CREATE TABLE verdicts (key TEXT PRIMARY KEY, verdict TEXT NOT NULL) WITHOUT ROWID"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "ledger.sqlite"


def spend(ledger: Ledger, account: str, key: str, usd: float | None = 0.5) -> None:
    ledger.spend(account, key, usd=usd, prompt_tokens=10, completion_tokens=1)


# Entries


def test_the_first_verdict_under_a_key_stands(path: Path) -> None:
    one, other = Verdict("first", "é\u2028", "raw", 1, 2, 0.1), Verdict("second")
    with Ledger(path) as ledger:
        assert ledger.verdict("k") is None
        assert ledger.add_verdict("k", one) == one
        assert ledger.add_verdict("k", other) == one
    with Ledger(path) as ledger:
        assert ledger.verdict("k") == one


def test_the_first_reply_under_a_key_stands(path: Path) -> None:
    one: dict[str, Any] = {"choices": [{"text": "é \ud800"}], "n": 1.5}
    with Ledger(path) as ledger:
        assert ledger.reply("k") is None
        assert ledger.add_reply("k", one) == one
        assert ledger.add_reply("k", {"other": True}) == one
    with Ledger(path) as ledger:
        assert ledger.reply("k") == one


def test_an_account_pays_once_for_an_entry(path: Path) -> None:
    with Ledger(path) as ledger:
        for key, usd in (("a", 0.25), ("b", None), ("a", 7.0)):
            spend(ledger, "suite", key, usd)
        spend(ledger, "another", "a", 1.0)
        assert ledger.spent("suite") == Spending(2, 0.25, 1, 20, 2)
        assert ledger.spent("nobody") == Spending()
        assert ledger.spent("another").usd == 1.0


def test_what_was_spent_is_summed_over_any_number_of_entries(path: Path) -> None:
    with Ledger(path) as ledger, ledger.transaction():
        for n in range(3000):
            spend(ledger, "suite", f"key {n}", 0.1)
        assert ledger.spent("suite").usd == pytest.approx(300.0)
        assert ledger.spent("suite").requests == 3000


def test_notes_are_written_over_listed_and_taken_away(path: Path) -> None:
    with Ledger(path) as ledger:
        for key, text in (("a|1", "x"), ("a|1", "y"), ("a|2", "z"), ("b|1", ""), ("a%", "")):
            ledger.set_note(key, text)
        assert ledger.note("a|1") == "y"
        assert ledger.notes("a|") == {"a|1": "y", "a|2": "z"}
        assert ledger.notes("a%") == {"a%": ""}
        ledger.set_note("a|1", None)
        assert (ledger.note("a|1"), ledger.note("b|1")) == (None, "")


def test_a_transaction_that_fails_leaves_nothing(path: Path) -> None:
    with Ledger(path) as ledger:
        with contextlib.suppress(RuntimeError), ledger.transaction():
            ledger.add_reply("k", {})
            spend(ledger, "suite", "k")
            raise RuntimeError
        assert (ledger.reply("k"), ledger.spent("suite")) == (None, Spending())
        spend(ledger, "suite", "k")
        assert ledger.spent("suite").requests == 1


# Files


def test_a_file_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    old = {
        "choice": "tie",
        "reason": "",
        "raw": "",
        "prompt_tokens": 3,
        "completion_tokens": 1,
        "cost_usd": None,
    }
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(OLD_SCHEMA)
        connection.execute("INSERT INTO verdicts VALUES ('k', ?)", (json.dumps(old),))
    with Ledger(path) as ledger:
        assert ledger.verdict("k") == Verdict("tie", prompt_tokens=3, completion_tokens=1)
        spend(ledger, "suite", "k")
        assert ledger.add_reply("k", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"not a database, but long enough to be looked at" * 50, "file is not a database"),
        (["CREATE TABLE songs (title)"], "a database of something else, with the table songs"),
        (["CREATE TABLE verdicts (id, song)"], "table verdicts has other columns than key, verdict"),
        ([OLD_SCHEMA, "CREATE TABLE notes (a)"], "table notes has other columns than key, text"),
        (None, "unable to open database file"),
    ],
    ids=["text", "another's", "other columns", "other notes", "folder"],
)
def test_a_file_that_is_no_ledger_is_named_in_one_line(path: Path, content: Any, fault: str) -> None:
    path.parent.mkdir()
    if content is None:
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with closing(sqlite3.connect(path)) as connection, connection:
            for statement in content:
                connection.execute(statement)
    with pytest.raises(StoreError, match=f"the ledger .*ledger.sqlite cannot be used: .*{fault}") as caught:
        Ledger(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_file_that_cannot_be_written_is_named(path: Path) -> None:
    Ledger(path).close()
    path.chmod(0o400)
    with pytest.raises(StoreError, match="cannot be used: attempt to write a readonly database"):
        Ledger(path).set_note("a", "b")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[1]",
        '"tie"',
        "[" * 100_000,
        '{"choice": "tie", "songs": 1}',
        '{"choice": "banana"}',
        '{"choice": ["tie"]}',
        '{"choice": "tie", "reason": 1}',
        '{"choice": "tie", "fault": "shy"}',
        '{"choice": "tie", "prompt_tokens": -1}',
        '{"choice": "tie", "prompt_tokens": true}',
        '{"choice": "tie", "cost_usd": 1e308}',
        '{"choice": "tie", "cost_usd": NaN}',
        '{"choice": "tie", "cost_usd": true}',
        '{"choice": "tie", "preference": 2}',
    ],
)
def test_an_entry_that_is_no_verdict_is_an_error(path: Path, text: str) -> None:
    with Ledger(path) as ledger:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO verdicts VALUES ('k', ?)", (text,))
        with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used: the entry k is no verdict"):
            ledger.verdict("k")


@pytest.mark.parametrize("text", ["{", "[1]", '"yes"', "null", "[" * 100_000])
def test_an_entry_that_is_no_reply_is_an_error(path: Path, text: str) -> None:
    with Ledger(path) as ledger:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("INSERT INTO replies VALUES ('k', ?)", (text,))
        with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used: the entry k is no reply"):
            ledger.reply("k")


def test_a_number_that_the_file_cannot_hold_is_an_error(path: Path) -> None:
    with Ledger(path) as ledger:
        with pytest.raises(StoreError, match=r"cannot be used: .*too large"):
            ledger.spend("suite", "k", usd=0.0, prompt_tokens=10**30, completion_tokens=0)
        assert ledger.spent("suite") == Spending()


def test_a_ledger_is_not_used_across_a_fork(path: Path) -> None:
    assert child(FORKED, path).communicate(timeout=60)[0].splitlines()[0].endswith("open it again after it")


FORKED = """
import os
if os.fork() == 0:
    try:
        ledger.note("k")
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


# Threads and processes

HEAD = """
import json, pathlib, sys, time
from concurrent.futures import ThreadPoolExecutor
from harness import Verdict
from harness.ledger import Ledger
ledger = Ledger(pathlib.Path(sys.argv[1]))
"""


def child(code: str, path: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs `code` with `ledger` open."""
    command = [sys.executable, "-c", HEAD + code, str(path), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_and_threads_share_a_ledger(path: Path) -> None:
    """Three processes that start at once on a file that is not there, four threads each, the same keys."""
    processes = [child(SHARE, path, str(n)) for n in range(3)]
    seen = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert seen[0] == seen[1] == seen[2]
    assert len(seen[0]) == 100
    with Ledger(path) as ledger:
        assert ledger.spent("all") == Spending(100, 50.0, 0, 100, 100)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


SHARE = """
def work(key):
    ledger.spend("all", key, usd=0.5, prompt_tokens=1, completion_tokens=1)
    mine = ledger.add_reply(key, {"by": sys.argv[2]})["by"]
    return [mine, ledger.add_verdict(key, Verdict("first", reason=sys.argv[2])).reason]
with ledger, ThreadPoolExecutor(4) as pool:
    print(json.dumps(list(pool.map(work, map(str, range(100))))))
"""


def test_opening_a_new_ledger_at_once_from_many_threads(path: Path) -> None:
    def store(n: int) -> str:
        with Ledger(path) as ledger:
            return ledger.add_verdict("k", Verdict("tie", str(n))).reason

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(store, range(24)))) == 1


def test_after_kill_9_the_sums_agree_with_their_rows(path: Path) -> None:
    process = child(SPEND_ON, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "50\n"
    process.kill()
    process.communicate()
    with Ledger(path) as ledger:
        total = ledger.spent("suite")
        assert total.requests >= 50
        assert ledger.reply(str(total.requests - 1)) is not None
        assert ledger.reply(str(total.requests)) is None
    with closing(sqlite3.connect(path)) as read:
        rows = read.execute("SELECT count(*), sum(usd), sum(prompt_tokens) FROM spending").fetchone()
    assert rows == (total.requests, total.usd, total.prompt_tokens)


SPEND_ON = """
for n in range(10**6):
    with ledger.transaction():
        ledger.add_reply(str(n), {"n": n})
        ledger.spend("suite", str(n), usd=0.5, prompt_tokens=1, completion_tokens=1)
    if n == 49:
        print(50, flush=True)
"""


def test_one_thread_at_a_time_has_a_claim(path: Path) -> None:
    inside: list[int] = []
    widest: list[int] = []

    def work(n: int) -> None:
        with ledger.claim("k"):
            inside.append(n)
            widest.append(len(inside))
            threading.Event().wait(0.005)
            inside.remove(n)

    with Ledger(path) as ledger:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(16)))
        assert widest == [1] * 16
        with ledger.claim("k"), ledger.claim("another"):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems lack the lock")
def test_a_claim_holds_against_other_processes_and_dies_with_its_own(path: Path) -> None:
    process = child("with ledger.claim('k'):\n    print('mine', flush=True)\n    time.sleep(60)", path)
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    with Ledger(path) as ledger, ThreadPoolExecutor(1) as pool:
        with ledger.claim("another"):
            got = threading.Event()

            def take() -> None:
                with ledger.claim("k"):
                    got.set()

            taken = pool.submit(take)
            assert not got.wait(0.3)
        os.kill(process.pid, signal.SIGKILL)
        taken.result(timeout=30)
    process.communicate()
