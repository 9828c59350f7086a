"""The training loop: which step is next, what is logged, when to validate and to write a checkpoint.

The state of the loop is a step number and a few sums. The order of the data and the learning rate are
functions of the step, so going on from a checkpoint is the same as never having stopped.
"""

from __future__ import annotations

import time
import warnings
from functools import lru_cache

from harness.modeling.failures import memory_errors_explained
from harness.modeling.training.augmentation import noisy_embeddings
from harness.modeling.training.checkpoints import Checkpoints
from harness.modeling.training.metering import Meter
from harness.modeling.training.optimization import Optimization, StepReport
from harness.modeling.training.sampling_order import Indices, epoch_windows, steps_per_epoch
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training.state import LoopState, TrainingLog
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training.validation_schedule import ValidationSchedule
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob
from harness.records import from_json, to_json
from harness.stopping import STOPPED, stop_requests

CHECKPOINTS = "checkpoints"
SECONDS_BETWEEN_CHECKPOINTS = 120.0
MOST_TIME_FOR_CHECKPOINTS = 0.05
_FIX_MEMORY = (
    "halve per_device_train_batch_size and double gradient_accumulation_steps (the gradient stays the "
    "same), or set activation_checkpointing: true"
)


class TrainingLoop:
    """Trains `setup.model` in place, going on from the newest checkpoint in `job.out`.

    Raises DataError where there are fewer rows than one step needs.
    """

    def __init__(self, job: TrainJob, settings: TrainingSettings, setup: TrainingSetup, meter: Meter) -> None:
        self._job, self._settings, self._setup, self._meter = job, settings, setup, meter
        self._steps_per_epoch = steps_per_epoch(len(setup.train), settings, job.train.name)
        self._total = settings.total_steps(len(setup.train))
        self._optimization = Optimization(setup, settings, self._total, job.seed)
        self._schedule = ValidationSchedule(settings, self._steps_per_epoch, self._total)
        self._validator = Validator(setup, job.prompting, job.generation, settings.per_device_eval_batch_size)
        self.checkpoints = Checkpoints(job.out / CHECKPOINTS)
        self._processes = setup.processes
        self._log = TrainingLog(job.out / "log.jsonl", silent=not self._processes.first)
        self._windows = lru_cache(maxsize=1)(self._windows_of_epoch)
        self._saved_at, self._pause = time.monotonic(), SECONDS_BETWEEN_CHECKPOINTS
        self.state = LoopState()

    @property
    def optimizer_dtype(self) -> str:
        """The dtype of the optimizer's moments."""
        return self._optimization.state_dtype

    @property
    def micro_batch_size(self) -> int:
        """Rows of one forward pass, in the end."""
        return self._optimization.micro_batch_size

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.state.step / self._steps_per_epoch

    def run(self) -> None:
        """Train until the schedule is over, and put the best weights back where the settings ask for it.

        Raises TrainingDiverged, OutOfMemory, and SystemExit after a SIGTERM, once the step is finished
        and a checkpoint written.
        """
        self._resume()
        model = self._setup.model
        model.train()
        validates = self._setup.validation is not None
        if self._settings.eval_on_start and validates and self.state.step == 0:
            self._validate()
        with stop_requests() as stop_requested, noisy_embeddings(model, self._settings.neftune_noise_alpha):
            while not self._schedule.is_over(self.state):
                report = self._step()
                if validates and self._schedule.is_due(self.state.step):
                    self._validate()
                if self.state.interval.targets and self._schedule.is_over(self.state):
                    self._write_log(report)
                if self._processes.any(stop_requested(), self._setup.device):
                    self._save_checkpoint()
                    self._processes.wait()  # whoever left before would have the launcher end them all
                    raise SystemExit(STOPPED)
                if self._checkpoint_is_due():
                    self._save_checkpoint()
        self.state.warn_of_losses()
        self._say_what_was_halved()
        best = self.state.best_step
        wanted = self._settings.load_best_model_at_end and self._processes.first
        if wanted and best is not None and best != self.state.step:
            self.checkpoints.restore_best(best, model)

    def _say_what_was_halved(self) -> None:
        asked, done = self._settings.per_device_train_batch_size, self._optimization.micro_batch_size
        if done < asked:
            what = f"memory ran out: micro batches of {done} rows instead of {asked}"
            warnings.warn(f"{what}; the effective batch is as asked for", stacklevel=2)

    def _resume(self) -> None:
        with self._meter.phase("load"):
            numbers = self.checkpoints.restore(self._setup.model, self._optimization.optimizer)
        if numbers is not None:
            self.state = from_json(LoopState, numbers)
            state = self.state
            self._meter.carry_on(state.seconds, state.peak_memory_bytes, state.energy_joules)
            self._optimization.restore_scaler(state.loss_scale)
            if state.micro_batch_size is not None:
                self._optimization.micro_batch_size = state.micro_batch_size
        # Without a checkpoint all is done again, the validation before the first step too.
        self._log.cut_after(-1 if numbers is None else self.state.step)

    def _windows_of_epoch(self, epoch: int) -> list[Indices]:
        return epoch_windows(
            self._setup.train.lengths,
            self._settings.effective_batch_size,
            strategy=self._settings.train_sampling_strategy,
            seed=self._job.seed,
            epoch=epoch,
            drop_last=self._settings.dataloader_drop_last,
        )

    def _step(self) -> StepReport:
        epoch, position = divmod(self.state.step, self._steps_per_epoch)
        window = self._windows(epoch)[position]
        place = f"step {self.state.step + 1}"
        with self._meter.phase("train"), memory_errors_explained(place, _FIX_MEMORY):
            report = self._optimization.step(self.state.step, window)
        self._count(report)
        if self.state.step % self._settings.logging_interval(self._total) == 0 or self._at_end:
            self._write_log(report)
        self._job.progress(self.state.step, self._total, self._note(report))
        return report

    def _count(self, report: StepReport) -> None:
        self.state.count(report.loss, report.lengths, report.targets)
        self.state.skipped_steps += report.gradient_norm is None
        self.state.rows_cut += report.rows_cut
        self._meter.count_step(report.lengths, report.targets)

    @property
    def _at_end(self) -> bool:
        return self.state.step == self._total

    def _write_log(self, report: StepReport) -> None:
        seconds = self._meter.seconds["train"]
        line = self.state.training_line(self.epochs, report.learning_rate, report.gradient_norm, seconds)
        self._log.append("train", **line)

    def _note(self, report: StepReport) -> str:
        loss = report.loss if self.state.train_loss is None else self.state.train_loss
        speed = self.state.tokens_seen / self._meter.seconds["train"]
        return f"loss {loss:.3f}, {speed:,.0f} tokens/s"

    def _validate(self) -> None:
        state = self.state
        with self._meter.phase("validate"):
            line = self._validator.line(state.step, self.epochs)
        self._log.append("validation", **line)
        # Before the first step nothing is trained yet: as in transformers, that cannot be the best.
        best = state.step > 0 and state.note_validation(line["loss"], self._settings.early_stopping_threshold)
        keeps = self._settings.load_best_model_at_end and self._processes.first
        if best and keeps and not self._at_end:
            with self._meter.phase("save"):
                self.checkpoints.save_best(state.step, self._setup.model)

    def _checkpoint_is_due(self) -> bool:
        if self._settings.save_steps is not None:
            return self.state.step % self._settings.save_steps == 0
        return time.monotonic() - self._saved_at >= self._pause

    def _save_checkpoint(self) -> None:
        if not self._processes.first:
            return
        self.state.peak_memory_bytes = self._meter.peak_memory_bytes()
        self.state.energy_joules = self._meter.energy_joules()
        self.state.seconds = dict(self._meter.seconds)
        self.state.loss_scale = self._optimization.scaler_state()
        self.state.micro_batch_size = self._optimization.micro_batch_size
        started = time.monotonic()
        with self._meter.phase("save"):
            self.checkpoints.save(
                self.state.step, self._setup.model, self._optimization.optimizer, to_json(self.state)
            )
        self._saved_at = time.monotonic()
        # Weights and moments of a large model take a while to write: then save less often.
        self._pause = max(SECONDS_BETWEEN_CHECKPOINTS, (self._saved_at - started) / MOST_TIME_FOR_CHECKPOINTS)
