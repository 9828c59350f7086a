"""Calls that may never return are left waiting, and what a library writes to the terminal is heard."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.2


class DeadlinePassedError(Exception):
    """A call has not returned in time; it still goes on in its thread."""


def within(seconds: float, call: Callable[[], T]) -> T:
    """What `call` returns or raises, made in a thread, so that Ctrl-C is heard at once and a deadline is one.

    A timeout of a request does not do: it begins anew with every byte.
    """
    done = threading.Event()
    returned: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            returned.append(call())
        except BaseException as error:  # whatever it is, it is raised where it was called
            raised.append(error)
        finally:
            done.set()

    threading.Thread(target=run, daemon=True).start()
    waited = 0.0
    while not done.wait(min(_POLL_SECONDS, max(seconds - waited, 0.0))):
        waited += _POLL_SECONDS
        if waited >= seconds:
            raise DeadlinePassedError
    if raised:
        raise raised[0]
    return returned[0]


@contextmanager
def heard(tell: Callable[[str], None], library: str) -> Iterator[None]:
    """What a library warns of in the block is told in place of being written to the terminal by itself."""
    logger = logging.getLogger(library)
    before, propagate = logger.handlers[:], logger.propagate
    logger.handlers, logger.propagate = [_Telling(tell)], False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            for of_developers in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning):
                warnings.simplefilter("ignore", of_developers)
            warnings.showwarning = lambda message, *_, **__: tell(str(message))
            yield
    finally:
        logger.handlers, logger.propagate = before, propagate


@contextmanager
def without_bars() -> Iterator[None]:
    """huggingface_hub draws progress bars in the block on a terminal alone, unless its setting wants them."""
    from huggingface_hub import constants, utils

    hub: Any = utils

    off = constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not sys.stderr.isatty()
    if not off or hub.are_progress_bars_disabled():
        yield
        return
    hub.disable_progress_bars()
    try:
        yield
    finally:
        hub.enable_progress_bars()


class _Telling(logging.Handler):
    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())
