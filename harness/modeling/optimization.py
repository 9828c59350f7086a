"""One optimizer step: gradient of a window, clipping, learning rate, update."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from harness.modeling.losses import accumulate_gradients
from harness.modeling.optimizers import create_optimizer, state_dtype
from harness.modeling.sampling_order import Indices, micro_batches
from harness.modeling.schedules import learning_rate_factor
from harness.modeling.training_failures import require_finite
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.training_setup import TrainingSetup


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step was: mean loss in nats per target, gradient norm before clipping, learning rate used."""

    loss: float
    gradient_norm: float
    learning_rate: float


class Optimization:
    """The optimizer with its schedule over the trainable weights of `setup.model`."""

    def __init__(self, setup: TrainingSetup, settings: TrainingSettings, total_steps: int) -> None:
        self._setup, self._settings = setup, settings
        self.optimizer = create_optimizer(setup.model, settings)
        self._trainable = [p for p in setup.model.parameters() if p.requires_grad]
        self._factor = learning_rate_factor(
            settings.lr_scheduler_type,
            warmup_steps=settings.warmup_length(total_steps),
            total_steps=total_steps,
        )

    @property
    def state_dtype(self) -> str:
        """The dtype of the optimizer's moments."""
        return state_dtype(self.optimizer)

    def step(self, steps_done: int, window: Indices) -> StepReport:
        """Update the weights once. Raises TrainingDiverged, with the weights as they were."""
        rows = self._setup.train
        loss = accumulate_gradients(
            self._setup.model,
            [rows.take(part) for part in micro_batches(window, self._settings.per_device_train_batch_size)],
            pad_id=self._setup.pad_id,
            device=self._setup.device,
            compute_dtype=self._setup.compute_dtype,
        )
        # As in TrainingArguments, 0 turns clipping off; the norm is measured all the same.
        limit = self._settings.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self._trainable, limit)
        # The one place in a step that waits for the device: a bad gradient must not reach the weights.
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        ids = [row.example_id for row in rows.take(window)]
        require_finite(steps_done + 1, "loss", loss_value, ids)
        require_finite(steps_done + 1, "gradient norm", norm_value, ids)
        learning_rate = float(self._settings.learning_rate or 0.0) * self._factor(steps_done)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(loss_value, norm_value, learning_rate)
