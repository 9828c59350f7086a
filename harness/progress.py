"""What a person sees while a suite runs: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol, Self

import click

from harness.format import seconds as duration
from harness.plan import Step
from harness.run import Listener, Status

QUIET = frozenset({"evaluate"})
"""Stages of a second or less, many of them: only their failures are worth a line."""
SECONDS_BETWEEN_LINES = 15.0


class Display(Listener, Protocol):
    """A listener to be used as a context manager."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def display(total: int) -> Display:
    """The display that suits standard error; `total` steps are to be done."""
    return Bars(total) if sys.stderr.isatty() else Lines(total)


def _end_line(step: Step, status: Status, seconds: float, message: str) -> str | None:
    """The line that stays on the screen when a step ended; None where none is due."""
    if status in ("cached", "skipped") or (status == "made" and step.stage in QUIET):
        return None
    if status == "failed":
        return f"{click.style('✗', fg='red')} {step.name}  {message}"
    return f"{click.style('✓', fg='green')} {step.name}  {duration(seconds)}"


class Lines:
    """One line when a step starts and ends, and one now and then between."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._spoke: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def started(self, step: Step) -> None:
        self._spoke[step.name] = time.monotonic()
        if step.stage not in QUIET:
            click.echo(f"[{self._done + 1}/{max(self._total, self._done + 1)}] {step.name}", err=True)

    def progressed(self, step: Step, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._spoke[step.name] >= SECONDS_BETWEEN_LINES:
            self._spoke[step.name] = now
            click.echo(f"  {step.name}: {done}/{total} {note}".rstrip(), err=True)

    def ended(self, step: Step, status: Status, seconds: float, message: str) -> None:
        self._done += status != "cached"
        line = _end_line(step, status, seconds, message)
        if line is not None:
            click.echo(line, err=True)


class Bars:
    """A bar for the whole run and one for each running step, with what is left of its time."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            Remaining(),
            TextColumn("{task.fields[note]}", markup=False),
            console=Console(stderr=True),
            transient=True,
        )
        self._whole = self._progress.add_task("steps", total=total, note="")
        self._tasks: dict[str, object] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def started(self, step: Step) -> None:
        self._tasks[step.name] = self._progress.add_task(step.name, total=None, note="")

    def progressed(self, step: Step, done: int, total: int, note: str) -> None:
        self._progress.update(self._tasks[step.name], completed=done, total=total, note=note)  # type: ignore[arg-type]

    def ended(self, step: Step, status: Status, seconds: float, message: str) -> None:
        task = self._tasks.pop(step.name, None)
        if task is not None:
            self._progress.remove_task(task)  # type: ignore[arg-type]
        if status != "cached":
            self._progress.advance(self._whole)
        line = _end_line(step, status, seconds, message)
        if line is not None:
            from rich.text import Text

            self._progress.console.print(Text.from_ansi(line))
