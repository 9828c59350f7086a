"""The optimizers by their names in TrainingArguments, over the trainable weights of a model.

They are torch's, bitsandbytes' and transformers' own. `adam` and `adadelta` are not names of
TrainingArguments, which has no such optimizers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from bitsandbytes.optim import AdamW8bit, GlobalOptimManager, PagedAdamW8bit
from torch import nn
from transformers.optimization import Adafactor

from harness.modeling.training_settings import TrainingSettings

Groups = list[dict[str, Any]]

# transformers' Trainer.get_decay_parameter_names
_NO_DECAY = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.)norm(?:$|\.)|_norm(?:$|\.)")

_ADAM: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw_torch": torch.optim.AdamW,
    "adamw_torch_fused": partial(torch.optim.AdamW, fused=True),
    "adamw_8bit": AdamW8bit,
    "paged_adamw_8bit": PagedAdamW8bit,
    "adam": torch.optim.Adam,
}
_OTHERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    # As TrainingArguments has it: the learning rate is that of the schedule, not Adafactor's own.
    "adafactor": partial(Adafactor, scale_parameter=False, relative_step=False),
    "adadelta": torch.optim.Adadelta,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}


def create_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer over the model's trainable parameters."""
    if settings.optim.endswith("8bit"):
        _keep_embeddings_in_32_bit(model)
    groups = _parameter_groups(model, settings.weight_decay)
    if make := _OTHERS.get(settings.optim):
        return make(groups, lr=settings.learning_rate, **settings.optim_args or {})
    return _ADAM[settings.optim](
        groups,
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
    )


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
    """The dtype of the optimizer's moments, as it is recorded beside a figure; `none` where it has none."""
    if isinstance(optimizer, AdamW8bit | PagedAdamW8bit):
        return "uint8"
    stateless = isinstance(optimizer, torch.optim.SGD) and not optimizer.defaults["momentum"]
    return "none" if stateless else "float32"
