"""What the trainer's steps come to: the log, the counts, validation, the best weights, checkpoints.

checkpoints/checkpoint-120/        what Trainer goes on from; its tensors are read with weights_only=True
checkpoints/checkpoint-120/harness.json   ours, written last: without it the checkpoint does not count
checkpoints/best-00000100.safetensors
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.json_files import read_json, write_json
from harness.modeling.failures import require_finite
from harness.modeling.training.checkpoints import Checkpoints
from harness.modeling.training.loop import (
    CHECKPOINTS,
    MOST_TIME_FOR_CHECKPOINTS,
    SECONDS_BETWEEN_CHECKPOINTS,
)
from harness.modeling.training.metering import Meter
from harness.modeling.training.sampling_order import Indices
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training.state import LoopState, TrainingLog
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training.validation_schedule import ValidationSchedule
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.trl_training.rows import TrainerRows
from harness.protocols import TrainJob
from harness.records import from_json, to_json
from harness.stopping import STOPPED

MARK = "harness.json"


class Journal:
    """Told of each step that the trainer did; `windows` gives the steps of an epoch as indices of rows.

    Raises TrainingDiverged, OutOfMemory in validation, and SystemExit after a SIGTERM, once a checkpoint
    is written.
    """

    def __init__(
        self,
        job: TrainJob,
        settings: TrainingSettings,
        setup: TrainingSetup,
        rows: TrainerRows,
        meter: Meter,
        windows: Callable[[int], list[Indices]],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._job, self._settings, self._setup, self._rows = job, settings, setup, rows
        self._meter, self._windows, self._stop_requested = meter, windows, stop_requested
        self.steps_per_epoch = len(windows(0))
        self.total_steps = settings.total_steps(len(rows.names))
        self._schedule = ValidationSchedule(settings, self.steps_per_epoch, self.total_steps)
        self._validator = Validator(setup, job.prompting, job.generation, settings.per_device_eval_batch_size)
        self.folder = job.out / CHECKPOINTS
        self._best = Checkpoints(self.folder)
        self._log = TrainingLog(job.out / "log.jsonl", silent=not setup.processes.first)
        self._pause = SECONDS_BETWEEN_CHECKPOINTS
        self._saved_at = self._clock = time.monotonic()
        self._last: Mapping[str, float] = {}
        self.state = LoopState()

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.state.step / self.steps_per_epoch

    def epoch_of(self, steps_done: int) -> int:
        """The epoch that the next step is in."""
        return steps_done // self.steps_per_epoch

    def resume(self) -> Path | None:
        """The newest whole checkpoint of an earlier attempt, whose counts are taken over; None: start."""
        whole = [path for path in self.folder.glob("checkpoint-*") if (path / MARK).exists()]
        newest = max(whole, key=_step_of, default=None)
        if newest is not None:
            self.state = state = from_json(LoopState, read_json(newest / MARK))
            self._meter.carry_on(state.seconds, state.peak_memory_bytes, state.energy_joules)
        # Without a checkpoint all is done again, the validation before the first step too.
        self._log.cut_after(-1 if newest is None else self.state.step)
        return newest

    def begin(self) -> None:
        """Everything is in place; time from here on is that of training."""
        self.clock("load")
        if self._settings.eval_on_start and self._setup.validation is not None and self.state.step == 0:
            self.validate()

    def clock(self, phase: str) -> None:
        """Give the time since the last call to a phase."""
        now = time.monotonic()
        self._meter.seconds[phase] += now - self._clock
        self._clock = now

    def step_done(self, step: int, report: Mapping[str, float], *, skipped: bool) -> None:
        """Count a step by its `loss`, `grad_norm` and `learning_rate`, and log it where a line is due.

        One that was `skipped`, for its gradient overflowed under a loss scale, has no finite norm.
        """
        window = self._windows(self.epoch_of(step - 1))[(step - 1) % self.steps_per_epoch]
        names = [self._rows.names[index] for index in window]
        require_finite(step, "loss", report["loss"], names)
        if not skipped:
            require_finite(step, "gradient norm", report["grad_norm"], names)
        self._count(window, report["loss"])
        self.state.skipped_steps += skipped
        self._last = report
        if step % self._settings.logging_interval(self.total_steps) == 0 or step == self.total_steps:
            self._write_log()
        speed = self.state.tokens_seen / self._meter.seconds["train"]
        self._job.progress(step, self.total_steps, f"loss {report['loss']:.3f}, {speed:,.0f} tokens/s")

    def _count(self, window: Indices, loss: float) -> None:
        lengths = [part for index in window for part in self._rows.parts[index]]
        targets = sum(self._rows.targets[index] for index in window)
        self.state.count(loss, lengths, targets)
        self._meter.count_step(lengths, targets)

    def _write_log(self) -> None:
        seconds, last = self._meter.seconds["train"], self._last
        line = self.state.training_line(self.epochs, last["learning_rate"], last["grad_norm"], seconds)
        self._log.append("train", **line)

    def validation_is_due(self, step: int) -> bool:
        """Whether to validate after this step."""
        return self._setup.validation is not None and self._schedule.is_due(step)

    @property
    def is_over(self) -> bool:
        """Whether no more steps are wanted: all are done, or validation has stopped improving."""
        return self._schedule.is_over(self.state)

    def validate(self) -> None:
        """Validate, log it, and keep the weights if they are the best so far."""
        state = self.state
        line = self._validator.line(state.step, self.epochs)
        self._log.append("validation", **line)
        self.clock("validate")
        # Before the first step nothing is trained yet: as in transformers, that cannot be the best.
        best = state.step > 0 and state.note_validation(line["loss"], self._settings.early_stopping_threshold)
        if best and self._settings.load_best_model_at_end and state.step < self.total_steps:
            self._keep_weights(state.step)
            self.clock("save")

    def _keep_weights(self, step: int) -> None:
        if self._setup.processes.first:
            self._best.save_best(step, self._setup.model)

    def checkpoint_is_due(self, step: int) -> bool:
        """Whether to write a checkpoint after this step; the same in every process."""
        if self._settings.save_steps is not None:
            due = step % self._settings.save_steps == 0
        else:
            due = time.monotonic() - self._saved_at >= self._pause
        return self._anywhere(due or self._stop_requested())

    def checkpoint_written(self, step: int) -> None:
        """Trainer's part of a checkpoint is whole: add ours, which makes it count; delete the older ones."""
        began = self._clock
        stopped = self._anywhere(self._stop_requested())  # and every process has written its part
        self.clock("save")
        if self._setup.processes.first:
            self._mark(step)
        self.clock("save")
        self._saved_at = time.monotonic()
        self._pause = max(SECONDS_BETWEEN_CHECKPOINTS, (self._clock - began) / MOST_TIME_FOR_CHECKPOINTS)
        if stopped:
            raise SystemExit(STOPPED)

    def _anywhere(self, flag: bool) -> bool:
        return self._setup.processes.any(flag, self._setup.device)

    def _mark(self, step: int) -> None:
        self.state.peak_memory_bytes = self._meter.peak_memory_bytes()
        self.state.seconds = dict(self._meter.seconds)
        self.state.energy_joules = self._meter.energy_joules()
        newest = self.folder / f"checkpoint-{step}"
        write_json(newest / MARK, to_json(self.state))
        for path in self.folder.glob("checkpoint-*"):
            if path != newest:
                shutil.rmtree(path)

    def finish(self) -> None:
        """Log what is not logged yet, and put the best weights back where the settings ask for it."""
        if self.state.interval.targets:
            self._write_log()
        self.state.warn_of_losses()
        self._settle(self.state.best_step if self._settings.load_best_model_at_end else None)

    def _settle(self, best: int | None) -> None:
        """Let the model have the weights of the step `best`; None: those that it has."""
        if best not in (None, self.state.step) and self._setup.processes.first:
            self._best.restore_best(best, self._setup.model)

    def delete_checkpoints(self) -> None:
        """Remove them all."""
        self._best.delete()


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
