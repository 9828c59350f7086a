"""SFTTrainer, told what to train on and when; forward, loss, backward, optimizer and schedule stay TRL's.

What is ours is what makes its figures comparable: the order of the rows, the log, validation by our own
token-weighted loss, the best weights, and checkpoints that a killed training goes on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import PrinterCallback
from trl import SFTConfig, SFTTrainer

from harness.modeling import random_state
from harness.modeling.training.checkpoints import trainable_weights
from harness.modeling.training.sampling_order import Indices
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.trl_training.journal import Journal
from harness.modeling.trl_training.rows import TrainerRows


class Order(Sampler[int]):
    """The rows of one epoch in the order of the torch loop; `windows` gives the steps of an epoch."""

    def __init__(self, windows: Callable[[int], list[Indices]]) -> None:
        self._windows = windows
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        for window in self._windows(self.epoch):
            yield from window.tolist()

    def __len__(self) -> int:
        return sum(len(window) for window in self._windows(self.epoch))


class Trainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer over rows in a given order, which reports each step to a Journal."""

    # SFTTrainer.compute_loss divides by the targets of the whole window, whatever the model's forward takes.
    loss_is_scaled_for_ga = True

    def __init__(
        self, setup: TrainingSetup, rows: TrainerRows, config: SFTConfig, order: Order, journal: Journal
    ) -> None:
        self._order, self._journal = order, journal
        trained = {name: tensor.dtype for name, tensor in _trained(setup.model)}
        weights = trainable_weights(setup.model)
        drawn = random_state.capture()
        super().__init__(
            model=setup.model,
            args=config,
            train_dataset=rows.dataset,
            processing_class=setup.tokenizer,
            callbacks=[_Clockwork(order, journal)],
        )
        self.model_accepts_loss_kwargs = True  # so that those targets are counted for every architecture
        self.remove_callback(PrinterCallback)
        for name, parameter in _trained(setup.model):
            if parameter.dtype != trained[name]:
                # TRL rounds adapters of quantised models to bfloat16: not the recipe that was asked for.
                parameter.data = weights[name].to(parameter.device)
        # SFTTrainer has seeded anew; dropout shall draw what it draws in the torch loop.
        random_state.restore(*drawn)

    @property
    def stepped(self) -> torch.optim.Optimizer:
        """The optimizer that was made, without accelerate's wrapper."""
        optimizer: torch.optim.Optimizer = self.optimizer.optimizer
        return optimizer

    def close(self) -> None:
        """Let go of what training needed, after its last use."""

    def _send_telemetry(self) -> None:
        """A training tells nobody outside that it runs."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:  # noqa: ARG002
        return self._order

    def get_batch_samples(self, *arguments: Any) -> Any:
        """The batches of a step; the seed that a loader draws for its workers is not drawn from ours."""
        with torch.random.fork_rng(devices=[]):
            return super().get_batch_samples(*arguments)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called after every step, with its loss, gradient norm and learning rate; and once at the end."""
        super().log(logs, start_time)
        if "loss" in logs:
            skipped = self.accelerator.optimizer_step_was_skipped
            self._journal.step_done(self.state.global_step, logs, skipped=skipped)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Our own validation in place of the mean over batches that Trainer would take."""
        self.control.should_evaluate = False  # it would be due again at the end of an epoch
        self._journal.validate()
        if self._journal.is_over:
            self.control.should_training_stop = True
        return {}


class _Clockwork(TrainerCallback):  # type: ignore[misc]
    """Says when it is time to validate and to write a checkpoint, and keeps the phases' time apart."""

    def __init__(self, order: Order, journal: Journal) -> None:
        self._order, self._journal = order, journal

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._journal.begin()

    def on_epoch_begin(self, _args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self._order.epoch = self._journal.epoch_of(state.global_step)

    def on_step_end(self, _args: Any, state: TrainerState, control: TrainerControl, **__: Any) -> None:
        self._journal.clock("train")
        control.should_evaluate = self._journal.validation_is_due(state.global_step)
        control.should_save = self._journal.checkpoint_is_due(state.global_step)

    def on_save(self, _args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        self._journal.checkpoint_written(state.global_step)


def _trained(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
