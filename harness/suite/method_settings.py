"""The options of the methods: names, types, ranges and defaults, verbatim those of peft and bitsandbytes.

As in settings.py, the tables are our own and a test compares them with the installed classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator

from harness.suite.settings import (
    ADAPTER_LEARNING_RATE,
    FULL_LEARNING_RATE,
    Count,
    Section,
    Share,
)
from harness.validation import shown

INITIALISATIONS = ("gaussian", "orthogonal", "pissa", "olora")
PISSA_NITER = r"pissa_niter_\d+"
"""PiSSA by a randomised decomposition in so many iterations: seconds where the exact one takes minutes."""


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
    if names == "all":
        raise ValueError("'all' is the name of no module; did you mean 'all-linear'?")
    if any(name.split(".")[-1] == "lm_head" for name in ([names] if isinstance(names, str) else names)):
        raise ValueError("lm_head cannot carry an adapter; train it whole with modules_to_save: [lm_head]")
    return names


def _initialisation(value: Any) -> bool | str:
    known = value in INITIALISATIONS or (isinstance(value, str) and re.fullmatch(PISSA_NITER, value))
    if isinstance(value, bool) or known:
        return value  # type: ignore[no-any-return]
    names = ", ".join(INITIALISATIONS)
    raise ValueError(f"expected true, false or one of {names}, pissa_niter_<n>, got {shown(value)}")


Texts = Annotated[str | list[str], PlainValidator(_texts_or_text)]
Modules = Annotated[str | list[str], PlainValidator(_adaptable)]
Layers = Annotated[int | list[int], PlainValidator(_layers)]
TokenId = Annotated[int, Field(ge=0)]
Initialisation = Annotated[bool | str, PlainValidator(_initialisation)]


_NEVER_WRITTEN = {
    "task_type": "leave it out, it is always CAUSAL_LM",
    "peft_type": "leave it out, the method says it",
}


class Freeze(Section):
    """Full training of some layers, with or without embeddings and head; one of two counts is required."""

    last_layers: Annotated[int, Field(ge=0)] | None = None
    first_frozen: Annotated[int, Field(ge=0)] | None = None
    embeddings: bool = False
    head: bool = False

    aliases: ClassVar[Mapping[str, str]] = {
        "layers": "last_layers",
        "num_layers": "last_layers",
        "freeze_trainable_layers": "last_layers",
        "n_freeze": "first_frozen",
        "frozen_layers": "first_frozen",
    }


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
    trainable_token_indices: list[TokenId] | None = None
    ensure_weight_tying: bool = False

    renamed: ClassVar[Mapping[str, str]] = {
        **_NEVER_WRITTEN,
        "load_in_4bit": "write method.qlora.quantization.load_in_4bit",
        "load_in_8bit": "write method.qlora.quantization.load_in_8bit",
    }
    aliases: ClassVar[Mapping[str, str]] = {
        "rank": "r",
        "lora_r": "r",
        "lora_rank": "r",
        "alpha": "lora_alpha",
        "dropout": "lora_dropout",
        **dict.fromkeys(("targets", "lora_target", "lora_target_modules"), "target_modules"),
    }


class Dora(Lora):
    """LoRA with weight-decomposed adapters."""

    use_dora: bool = True


class Rslora(Lora):
    """LoRA scaled by the root of the rank."""

    use_rslora: bool = True


class Pissa(Lora):
    """LoRA that starts as the principal components of the weights."""

    init_lora_weights: Initialisation = "pissa"


class Ia3(Section):
    """Keys of peft's IA3Config."""

    target_modules: Modules | None = None
    feedforward_modules: Texts | None = None
    exclude_modules: Texts | None = None
    modules_to_save: list[str] | None = None

    renamed: ClassVar[Mapping[str, str]] = {
        **_NEVER_WRITTEN,
        "fan_in_fan_out": "leave it out, it follows from the model",
    }


class PromptTuning(Section):
    """Keys of peft's PromptTuningConfig."""

    num_virtual_tokens: Count = 20
    prompt_tuning_init: Literal["RANDOM", "SAMPLE_VOCAB", "TEXT"] = "SAMPLE_VOCAB"
    prompt_tuning_init_text: str | None = None

    renamed: ClassVar[Mapping[str, str]] = {
        **_NEVER_WRITTEN,
        **dict.fromkeys(
            ("tokenizer_name_or_path", "tokenizer_kwargs"), "leave it out, it is the base's tokenizer"
        ),
        **dict.fromkeys(
            ("token_dim", "num_layers", "num_attention_heads", "num_transformer_submodules"),
            "leave it out, it follows from the model",
        ),
    }
    aliases: ClassVar[Mapping[str, str]] = {"init_text": "prompt_tuning_init_text"}


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
        **{word: f"write it below lora:, as {key}" for word, key in Lora.aliases.items()},
        **dict.fromkeys(Quantization.model_fields, "write it below quantization:"),
    }


METHODS: Mapping[str, type[Section] | None] = {
    "full": None,
    "freeze": Freeze,
    "lora": Lora,
    "dora": Dora,
    "rslora": Rslora,
    "pissa": Pissa,
    "ia3": Ia3,
    "prompt_tuning": PromptTuning,
    "qlora": Qlora,
}
"""The methods whose options are known here; None: it has none."""

LEARNING_RATES: Mapping[str, float] = {
    **dict.fromkeys(METHODS, ADAPTER_LEARNING_RATE),
    "full": FULL_LEARNING_RATE,
    "freeze": FULL_LEARNING_RATE,
    "ia3": 3e-3,
    "prompt_tuning": 3e-2,
}
"""The default learning rate of each method.

(IA)^3: the recipe T-Few of Liu et al. 2022. Prompt tuning: the guide in peft's documentation; the paper's own
0.3 is for Adafactor.
"""
