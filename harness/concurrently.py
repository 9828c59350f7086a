"""Work in a few threads at a time, whose results are handed on as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from harness.stopping import STOPPED, stop_requests

T = TypeVar("T")
R = TypeVar("R")


def concurrently(work: Callable[[T], R], items: Iterable[T], workers: int, *, name: str) -> Iterator[R]:
    """Results as they arrive, with no more than `workers` items taken at any time; threads are called `name`.

    The first error ends it: no further item is taken, but what those in flight give is handed on before it
    is raised. So does a SIGTERM: SystemExit.
    """
    queue = iter(items)
    failure: BaseException | None = None
    with stop_requests() as stop_requested, ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        running: set[Future[R]] = {pool.submit(work, item) for item in islice(queue, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    yield future.result()
                failure = failure or error
            if stop_requested():
                failure = failure or SystemExit(STOPPED)
            if failure is None:
                running |= {pool.submit(work, item) for item in islice(queue, len(done))}
    if failure is not None:
        raise failure
