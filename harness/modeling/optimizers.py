"""AdamW in its four spellings, with weight decay where it belongs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit, GlobalOptimManager, PagedAdamW8bit
from torch import nn

from harness.errors import SuiteError
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
    """The optimizer over the model's trainable parameters. Raises SuiteError for an unknown `optim`."""
    if settings.optim not in _OPTIMIZERS:
        known = ", ".join(_OPTIMIZERS)
        raise SuiteError(f"training.optim: unknown optimizer {settings.optim!r}", fix=f"choose from {known}")
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
