"""The keys under `training:` that the torch backend honours, and the methods that it trains.

The names are those of transformers' TrainingArguments. What that lacks is called as in TRL (`packing`,
`completion_only_loss`) or H2O LLM Studio (`warmup_epochs`, `token_mask_probability`, `padding_quantile`), or
is our own: `dropout`, `eval_epochs`, `early_stopping_*`, `validation_samples`. Ranges and defaults are the
suite's affair: a TrainJob holds every key. Nothing here imports torch, for a suite and the backend's class
read it before any work starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction

LORA_PRESETS: Mapping[str, Mapping[str, object]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "pissa": {"init_lora_weights": "pissa"},
}
"""LoRA and its kin: the key of LoraConfig that makes each what it is."""
BASE_CHANGING = ("pissa", "olora")
"""How the values of `init_lora_weights` begin that take the adapter out of the base's weights."""
ADAPTERS = LORA_PRESETS.keys() | {"ia3", "prompt_tuning", "qlora"}
"""The methods that train new weights beside those of the base."""
METHODS = frozenset({*ADAPTERS, "full", "freeze"})


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train; each field is a YAML key, but for `num_processes`, which the launch decides."""

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
    lr_scheduler_kwargs: Mapping[str, float] | None
    warmup_steps: float
    warmup_epochs: float | None
    optim: str
    optim_args: Mapping[str, float] | None
    bf16: bool | None
    fp16: bool
    activation_checkpointing: bool
    dropout: float | None
    token_mask_probability: float
    neftune_noise_alpha: float | None
    padding_quantile: float
    train_sampling_strategy: str
    dataloader_drop_last: bool
    logging_steps: float
    eval_strategy: str
    eval_steps: float | None
    eval_epochs: float | None
    eval_on_start: bool
    early_stopping_patience: int | None
    early_stopping_threshold: float
    load_best_model_at_end: bool
    save_steps: int | None
    packing: bool
    completion_only_loss: bool
    validation_samples: int
    num_processes: int = 1

    @property
    def effective_batch_size(self) -> int:
        """Rows behind one optimizer step; under packing, packed rows."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.num_processes

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

    def warmup_length(self, total_steps: int, steps_per_epoch: int) -> int:
        """Optimizer steps of warm-up; a part of one counts as a whole."""
        if self.warmup_epochs is not None:
            return math.ceil(Fraction(str(self.warmup_epochs)) * steps_per_epoch)
        return steps_or_share(self.warmup_steps, total_steps)


KEYS = frozenset(field.name for field in fields(TrainingSettings)) - {"num_processes"}


def steps_or_share(value: float, total_steps: int) -> int:
    """A number of steps as TrainingArguments spells it: below 1 it is a share of all steps, rounded up."""
    return int(value) if value >= 1 else math.ceil(total_steps * value)
