"""One optimizer step: gradient of a window, clipping, learning rate, and AdamW in its four spellings."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit, GlobalOptimManager, PagedAdamW8bit
from torch import nn

from harness.modeling.batching import collate
from harness.modeling.devices import autocast
from harness.modeling.failures import require_finite
from harness.modeling.likelihood import token_losses
from harness.modeling.supervision import Encoded
from harness.modeling.training.sampling_order import Indices, micro_batches
from harness.modeling.training.schedules import learning_rate_factor
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training_settings import TrainingSettings

Groups = list[dict[str, Any]]

# transformers' Trainer.get_decay_parameter_names
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")

_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw_torch": torch.optim.AdamW,
    "adamw_torch_fused": partial(torch.optim.AdamW, fused=True),
    "adamw_8bit": AdamW8bit,
    "paged_adamw_8bit": PagedAdamW8bit,
}


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
        learning_rate = self._settings.learning_rate * self._factor(steps_done)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return StepReport(loss_value, norm_value, learning_rate)


def accumulate_gradients(
    model: nn.Module,
    parts: Sequence[Sequence[Encoded]],
    *,
    pad_id: int,
    device: torch.device,
    compute_dtype: torch.dtype,
) -> torch.Tensor:
    """Add the gradient of the mean loss over all targets of a window, however it is cut into parts.

    Weighted by token: a mean of the parts' means would depend on how the rows were batched.

    Returns that mean, in nats per token, as a 0-d tensor on the device: reading it is left to the
    caller, so that nothing here waits for the device.
    """
    targets = sum(sum(row.supervised) for rows in parts for row in rows)
    total = torch.zeros((), device=device)
    for rows in parts:
        batch = collate(rows, pad_id, device=device)
        with autocast(device, compute_dtype):
            loss = token_losses(model, batch).nll.sum() / targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def decayed_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay applies to: all but norms and biases, as in transformers."""
    in_layer_norms = {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for own, _ in module.named_parameters()
    }
    return {
        name
        for name, _ in model.named_parameters()
        if name not in in_layer_norms and not _NO_DECAY.search(name.lower())
    }


def create_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer over the model's trainable parameters."""
    if settings.optim.endswith("8bit"):
        _keep_embeddings_in_32_bit(model)
    return _OPTIMIZERS[settings.optim](
        _parameter_groups(model, settings.weight_decay),
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
    )


def _parameter_groups(model: nn.Module, weight_decay: float) -> Groups:
    decayed = decayed_parameters(model)
    trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for name, p in trainable if name in decayed], "weight_decay": weight_decay},
        {"params": [p for name, p in trainable if name not in decayed], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _keep_embeddings_in_32_bit(model: nn.Module) -> None:
    """Their gradients are too uneven for 8-bit states (Dettmers et al. 2022, "stable embedding layer")."""
    manager = GlobalOptimManager.get_instance()
    # The manager is one for the process and keeps the overrides of every optimizer before this one.
    manager.initialize()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})


def state_dtype(optimizer: torch.optim.Optimizer) -> str:
    """The dtype of the optimizer's moments, as it is recorded beside a figure."""
    return "uint8" if isinstance(optimizer, AdamW8bit | PagedAdamW8bit) else "float32"
