"""Work in threads: what ends it, and that nothing which was begun is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from harness.concurrently import concurrently
from harness.stopping import STOPPED

MANY = 100_000


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def fail() -> None:
    raise ValueError("no")


def test_all_results_arrive() -> None:
    assert sorted(concurrently(lambda n: n * n, range(20), 3, name="t")) == [n * n for n in range(20)]


@pytest.mark.parametrize(("end", "kind"), [(stop, SystemExit), (fail, ValueError)])
@pytest.mark.parametrize("workers", [1, 4])
def test_what_ends_it_leaves_what_was_begun(
    end: Callable[[], None], kind: type[BaseException], workers: int
) -> None:
    done: list[int] = []

    def work(item: int) -> int:
        if item == 10:
            end()
        done.append(item)
        return item

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(kind) as caught:
        list(concurrently(work, range(MANY), workers, name="t"))
    assert not isinstance(caught.value, SystemExit) or caught.value.code == STOPPED
    assert len(done) < MANY
    assert signal.getsignal(signal.SIGTERM) == before


def test_results_that_arrive_before_the_end_are_handed_on() -> None:
    results: list[int] = []

    def work(item: int) -> int:
        if item == 10:
            stop()
        return item

    def collect() -> None:
        for result in concurrently(work, range(MANY), 4, name="t"):
            results.append(result)  # noqa: PERF402 - kept although the end of it raises

    with pytest.raises(SystemExit):
        collect()
    assert set(range(11)) <= set(results)
