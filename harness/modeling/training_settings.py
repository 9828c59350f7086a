"""The keys under `training:` that the torch backend honours, with their defaults.

The names are those of transformers' TrainingArguments; `completion_only_loss` is TRL's and
`validation_samples` our own. Nothing here imports torch: the backend class reads its keys from this
dataclass before any work starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

FULL_LEARNING_RATE = 2e-5
ADAPTER_LEARNING_RATE = 2e-4


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train; each field is a YAML key."""

    num_train_epochs: float = 3.0
    max_steps: int = -1
    per_device_train_batch_size: int = 8
    per_device_eval_batch_size: int = 8
    gradient_accumulation_steps: int = 1
    learning_rate: float | None = None
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    max_grad_norm: float = 1.0
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.03
    optim: str = "adamw_torch"
    bf16: bool | None = None
    activation_checkpointing: bool = False
    train_sampling_strategy: str = "group_by_length"
    dataloader_drop_last: bool = False
    logging_steps: float = 10
    eval_strategy: str = "epoch"
    eval_steps: float | None = None
    load_best_model_at_end: bool = True
    save_steps: int | None = None
    completion_only_loss: bool = True
    validation_samples: int = 3

    @classmethod
    def from_mapping(cls, training: Mapping[str, Any], method: str) -> TrainingSettings:
        """The settings of a TrainJob; an absent key has its default, an unknown one raises TypeError.

        The default learning rate is ten times higher for adapters (Schulman et al. 2025, "LoRA without
        regret"): one shared rate would be an unfair contest.
        """
        settings = cls(**training)
        if settings.learning_rate is not None:
            return settings
        adapters = method in ("lora", "qlora")
        return replace(settings, learning_rate=ADAPTER_LEARNING_RATE if adapters else FULL_LEARNING_RATE)

    @property
    def effective_batch_size(self) -> int:
        """Examples behind one optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def steps_per_epoch(self, examples: int) -> int:
        """Optimizer steps in one pass over the data; the last, partial window is one of them or dropped."""
        if self.dataloader_drop_last:
            return examples // self.effective_batch_size
        return math.ceil(examples / self.effective_batch_size)

    def total_steps(self, examples: int) -> int:
        """Optimizer steps in the whole training: `max_steps` where positive, or `num_train_epochs`."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.num_train_epochs * self.steps_per_epoch(examples))

    def logging_interval(self, total_steps: int) -> int:
        """Optimizer steps between two log lines."""
        return max(1, steps_or_share(self.logging_steps, total_steps))

    def evaluation_interval(self, total_steps: int) -> int:
        """Optimizer steps between two validations under `eval_strategy: steps`."""
        steps = self.logging_steps if self.eval_steps is None else self.eval_steps
        return max(1, steps_or_share(steps, total_steps))

    def warmup_length(self, total_steps: int) -> int:
        """Optimizer steps of warm-up."""
        return steps_or_share(self.warmup_steps, total_steps)


KEYS = frozenset(field.name for field in fields(TrainingSettings))


def steps_or_share(value: float, total_steps: int) -> int:
    """A number of steps as TrainingArguments spells it: below 1 it is a share of all steps, rounded up."""
    return int(value) if value >= 1 else math.ceil(total_steps * value)
