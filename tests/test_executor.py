"""Workers are real processes: what they raise arrives, what kills them is named, none outlives its run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import DataError, StageError
from harness.executors.local import LocalExecutor
from harness.store import Store
from harness.worker import ERROR, Work, make


@pytest.fixture(scope="module")
def executor() -> Iterator[LocalExecutor]:
    executor = LocalExecutor()
    yield executor
    executor.shutdown()


def write(path: Path, text: str) -> None:
    path.write_text(text)


def bad_data() -> None:
    raise DataError("not JSON", where="data.jsonl:3", fix="mend the line")


def bug() -> None:
    raise ZeroDivisionError("division by zero")


def unpicklable() -> None:
    class OddError(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(lambda: a + b)

    raise OddError(1, 2)


def die(how: int) -> None:
    os.kill(os.getpid(), how)
    time.sleep(10)


def leave() -> None:
    os._exit(3)


def ignore_stopping(folder: Path) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write(folder / "ready", "")
    time.sleep(30)


def sleep_until_stopped(folder: Path) -> None:
    write(folder / "pid", str(os.getpid()))
    try:
        time.sleep(30)
    except BaseException:
        write(folder / "stopped", "cleanly")
        raise


def test_a_call_is_done_in_another_process(executor: LocalExecutor, tmp_path: Path) -> None:
    executor.submit(write, tmp_path / "out", "hello").result(timeout=60)
    assert (tmp_path / "out").read_text() == "hello"


@pytest.mark.parametrize(
    ("call", "arguments", "kind", "text"),
    [
        (bad_data, (), DataError, "data.jsonl:3: not JSON; mend the line"),
        (bug, (), StageError, "ZeroDivisionError: division by zero"),
        (unpicklable, (), StageError, "OddError: "),
        (die, (signal.SIGKILL,), StageError, "the worker was ended by SIGKILL (the system may have run"),
        (die, (signal.SIGSEGV,), StageError, "the worker was ended by SIGSEGV"),
        (leave, (), StageError, "the worker ended with exit code 3 and no word"),
    ],
)
def test_what_went_wrong_arrives(
    executor: LocalExecutor, call: object, arguments: tuple[object, ...], kind: type[Exception], text: str
) -> None:
    error = executor.submit(call, *arguments).exception(timeout=60)  # type: ignore[arg-type]
    assert type(error) is kind
    assert str(error).startswith(text)


def test_a_dead_worker_takes_no_other_with_it(executor: LocalExecutor, tmp_path: Path) -> None:
    doomed = executor.submit(die, signal.SIGKILL)
    fine = executor.submit(write, tmp_path / "out", "still here")
    assert isinstance(doomed.exception(timeout=60), StageError)
    fine.result(timeout=60)
    assert (tmp_path / "out").read_text() == "still here"


def test_a_worker_that_does_not_stop_in_time_is_ended_and_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("harness.executors.local.GRACE_SECONDS", 0.3)
    executor = LocalExecutor()
    future = executor.submit(ignore_stopping, tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    executor.shutdown()
    assert executor.killed == 1
    with pytest.raises(StageError, match="the worker was ended by SIGKILL"):
        future.result(timeout=30)


def test_a_cause_that_utf_8_cannot_hold_is_kept(executor: LocalExecutor, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    work = Work("key", "none\ud800", {}, {})
    with pytest.raises(StageError, match="ModuleNotFoundError"):
        executor.submit(make, store, work, {}).result(timeout=60)
    assert "ModuleNotFoundError" in (store.partial("key") / ERROR).read_text(encoding="utf-8")


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\nsys.path.insert(0, sys.argv[1])\n"
        "from harness.executors.local import LocalExecutor\nimport test_executor\n"
        "if __name__ == '__main__':\n"
        "    LocalExecutor().submit(test_executor.sleep_until_stopped, pathlib.Path(sys.argv[2])).result()\n"
    )
    script = tmp_path / "parent.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script), str(Path(__file__).parent), str(tmp_path)])
    worker = int(wait_for(tmp_path / "pid"))
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 10
    while is_alive(worker):
        assert time.monotonic() < deadline, "the worker outlived its parent"
        time.sleep(0.05)


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.is_file() or not path.read_text():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.05)
    return path.read_text()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
