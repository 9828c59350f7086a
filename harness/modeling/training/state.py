"""Where a training is, and what it has logged: both outlive the process that trains."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.json_files import dump_line, iter_json_lines, write_jsonl


@dataclass
class Interval:
    """Sums since the last line of the log; `started` is the time trained until then, in seconds."""

    loss_sum: float = 0.0
    targets: int = 0
    tokens: int = 0
    started: float = 0.0

    def add(self, loss: float, tokens: int, targets: int) -> None:
        """Count a step by its mean loss over `targets`, in nats."""
        self.loss_sum += loss * targets
        self.tokens += tokens
        self.targets += targets

    def line(
        self, step: int, epoch: float, learning_rate: float, grad_norm: float | None, seconds: float
    ) -> dict[str, Any]:
        """The entries of the log's line at the end; `seconds` were trained until then."""
        return {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": self.loss_sum / self.targets,
            "learning_rate": learning_rate,
            "grad_norm": grad_norm,
            "tokens_per_second": self.tokens / (seconds - self.started),
            "seconds": seconds,
        }


@dataclass
class LoopState:
    """Where the loop is; goes into a checkpoint as JSON. `train_loss` is that of the last line logged.

    `micro_batch_size` is lower than asked for where memory ran out. `validations_without_improvement` counts
    those in a row, `skipped_steps` the steps whose gradient overflowed under `loss_scale`, the state of
    float16's loss scale, and `rows_cut` the rows of all steps that `padding_quantile` made shorter.
    """

    step: int = 0
    tokens_seen: int = 0
    tokens_supervised: int = 0
    interval: Interval = field(default_factory=Interval)
    train_loss: float | None = None
    best_step: int | None = None
    best_validation_loss: float | None = None
    validations_without_improvement: int = 0
    skipped_steps: int = 0
    rows_cut: int = 0
    micro_batch_size: int | None = None
    loss_scale: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0
    energy_joules: float | None = None

    def count(self, loss: float, lengths: Sequence[int], targets: int) -> None:
        """Count a step by its mean loss, the tokens of its rows or parts of rows, and its targets."""
        self.step += 1
        self.tokens_seen += sum(lengths)
        self.tokens_supervised += targets
        self.interval.add(loss, sum(lengths), targets)

    def training_line(
        self, epoch: float, learning_rate: float, grad_norm: float | None, seconds: float
    ) -> dict[str, Any]:
        """The entries of the line that is due now; a new interval begins."""
        line = self.interval.line(self.step, epoch, learning_rate, grad_norm, seconds)
        self.train_loss, self.interval = line["loss"], Interval(started=seconds)
        return line

    def warn_of_losses(self) -> None:
        """Say at the end what `padding_quantile` cut and what float16 skipped, if anything."""
        if self.rows_cut:
            warnings.warn(f"padding_quantile cut {self.rows_cut} rows, over all steps", stacklevel=2)
        if self.skipped_steps:
            overflow = "their gradient overflowed float16 until the loss scale had been lowered"
            warnings.warn(f"{self.skipped_steps} of {self.step} steps were skipped: {overflow}", stacklevel=2)

    def note_validation(self, loss: float, threshold: float) -> bool:
        """Take a validation loss into account; whether it is the lowest so far.

        As in transformers' EarlyStoppingCallback, one that is lower by no more than `threshold` is the best
        from now on, and still no improvement.
        """
        best = self.best_validation_loss
        improved = best is None or best - loss > threshold
        self.validations_without_improvement = 0 if improved else self.validations_without_improvement + 1
        if best is not None and not loss < best:
            return False
        self.best_step, self.best_validation_loss = self.step, loss
        return True


@dataclass(frozen=True)
class Finished:
    """What the outcome is told of a training that is over, where another engine did it."""

    state: LoopState
    epochs: float
    optimizer_dtype: str


class TrainingLog:
    """One JSON object a line, each flushed at once: `type` is `train` or `validation`.

    A `silent` one is that of a process beside the first.
    """

    def __init__(self, path: Path, *, silent: bool = False) -> None:
        self._path, self._silent = path, silent

    def cut_after(self, step: int) -> None:
        """Remove the lines behind `step`, and a torn last one: those steps are about to be done again."""
        if self._path.exists() and not self._silent:
            kept = [line for line in iter_json_lines(self._path, torn_tail=True) if line["step"] <= step]
            write_jsonl(self._path, kept)

    def append(self, kind: str, **entry: Any) -> None:
        """Add a line."""
        if self._silent:
            return
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(dump_line({"type": kind, **entry}))
