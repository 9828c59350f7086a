"""The training loop: which step is next, what is logged, when to validate and to write a checkpoint.

The state of the loop is a step number and a few sums. The order of the data and the learning rate are
functions of the step, so going on from a checkpoint is the same as never having stopped.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import DataError
from harness.modeling.failures import memory_errors_explained, require_finite, stop_requests
from harness.modeling.training.checkpoints import Checkpoints
from harness.modeling.training.metering import Meter
from harness.modeling.training.optimization import Optimization, StepReport
from harness.modeling.training.sampling_order import Indices, epoch_windows
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob
from harness.records import dump_line, from_json, iter_json_lines, to_json, write_jsonl

CHECKPOINTS = "checkpoints"
SECONDS_BETWEEN_CHECKPOINTS = 120.0
MOST_TIME_FOR_CHECKPOINTS = 0.05
STOPPED = 128 + signal.SIGTERM
_FIX_MEMORY = (
    "halve per_device_train_batch_size and double gradient_accumulation_steps (the gradient stays the "
    "same), or set activation_checkpointing: true"
)


@dataclass
class Interval:
    """Sums since the last line of the log; `started` is the time trained until then, in seconds."""

    loss_sum: float = 0.0
    targets: int = 0
    tokens: int = 0
    started: float = 0.0


@dataclass
class LoopState:
    """Where the loop is; goes into a checkpoint as JSON. `train_loss` is that of the last line logged."""

    step: int = 0
    tokens_seen: int = 0
    tokens_supervised: int = 0
    interval: Interval = field(default_factory=Interval)
    train_loss: float | None = None
    best_step: int | None = None
    best_validation_loss: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_bytes: int = 0


class TrainingLog:
    """One JSON object a line, each flushed at once: `type` is `train` or `validation`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cut_after(self, step: int) -> None:
        """Remove the lines behind `step`, and a torn last one: those steps are about to be done again."""
        if self._path.exists():
            kept = [line for line in iter_json_lines(self._path, torn_tail=True) if line["step"] <= step]
            write_jsonl(self._path, kept)

    def append(self, kind: str, **entry: Any) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(dump_line({"type": kind, **entry}))


