"""Each call in a clean process of its own, forked from a server that has the heavy imports done once.

A worker that is killed takes only its own call with it, and a worker whose parent is killed ends too:
an orphan would go on writing into a folder that the next run hands to somebody else.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from multiprocessing.connection import Connection, wait
from typing import Any

from harness.errors import InputError, StageError

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""Threads that wait for one another sleep: where cores are shared, spinning ones slow each other tenfold."""
PRELOAD = ["torch", "transformers", "harness.worker"]
GRACE_SECONDS = 20.0
"""How long a worker that is asked to stop may take to write its checkpoint, or to be answered."""


class LocalExecutor(Executor):
    """Runs each call in a fresh process on this machine."""

    def __init__(self) -> None:
        for name, value in WORKER_ENVIRONMENT.items():
            os.environ.setdefault(name, value)  # OpenMP reads them when torch is imported, in the fork server
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._processes: set[Any] = set()
        self.killed = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn` for its effect in a worker; what it returns stays there.

        The future raises what `fn` raised, or StageError if the worker died.
        """
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(sender, fn, args, kwargs))
        process.start()
        sender.close()
        self._processes.add(process)
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        threading.Thread(target=self._await, args=(process, receiver, future), daemon=True).start()
        return future

    def _await(self, process: Any, receiver: Connection, future: Future[Any]) -> None:
        try:
            error = receiver.recv()
        except (EOFError, OSError):
            process.join()
            error = StageError(_cause_of_death(process.exitcode))
        process.join()
        self._processes.discard(process)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Ask running workers to stop, give them time for what they began, then end them; it always waits.

        `killed` counts those that were ended.
        """
        running = list(self._processes)
        for process in running:
            process.terminate()
        end = time.monotonic() + GRACE_SECONDS
        for process in running:
            process.join(max(0.0, end - time.monotonic()))
            if process.is_alive():
                process.kill()
                self.killed += 1


def _work(sender: Connection, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        fn(*args, **kwargs)
    except (InputError, StageError) as error:
        sender.send(error)
    except BaseException as error:
        sender.send(StageError(f"{type(error).__name__}: {error}"))
        raise
    else:
        sender.send(None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _cause_of_death(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (the system may have run out of memory)" if -code == signal.SIGKILL else ""
        return f"the worker was ended by {name}{hint}"
    return f"the worker ended with exit code {code} and no word"
