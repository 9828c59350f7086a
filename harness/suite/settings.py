"""The keys below `training:` and `generation:`: names, types, ranges and defaults.

Names are verbatim those of transformers' TrainingArguments and GenerationConfig, so that what people know
keeps its meaning; a key that nothing here would read is refused. The tables are our own, because
importing transformers costs seconds and a plan must not: a test compares them with the installed classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from harness.tracking import TRACKERS
from harness.validation import shown

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _count_or_share(value: Any) -> int | float:
    """A number of steps, or a float below 1 that is a share of all steps."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        number = isinstance(value, str) and value.replace(".", "", 1).isdecimal()
        fix = "; take it out of its quotes" if number else ""
        raise ValueError(f"expected a number of steps or a share below 1, got {shown(value)}{fix}")
    if value < 0 or (isinstance(value, float) and not value < 1):
        raise ValueError(f"expected a whole number of steps or a share from 0 to below 1, got {value}")
    return value


def _early_stopping(value: Any) -> bool | str:
    if isinstance(value, bool) or value == "never":
        return value  # type: ignore[no-any-return]
    raise ValueError(f"expected true, false or 'never', got {shown(value)}")


def _trackers(value: Any) -> list[str]:
    """One tracker or a list, as TrainingArguments takes them; `none` is the empty list."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"expected a list of {', '.join(TRACKERS)}, got {shown(value)}")
    names = [] if names == ["none"] else names
    if unknown := next((name for name in names if name not in TRACKERS), None):
        raise ValueError(f"no tracker '{unknown}'; known: {', '.join(TRACKERS)}")
    return list(dict.fromkeys(names))


Trackers = Annotated[list[str], PlainValidator(_trackers)]
Steps = Annotated[int | float, PlainValidator(_count_or_share)]
EarlyStopping = Annotated[bool | str, PlainValidator(_early_stopping)]
Schedule = Literal[
    "linear",
    "cosine",
    "cosine_with_restarts",
    "cosine_with_min_lr",
    "polynomial",
    "inverse_sqrt",
    "constant",
    "constant_with_warmup",
]
Optimizer = Literal[
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_8bit",
    "paged_adamw_8bit",
    "adam",
    "adafactor",
    "adadelta",
    "rmsprop",
    "sgd",
]


FROM_ELSEWHERE: Mapping[str, str] = {
    **dict.fromkeys(
        ("max_length", "max_seq_length", "model_max_length", "sequence_len", "cutoff_len"),
        "write prompting.max_length",
    ),
    **dict.fromkeys(
        ("train_on_prompt", "train_on_inputs"), "write training.completion_only_loss, its opposite"
    ),
    **dict.fromkeys(("lora_r", "lora_rank"), "write method.lora.r"),
    "lora_alpha": "write method.lora.lora_alpha",
    "lora_dropout": "write method.lora.lora_dropout",
    **dict.fromkeys(("lora_target", "lora_target_modules"), "write method.lora.target_modules"),
    **dict.fromkeys(("finetuning_type", "adapter"), "write method"),
    "load_in_4bit": "write method.qlora.quantization.load_in_4bit",
    "load_in_8bit": "write method.qlora.quantization.load_in_8bit",
    "num_processes": "write launch.num_processes",
    **dict.fromkeys(("val_set_size", "val_size"), "write data.validation"),
}
"""Keys of other tools, which have them all on one level, and where they are here."""


class Section(BaseModel):
    """A mapping of the suite whose keys are known; every key has a default, if only None.

    `renamed` maps a key that people write, because it was one or is one elsewhere, to the remedy;
    `aliases` maps other words to the key that they mean.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    renamed: ClassVar[Mapping[str, str]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}


