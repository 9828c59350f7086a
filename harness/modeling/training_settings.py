"""The keys under `training:` that the torch backend honours, and the methods that it trains.

The names are those of transformers' TrainingArguments; `completion_only_loss` is TRL's and
`validation_samples` our own. Ranges and defaults are the suite's affair: a TrainJob holds every key.
Nothing here imports torch, for a suite and the backend's class read it before any work starts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

ADAPTERS = frozenset({"lora", "qlora"})
"""The methods that train new weights beside those of the base."""
METHODS = ADAPTERS | {"full", "freeze"}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train; each field is a YAML key."""

    num_train_epochs: float
    max_steps: int
    per_device_train_batch_size: int
    per_device_eval_batch_size: int
    gradient_accumulation_steps: int
    learning_rate: float
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    adam_epsilon: float
    max_grad_norm: float
    lr_scheduler_type: str
    warmup_steps: float
    optim: str
    bf16: bool | None
    activation_checkpointing: bool
    train_sampling_strategy: str
    dataloader_drop_last: bool
    logging_steps: float
    eval_strategy: str
    eval_steps: float | None
    load_best_model_at_end: bool
    save_steps: int | None
    completion_only_loss: bool
    validation_samples: int

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
