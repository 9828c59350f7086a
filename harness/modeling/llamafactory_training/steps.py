"""Which rows make up which optimizer step: decided here, and the command walks through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.modeling.training.sampling_order import Indices, epoch_windows, steps_per_epoch
from harness.modeling.training.setup import Rows
from harness.modeling.training.validation_schedule import ValidationSchedule
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob


@dataclass(frozen=True)
class Steps:
    """The rows of every step of a training, as indices of `rows`; steps are counted from 1."""

    rows: Rows
    windows: Sequence[Indices]
    per_epoch: int

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self.windows)

    def epoch(self, step: int) -> float:
        """Passes over the data after this step."""
        return step / self.per_epoch

    def tokens(self, step: int) -> int:
        """Tokens of a step's rows."""
        return sum(self.rows.lengths[index] for index in self.windows[step - 1])

    def targets(self, step: int) -> int:
        """Supervised tokens of a step's rows."""
        return sum(self.rows.targets[index] for index in self.windows[step - 1])

    def example_ids(self, step: int) -> list[str]:
        """The examples of a step."""
        return [row.example_id for row in self.rows.take(self.windows[step - 1])]


def plan_steps(job: TrainJob, settings: TrainingSettings, rows: Rows) -> Steps:
    """The steps that the torch backend would do, in its order. DataError where the rows make none."""
    per_epoch = steps_per_epoch(len(rows), settings, job.train.name)
    total = settings.total_steps(len(rows))
    windows: list[Indices] = []
    while len(windows) < total:
        windows += epoch_windows(
            rows.lengths,
            settings.effective_batch_size,
            strategy=settings.train_sampling_strategy,
            seed=job.seed,
            epoch=len(windows) // per_epoch,
            drop_last=settings.dataloader_drop_last,
        )
    return Steps(rows, windows[:total], per_epoch)


def validation_steps(settings: TrainingSettings, steps: Steps) -> list[int]:
    """The steps after which the torch backend would validate; 0 is before the first, the last is in."""
    schedule = ValidationSchedule(settings, steps.per_epoch, steps.total)
    first = [0] if settings.eval_on_start else []
    return first + [step for step in range(1, steps.total + 1) if schedule.is_due(step)]