class Training(Section):
    """Keys of TrainingArguments; those that it lacks are TRL's, H2O LLM Studio's or our own."""

    num_train_epochs: Positive = 3.0
    max_steps: Annotated[int, Field(ge=-1)] = -1
    per_device_train_batch_size: Count = 8
    per_device_eval_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    learning_rate: Positive | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    adam_beta1: Share = 0.9
    adam_beta2: Share = 0.999
    adam_epsilon: Positive = 1e-8
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    lr_scheduler_type: Schedule = "cosine"
    lr_scheduler_kwargs: dict[str, Any] | None = None
    warmup_steps: Steps = 0.03
    warmup_epochs: Annotated[float, Field(ge=0)] | None = None
    optim: Optimizer = "adamw_torch"
    optim_args: dict[str, Any] | None = None
    bf16: bool | None = None
    fp16: bool = False
    activation_checkpointing: bool = False
    dropout: Share | None = None
    token_mask_probability: Share = 0.0
    neftune_noise_alpha: Annotated[float, Field(ge=0)] | None = None
    padding_quantile: Annotated[float, Field(gt=0, le=1)] = 1.0
    train_sampling_strategy: Literal["group_by_length", "random", "sequential"] = "group_by_length"
    dataloader_drop_last: bool = False
    logging_steps: Steps = 10
    eval_strategy: Literal["no", "steps", "epoch"] = "epoch"
    eval_steps: Steps | None = None
    eval_epochs: Positive | None = None
    eval_on_start: bool = False
    early_stopping_patience: Count | None = None
    early_stopping_threshold: Annotated[float, Field(ge=0)] = 0.0
    load_best_model_at_end: bool = True
    save_steps: Count | None = None
    packing: bool = False
    padding_free: bool = False
    deepspeed: dict[str, Any] | None = None
    completion_only_loss: bool = True
    validation_samples: Annotated[int, Field(ge=0)] = 3
    skip_memory_check: bool = False
    report_to: Trackers = []
    project: str | None = None
    run_name: str | None = None

    renamed: ClassVar[Mapping[str, str]] = {
        "warmup_ratio": "transformers 5 has warmup_steps, where a float below 1 is a share of all steps",
        "evaluation_strategy": "transformers 5 calls it eval_strategy",
        "group_by_length": "transformers 5 has train_sampling_strategy: group_by_length",
        "gradient_checkpointing": "transformers 5 calls it activation_checkpointing",
        "gradient_checkpointing_kwargs": "write activation_checkpointing",
        "no_cuda": "hide the GPUs by CUDA_VISIBLE_DEVICES= in the environment",
        "use_cpu": "hide the GPUs by CUDA_VISIBLE_DEVICES= in the environment",
        "overwrite_output_dir": "leave it out, a finished training is never overwritten",
        "output_dir": "leave it out, the store decides where weights go",
        "logging_dir": "leave it out, the log is part of the report",
        "include_tokens_per_second": "leave it out, tokens/s are always logged",
        "save_safetensors": "leave it out, weights are always safetensors",
        "packing_strategy": "leave it out, rows are packed whole, as bfd does",
        "fp16_backend": "write fp16",
        "torch_dtype": "write bf16 or fp16",
        "dtype": "write bf16 or fp16",
        "seed": "write seeds, at the top level or in a candidate",
        "data_seed": "write seeds, at the top level or in a candidate",
        **FROM_ELSEWHERE,
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "epochs": "num_train_epochs",
        "batch_size": "per_device_train_batch_size",
        "eval_batch_size": "per_device_eval_batch_size",
        "scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "schedule": "lr_scheduler_type",
        "warmup": "warmup_steps",
        "grad_clip": "max_grad_norm",
        "gradient_clip": "max_grad_norm",
        "gradient_clipping": "max_grad_norm",
        "grad_accumulation": "gradient_accumulation_steps",
        "drop_last_batch": "dataloader_drop_last",
        "intermediate_dropout": "dropout",
        "mask_prompt_labels": "completion_only_loss",
        "evaluation_epochs": "eval_epochs",
        "evaluate_before_training": "eval_on_start",
        "save_best_checkpoint": "load_best_model_at_end",
    }


READ_BY_HARNESS = frozenset({"skip_memory_check", "report_to", "project", "run_name"})
"""Training keys for the harness around a training: any backend that trains takes them, none is told."""
READ_BY_PREDICT = frozenset({"per_device_eval_batch_size"})
"""Training keys that prediction reads: a backend that trains nothing takes them too."""


class Sgd(Section):
    """`optim_args` of sgd: keys of torch.optim.SGD."""

    momentum: Share = 0.0
    dampening: Share = 0.0
    nesterov: bool = False


class Rmsprop(Section):
    """`optim_args` of rmsprop: keys of torch.optim.RMSprop."""

    alpha: Share = 0.99
    momentum: Share = 0.0
    centered: bool = False


class Adadelta(Section):
    """`optim_args` of adadelta: keys of torch.optim.Adadelta."""

    rho: Share = 0.9


class CosineWithRestarts(Section):
    """`lr_scheduler_kwargs` of cosine_with_restarts."""

    num_cycles: Count = 1


class CosineWithMinLr(Section):
    """`lr_scheduler_kwargs` of cosine_with_min_lr; one of the two is required."""

    min_lr: Positive | None = None
    min_lr_rate: Share | None = None


class Polynomial(Section):
    """`lr_scheduler_kwargs` of polynomial."""

    power: Positive = 1.0
    lr_end: Positive = 1e-7


class InverseSqrt(Section):
    """`lr_scheduler_kwargs` of inverse_sqrt."""

    timescale: Count | None = None


ADAM_OPTIMIZERS = frozenset({"adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adam"})
ADAM_KEYS = ("adam_beta1", "adam_beta2", "adam_epsilon")
"""Read by Adam and its kin alone."""
OPTIMIZER_ARGUMENTS: Mapping[str, type[Section]] = {"sgd": Sgd, "rmsprop": Rmsprop, "adadelta": Adadelta}
SCHEDULE_ARGUMENTS: Mapping[str, type[Section]] = {
    "cosine_with_restarts": CosineWithRestarts,
    "cosine_with_min_lr": CosineWithMinLr,
    "polynomial": Polynomial,
    "inverse_sqrt": InverseSqrt,
}


class Generation(Section):
    """Keys of transformers' GenerationConfig; one without a default is off if it is not set.

    The model's own generation_config.json counts for nothing, so that all candidates answer alike.
    """

    max_new_tokens: Count = 128
    min_new_tokens: Count | None = None
    do_sample: bool = False
    temperature: Positive | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    num_beams: Count | None = None
    repetition_penalty: Positive | None = None
    no_repeat_ngram_size: Annotated[int, Field(ge=0)] | None = None
    length_penalty: float | None = None
    early_stopping: EarlyStopping | None = None

    renamed: ClassVar[Mapping[str, str]] = {
        "max_length": "write max_new_tokens for answers, prompting.max_length for rows",
        "max_tokens": "write max_new_tokens",
        "min_length": "write min_new_tokens",
        "seed": "write seeds, at the top level or in a candidate",
        "batch_size": "write training.per_device_eval_batch_size",
    }


FULL_LEARNING_RATE = 2e-5
ADAPTER_LEARNING_RATE = 2e-4
"""Ten times higher: one shared rate would be an unfair contest (Schulman et al. 2025)."""

SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p")
BEAM_KEYS = ("length_penalty", "early_stopping")
