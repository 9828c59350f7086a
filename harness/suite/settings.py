"""The keys of a suite: names, types, ranges and defaults, for everything below the top level.

Names are verbatim those of transformers' TrainingArguments, GenerationConfig and BitsAndBytesConfig and
of peft's LoraConfig, so that what people know keeps its meaning; a key that nothing here would read is
refused. The tables are our own, because importing transformers costs seconds and a plan must not: a
test compares them with the installed classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator

from harness.modeling.training_settings import ADAPTERS as ADAPTERS
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


def _texts_or_text(value: Any) -> str | list[str]:
    if isinstance(value, str) or (
        isinstance(value, list) and value and all(isinstance(v, str) for v in value)
    ):
        return value
    raise ValueError(f"expected text or a list of texts, got {shown(value)}")


def _layers(value: Any) -> int | list[int]:
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"expected a layer's number or a list of them, counted from 0, got {shown(value)}")


def _adaptable(value: Any) -> str | list[str]:
    """Target modules; the output layer is none of them, it may be one tensor with the embedding."""
    names = _texts_or_text(value)
    if any(name.split(".")[-1] == "lm_head" for name in ([names] if isinstance(names, str) else names)):
        raise ValueError("lm_head cannot carry an adapter; train it whole with modules_to_save: [lm_head]")
    return names


def _initialisation(value: Any) -> bool | str:
    if isinstance(value, bool) or value in INITIALISATIONS:
        return value  # type: ignore[no-any-return]
    names = ", ".join(INITIALISATIONS)
    raise ValueError(f"expected true, false or one of {names}, got {shown(value)}")


def _early_stopping(value: Any) -> bool | str:
    if isinstance(value, bool) or value == "never":
        return value  # type: ignore[no-any-return]
    raise ValueError(f"expected true, false or 'never', got {shown(value)}")


INITIALISATIONS = ("gaussian", "orthogonal", "pissa", "olora")
Steps = Annotated[int | float, PlainValidator(_count_or_share)]
Texts = Annotated[str | list[str], PlainValidator(_texts_or_text)]
Modules = Annotated[str | list[str], PlainValidator(_adaptable)]
Layers = Annotated[int | list[int], PlainValidator(_layers)]
EarlyStopping = Annotated[bool | str, PlainValidator(_early_stopping)]
Initialisation = Annotated[bool | str, PlainValidator(_initialisation)]


class Section(BaseModel):
    """A mapping of the suite whose keys are known; every key has a default, if only None.

    `renamed` maps a key that people write, because it was one or is one elsewhere, to the remedy;
    `aliases` maps other words to the key that they mean.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, protected_namespaces=())
    renamed: ClassVar[Mapping[str, str]] = {}
    aliases: ClassVar[Mapping[str, str]] = {}


class Training(Section):
    """Keys of TrainingArguments, and TRL's `completion_only_loss`; `validation_samples` is our own."""

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
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    warmup_steps: Steps = 0.03
    optim: Literal["adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit"] = "adamw_torch"
    bf16: bool | None = None
    activation_checkpointing: bool = False
    train_sampling_strategy: Literal["group_by_length", "random", "sequential"] = "group_by_length"
    dataloader_drop_last: bool = False
    logging_steps: Steps = 10
    eval_strategy: Literal["no", "steps", "epoch"] = "epoch"
    eval_steps: Steps | None = None
    load_best_model_at_end: bool = True
    save_steps: Count | None = None
    completion_only_loss: bool = True
    validation_samples: Annotated[int, Field(ge=0)] = 3

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
        "fp16_backend": "write bf16",
        "fp16": "write bf16",
        "torch_dtype": "write bf16",
        "dtype": "write bf16",
        "max_seq_length": "write prompting.max_length",
        "max_length": "write prompting.max_length",
        "load_in_4bit": "write method.qlora.quantization.load_in_4bit",
        "load_in_8bit": "write method.qlora.quantization.load_in_8bit",
        "seed": "write seeds, at the top level or in a candidate",
        "data_seed": "write seeds, at the top level or in a candidate",
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "epochs": "num_train_epochs",
        "batch_size": "per_device_train_batch_size",
        "eval_batch_size": "per_device_eval_batch_size",
        "scheduler": "lr_scheduler_type",
        "optimizer": "optim",
        "warmup": "warmup_steps",
        "grad_clip": "max_grad_norm",
        "gradient_clipping": "max_grad_norm",
    }


class Freeze(Section):
    """Full training of the last layers, with or without embeddings and head."""

    last_layers: Annotated[int, Field(ge=0)] | None = None
    embeddings: bool = False
    head: bool = False

    aliases: ClassVar[Mapping[str, str]] = {"layers": "last_layers", "num_layers": "last_layers"}


class Lora(Section):
    """Keys of peft's LoraConfig."""

    r: Count = 8
    lora_alpha: Count = 16
    lora_dropout: Share = 0.0
    target_modules: Modules = "all-linear"
    exclude_modules: Texts | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    use_rslora: bool = False
    use_dora: bool = False
    init_lora_weights: Initialisation = True
    modules_to_save: list[str] | None = None
    layers_to_transform: Layers | None = None
    layers_pattern: Texts | None = None
    rank_pattern: dict[str, Count] | None = None
    alpha_pattern: dict[str, Count] | None = None
    trainable_token_indices: list[int] | None = None

    renamed: ClassVar[Mapping[str, str]] = {
        "task_type": "leave it out, it is always CAUSAL_LM",
        "peft_type": "leave it out, the method says it",
        "load_in_4bit": "write method.qlora.quantization.load_in_4bit",
        "load_in_8bit": "write method.qlora.quantization.load_in_8bit",
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "rank": "r",
        "lora_r": "r",
        "lora_rank": "r",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        "targets": "target_modules",
    }


class Quantization(Section):
    """Keys of transformers' BitsAndBytesConfig."""

    load_in_4bit: bool | None = None
    load_in_8bit: bool | None = None
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    bnb_4bit_use_double_quant: bool = True
    bnb_4bit_compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    llm_int8_threshold: Annotated[float, Field(ge=0)] = 6.0
    llm_int8_skip_modules: list[str] | None = None

    aliases: ClassVar[Mapping[str, str]] = {
        "bits": "load_in_4bit",
        "quant_type": "bnb_4bit_quant_type",
        "double_quant": "bnb_4bit_use_double_quant",
        "compute_dtype": "bnb_4bit_compute_dtype",
    }


class Qlora(Section):
    """LoRA over a quantised base."""

    lora: Any = None
    quantization: Any = None

    renamed: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(Lora.model_fields, "write it below lora:"),
        **dict.fromkeys(Quantization.model_fields, "write it below quantization:"),
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


METHODS: Mapping[str, type[Section] | None] = {"full": None, "freeze": Freeze, "lora": Lora, "qlora": Qlora}
"""The methods whose options are known here; None: it has none."""
FULL_LEARNING_RATE = 2e-5
ADAPTER_LEARNING_RATE = 2e-4
"""Ten times higher: one shared rate would be an unfair contest (Schulman et al. 2025)."""

SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p")
BEAM_KEYS = ("length_penalty", "early_stopping")
