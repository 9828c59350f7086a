"""One optimizer step: the rows it takes, their gradient, clipping, loss scale and learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from harness.errors import TrainingDiverged
from harness.modeling.batching import collate
from harness.modeling.devices import autocast, release_memory
from harness.modeling.failures import is_out_of_memory, require_finite
from harness.modeling.likelihood import token_losses
from harness.modeling.random_state import seed_everything
from harness.modeling.supervision import Encoded
from harness.modeling.training.augmentation import TokenMasking, cut_to_quantile
from harness.modeling.training.optimizers import create_optimizer, state_dtype
from harness.modeling.training.sampling_order import Indices
from harness.modeling.training.schedules import learning_rate_factor
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training_settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step was: mean loss in nats per target, and what it took.

    The gradient's norm is that before clipping; None where the step was skipped because the gradient
    overflowed under its loss scale. `lengths` are the tokens of each row, or part of a packed row, and
    `targets` the supervised ones, as they were given to the model; `rows_cut` counts the rows that
    `padding_quantile` made shorter.
    """

    loss: float
    gradient_norm: float | None
    learning_rate: float
    lengths: Sequence[int]
    targets: int
    rows_cut: int = 0


class Optimization:
    """The optimizer with its schedule over the trainable weights of `setup.model`.

    `micro_batch_size` is the rows of one forward pass; it is halved where memory runs out, which leaves the
    step as it was.
    """

    def __init__(
        self, setup: TrainingSetup, settings: TrainingSettings, total_steps: int, seed: int = 0
    ) -> None:
        self._setup, self._settings, self._seed = setup, settings, seed
        self.micro_batch_size = settings.per_device_train_batch_size
        self.optimizer = create_optimizer(setup.model, settings)
        self._trainable = [p for p in setup.model.parameters() if p.requires_grad]
        self._factor = learning_rate_factor(
            settings.lr_scheduler_type,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_length(total_steps, settings.steps_per_epoch(len(setup.train))),
            total_steps=total_steps,
            arguments=settings.lr_scheduler_kwargs,
        )
        self._masking = (
            TokenMasking(settings.token_mask_probability, setup.tokenizer, seed)
            if settings.token_mask_probability
            else None
        )
        # float16 has no room for small gradients: the loss is multiplied by a scale that is found on the way.
        self._scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.compute_dtype == torch.float16)

    @property
    def state_dtype(self) -> str:
        """The dtype of the optimizer's moments."""
        return state_dtype(self.optimizer)

    @property
    def loss_scale(self) -> float:
        """What the loss is multiplied by before the backward pass; 1 but in float16."""
        return self._scaler.get_scale()

    def scaler_state(self) -> dict[str, float]:
        """The loss scale and its counters, as JSON values; empty where there is none."""
        return dict(self._scaler.state_dict())

    def restore_scaler(self, state: Mapping[str, float]) -> None:
        """Put the loss scale back to what `scaler_state` returned."""
        if state:
            self._scaler.load_state_dict(dict(state))

    def step(self, steps_done: int, window: Indices) -> StepReport:
        """Update the weights once. Raises TrainingDiverged, with the weights as they were."""
        rows = self._rows(steps_done, window)
        self._draw_apart(steps_done)
        loss = self._setup.processes.sum(self._gradients(rows))
        self._setup.processes.sum_gradients(self._trainable)
        self._scaler.unscale_(self.optimizer)
        # As in TrainingArguments, 0 turns clipping off; the norm is measured all the same.
        limit = self._settings.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self._trainable, limit)
        # The one place in a step that waits for the device: a bad gradient must not reach the weights.
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        ids = [row.example_id for row in rows]
        require_finite(steps_done + 1, "loss", loss_value, ids)
        overflowed = self._scaler.is_enabled() and not math.isfinite(norm_value)
        if not overflowed:
            require_finite(steps_done + 1, "gradient norm", norm_value, ids)
        learning_rate = self._settings.learning_rate * self._factor(steps_done)
        if overflowed:
            self._require_scale_left(steps_done + 1, ids)
        else:
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.step()
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(
            loss_value,
            None if overflowed else norm_value,
            learning_rate,
            lengths=[part for row in rows for part in row.segments or (len(row.input_ids),)],
            targets=sum(sum(row.supervised) for row in rows),
            rows_cut=sum(
                len(row.input_ids) < self._setup.train.lengths[i] for row, i in zip(rows, window, strict=True)
            ),
        )

    def _gradients(self, rows: Sequence[Encoded]) -> torch.Tensor:
        """This process's share of a step: its gradients are in place, its part of the mean loss is returned.

        Where memory runs out it is done again in micro batches half as large, down to a single row.
        """
        while True:
            size = self.micro_batch_size
            parts = [rows[start : start + size] for start in range(0, len(rows), size)]
            try:
                return accumulate_gradients(
                    self._setup.model,
                    self._setup.processes.share(parts),
                    targets=sum(sum(row.supervised) for row in rows),
                    pad_id=self._setup.pad_id,
                    device=self._setup.device,
                    compute_dtype=self._setup.compute_dtype,
                    scaler=self._scaler,
                )
            except (MemoryError, RuntimeError) as error:
                # Several processes would no longer cut a step alike.
                if not is_out_of_memory(error) or size == 1 or self._setup.processes.count > 1:
                    raise
            # Only here, behind the error, are the tensors of its frames free.
            self.optimizer.zero_grad(set_to_none=True)
            release_memory()
            self.micro_batch_size = size // 2

    def _draw_apart(self, steps_done: int) -> None:
        """Let processes draw differently (dropout, noise), and the same again after a resume."""
        processes = self._setup.processes
        if processes.count > 1:
            drawn = np.random.SeedSequence((self._seed, steps_done, processes.rank)).generate_state(1)
            seed_everything(int(drawn[0]))

    def _rows(self, steps_done: int, window: Indices) -> list[Encoded]:
        rows = self._setup.train.take(window)
        if self._settings.padding_quantile < 1:
            rows = cut_to_quantile(rows, self._settings.padding_quantile, self._setup.tokenizer.bos_token_id)
        return rows if self._masking is None else self._masking(steps_done, rows)

    def _require_scale_left(self, step: int, example_ids: Sequence[str]) -> None:
        if self.loss_scale < 1:
            named = ", ".join(example_ids)
            what = f"step {step}: the gradient overflows float16 at every loss scale; examples: {named}"
            raise TrainingDiverged(f"{what}; set bf16: true in place of fp16, or lower learning_rate")


def accumulate_gradients(
    model: nn.Module,
    parts: Sequence[Sequence[Encoded]],
    *,
    targets: int,
    pad_id: int,
    device: torch.device,
    compute_dtype: torch.dtype,
    scaler: torch.amp.GradScaler | None = None,
) -> torch.Tensor:
    """Add the gradient of the mean loss over the targets of a window, however it is cut into parts.

    `targets` is their number in the whole window, also where `parts` are one process's share of it. Weighted
    by token: a mean of the parts' means would depend on how the rows were batched. With a `scaler` the
    gradient is that mean's times the loss scale.

    Returns the parts' share of that mean, in nats per token, as a 0-d tensor on the device: reading it is
    left to the caller, so that nothing here waits for the device.
    """
    total = torch.zeros((), device=device)
    for rows in parts:
        batch = collate(rows, pad_id, device=device)
        with autocast(device, compute_dtype):
            loss = token_losses(model, batch).nll.sum() / targets
        (loss if scaler is None else scaler.scale(loss)).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total
