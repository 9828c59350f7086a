"""A training's log, line by line, to a tracker, while it is written.

What has been reported is written down beside the trackers' files, by the training's key: a training that is
resumed does some steps again, and its log has their lines again, but a tracker is told once. Each tracker has
a thread of its own, so that one that hangs holds up neither the training nor the others.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.errors import first_line
from harness.json_files import iter_json_lines, read_json, write_json
from harness.protocols import TrainOutcome
from harness.records import to_json
from harness.tracking.trackers import TRACKERS, TrackedRun, Tracker, flat

POLL_SECONDS = 1.0
PATIENCE_SECONDS, PATIENCE_SECONDS_STOPPED = 60.0, 5.0
"""How long a training that is finished, or that was stopped or failed, waits for its trackers."""
_CURVES = {
    "train": ("loss", "learning_rate", "grad_norm", "tokens_per_second", "epoch"),
    "validation": ("loss",),
}
_PREFIX = {"train": "train/", "validation": "eval/"}
"""As transformers' own callbacks call them."""


class Follower:
    """Reports a training to trackers from when it is entered until it is left.

    `key` is the training's, by which it is known again when it is resumed. Nothing here ever raises; what
    went wrong is in what `finish` returns.
    """

    def __init__(self, trackers: Sequence[str], run: TrackedRun, log: Path, key: str) -> None:
        states = run.folder / "state"
        self._threads = [_Reporting(name, run, log, states / f"{key}.{name}.json") for name in trackers]

    def __enter__(self) -> Follower:
        for thread in self._threads:
            thread.start()
        return self

    def finish(self, outcome: TrainOutcome) -> list[str]:
        """Report the last lines and the final figures, and say what could not be reported."""
        self._end(_figures(outcome), PATIENCE_SECONDS)
        return [f"{thread.tracker}: {thread.failure}" for thread in self._threads if thread.failure]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end(None, PATIENCE_SECONDS_STOPPED)

    def _end(self, figures: Mapping[str, float] | None, patience: float) -> None:
        for thread in self._threads:
            thread.end(figures)
        deadline = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))


class _Reporting(threading.Thread):
    """The thread that speaks to one tracker; a daemon, for a tracker that hangs must not hold up the end."""

    def __init__(self, tracker: str, run: TrackedRun, log: Path, state: Path) -> None:
        super().__init__(name=f"report to {tracker}", daemon=True)
        self.tracker = tracker
        self._run, self._log, self._state_file = run, log, state
        self._ended = threading.Event()
        self._figures: Mapping[str, float] | None = None
        self._state: dict[str, Any] = {"id": None, "train": 0, "validation": -1, "closed": False}
        self._error = ""

    @property
    def failure(self) -> str:
        """Why not everything is reported; empty where it is."""
        if self.is_alive():
            return f"did not take the last lines within {PATIENCE_SECONDS:.0f} s"
        return f"not all was reported: {self._error}" if self._error else ""

    def end(self, figures: Mapping[str, float] | None) -> None:
        """Let the thread report what is left and end; the first call counts."""
        if not self._ended.is_set():
            self._figures = figures
            self._ended.set()

    def run(self) -> None:
        try:
            self._report()
        except Exception as error:  # a tracker may raise whatever it likes: the training goes on
            self._error = f"{type(error).__name__}: {first_line(error)}"

    def _report(self) -> None:
        if self._state_file.exists():
            self._state |= read_json(self._state_file)
        if self._state["closed"]:
            return
        tracker = TRACKERS[self.tracker](self._run, self._state["id"])
        self._remember(id=tracker.id)
        seen = -1
        while True:
            ended = self._ended.wait(POLL_SECONDS)  # before the last look: nothing is written after it
            size = self._log.stat().st_size if self._log.exists() else -1
            if size != seen or ended:
                self._report_lines(tracker)
                seen = size
            if ended:
                break
        tracker.close(self._figures)
        self._remember(closed=self._figures is not None)

    def _report_lines(self, tracker: Tracker) -> None:
        for line in _lines(self._log):
            kind, step = line["type"], line["step"]
            if step > self._state[kind]:
                told = {_PREFIX[kind] + name: line[name] for name in _CURVES[kind] if _is_told(line, name)}
                tracker.log(step, told)
                self._remember(**{kind: step})

    def _remember(self, **news: Any) -> None:
        self._state |= news
        self._state_file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._state_file, self._state)


def _lines(log: Path) -> Iterator[Mapping[str, Any]]:
    if log.exists():
        yield from (line for line in iter_json_lines(log, torn_tail=True) if line["type"] in _CURVES)


def _is_told(line: Mapping[str, Any], name: str) -> bool:
    value = line.get(name)
    return value is not None and math.isfinite(value)


def _figures(outcome: TrainOutcome) -> dict[str, float]:
    """All numbers of an outcome, as `outcome/seconds.train`."""
    numbers = flat(to_json(outcome))
    return {f"outcome/{key}": value for key, value in numbers.items() if isinstance(value, int | float)}
