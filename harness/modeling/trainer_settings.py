"""What the engines on transformers' Trainer (trl, unsloth, llamafactory) have in common. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.modeling.training_settings import KEYS, TrainingSettings

VALUES: Mapping[str, frozenset[Any]] = {
    "optim": frozenset(
        {"adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "rmsprop", "sgd"}
    )
}
"""Key -> the values honoured, where the torch loop has others; adam and adadelta are not Trainer's."""
SAME_NAME_AND_MEANING = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "lr_scheduler_type",
    "lr_scheduler_kwargs",
    "optim",
)
"""Keys that are handed to TrainingArguments as they are, whoever makes the rows and the batches."""


def settings_with(training: Mapping[str, Any], off: Mapping[str, Any]) -> TrainingSettings:
    """What the parts shared with the torch loop are told: `training`, with the keys of `off` as they say.

    A key that the backend does not honour is not in `training` and has None where it is not in `off`.
    """
    told: dict[str, Any] = {key: off.get(key, training.get(key)) for key in KEYS}
    return TrainingSettings(**told)