class TrainingLoop:
    """Trains `setup.model` in place, going on from the newest checkpoint in `job.out`.

    Raises DataError where there are fewer rows than one step needs.
    """

    def __init__(self, job: TrainJob, settings: TrainingSettings, setup: TrainingSetup, meter: Meter) -> None:
        self._job, self._settings, self._setup, self._meter = job, settings, setup, meter
        self._steps_per_epoch = _steps_per_epoch(job, settings, setup)
        self._total = settings.total_steps(len(setup.train))
        self._optimization = Optimization(setup, settings, self._total)
        self._validator = Validator(setup, job.prompting, job.generation, settings.per_device_eval_batch_size)
        self.checkpoints = Checkpoints(job.out / CHECKPOINTS)
        self._log = TrainingLog(job.out / "log.jsonl")
        self._windows = lru_cache(maxsize=1)(self._windows_of_epoch)
        self._saved_at, self._pause = time.monotonic(), SECONDS_BETWEEN_CHECKPOINTS
        self.state = LoopState()

    @property
    def optimizer_dtype(self) -> str:
        """The dtype of the optimizer's moments."""
        return self._optimization.state_dtype

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.state.step / self._steps_per_epoch

    def run(self) -> None:
        """Train to the end, and put the best weights back where the settings ask for it.

        Raises TrainingDiverged, OutOfMemory, and SystemExit after a SIGTERM, once the step is finished
        and a checkpoint written.
        """
        self._resume()
        self._setup.model.train()
        with stop_requests() as stop_requested:
            while self.state.step < self._total:
                self._step()
                if self._validation_is_due():
                    self._validate()
                if stop_requested():
                    self._save_checkpoint()
                    raise SystemExit(STOPPED)
                if self._checkpoint_is_due():
                    self._save_checkpoint()
        best = self.state.best_step
        if self._settings.load_best_model_at_end and best is not None and best != self._total:
            self.checkpoints.restore_best(best, self._setup.model)

    def _resume(self) -> None:
        with self._meter.phase("load"):
            numbers = self.checkpoints.restore(self._setup.model, self._optimization.optimizer)
        if numbers is not None:
            self.state = from_json(LoopState, numbers)
            self._meter.carry_on(self.state.seconds, self.state.peak_memory_bytes)
        self._log.cut_after(self.state.step)

    def _windows_of_epoch(self, epoch: int) -> list[Indices]:
        return epoch_windows(
            self._setup.train.lengths,
            self._settings.effective_batch_size,
            strategy=self._settings.train_sampling_strategy,
            seed=self._job.seed,
            epoch=epoch,
            drop_last=self._settings.dataloader_drop_last,
        )

    def _step(self) -> None:
        epoch, position = divmod(self.state.step, self._steps_per_epoch)
        window = self._windows(epoch)[position]
        place = f"step {self.state.step + 1}"
        with self._meter.phase("train"), memory_errors_explained(place, _FIX_MEMORY):
            report = self._optimization.step(self.state.step, window)
        self._count(window, report)
        if self.state.step % self._settings.logging_interval(self._total) == 0 or self._at_end:
            self._write_log(report)
        self._job.progress(self.state.step, self._total, self._note(report))

    def _count(self, window: Indices, report: StepReport) -> None:
        state, rows = self.state, self._setup.train
        tokens = sum(rows.lengths[index] for index in window)
        targets = sum(rows.targets[index] for index in window)
        state.step += 1
        state.tokens_seen += tokens
        state.tokens_supervised += targets
        state.interval.tokens += tokens
        state.interval.targets += targets
        state.interval.loss_sum += report.loss * targets

    @property
    def _at_end(self) -> bool:
        return self.state.step == self._total

    def _write_log(self, report: StepReport) -> None:
        state, interval = self.state, self.state.interval
        seconds = self._meter.seconds["train"]
        state.train_loss = interval.loss_sum / interval.targets
        self._log.append(
            "train",
            step=state.step,
            epoch=round(self.epochs, 4),
            loss=state.train_loss,
            learning_rate=report.learning_rate,
            grad_norm=report.gradient_norm,
            tokens_per_second=interval.tokens / (seconds - interval.started),
            seconds=seconds,
        )
        state.interval = Interval(started=seconds)

    def _note(self, report: StepReport) -> str:
        loss = report.loss if self.state.train_loss is None else self.state.train_loss
        speed = self.state.tokens_seen / self._meter.seconds["train"]
        return f"loss {loss:.3f}, {speed:,.0f} tokens/s"

    def _validation_is_due(self) -> bool:
        if self._setup.validation is None:
            return False
        if self._settings.eval_strategy == "steps":
            interval = self._settings.evaluation_interval(self._total)
        else:
            interval = self._steps_per_epoch
        return self.state.step % interval == 0 or self._at_end

    def _validate(self) -> None:
        state = self.state
        place, fix = f"validation at step {state.step}", "lower per_device_eval_batch_size"
        with self._meter.phase("validate"), memory_errors_explained(place, fix):
            loss, targets = self._validator.loss()
            require_finite(state.step, "validation loss", loss)
            answers = self._validator.answers()
        self._log.append(
            "validation",
            step=state.step,
            epoch=round(self.epochs, 4),
            loss=loss,
            tokens=targets,
            samples=answers,
        )
        if state.best_validation_loss is None or loss < state.best_validation_loss:
            state.best_step, state.best_validation_loss = state.step, loss
            if self._settings.load_best_model_at_end and not self._at_end:
                with self._meter.phase("save"):
                    self.checkpoints.save_best(state.step, self._setup.model)

    def _checkpoint_is_due(self) -> bool:
        if self._settings.save_steps is not None:
            return self.state.step % self._settings.save_steps == 0
        return time.monotonic() - self._saved_at >= self._pause

    def _save_checkpoint(self) -> None:
        self.state.peak_memory_bytes = self._meter.peak_memory_bytes()
        self.state.seconds = dict(self._meter.seconds)
        started = time.monotonic()
        with self._meter.phase("save"):
            self.checkpoints.save(
                self.state.step, self._setup.model, self._optimization.optimizer, to_json(self.state)
            )
        self._saved_at = time.monotonic()
        # Weights and moments of a large model take a while to write: then save less often.
        self._pause = max(SECONDS_BETWEEN_CHECKPOINTS, (self._saved_at - started) / MOST_TIME_FOR_CHECKPOINTS)


def _steps_per_epoch(job: TrainJob, settings: TrainingSettings, setup: TrainingSetup) -> int:
    rows = len(setup.train)
    steps = settings.steps_per_epoch(rows)
    if steps == 0:
        batch = settings.effective_batch_size
        fix = (
            f"set dataloader_drop_last: false, or a batch smaller than {batch}"
            if rows
            else "raise max_length"
        )
        raise DataError(f"{rows} usable training rows make no step", where=job.train.name, fix=fix)
    return steps
