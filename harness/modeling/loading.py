"""Base models and tokenizers from a folder or the Hub, and the pad token that many of them lack.

Weights are read from safetensors only and code from a model's repository is never run. Whatever is
wrong with a model becomes one line that names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES
from transformers.utils import logging as transformers_logging

from harness.errors import ModelError
from harness.modeling.devices import compute_dtype
from harness.modeling.failures import first_line, memory_errors_explained
from harness.records import ModelRef, Prompting

T = TypeVar("T")
PAD_TOKEN = "[PAD]"  # noqa: S105 - not that kind of token

# Stages report their own progress; a second bar on stderr would tear it.
transformers_logging.disable_progress_bar()


def load_tokenizer(model: ModelRef) -> PreTrainedTokenizerBase:
    """The tokenizer of `model`; ModelError if it has none or it cannot be read."""
    return _one_line(
        model,
        "its tokenizer cannot be loaded",
        lambda: AutoTokenizer.from_pretrained(model.name_or_path, revision=model.revision),
    )


def load_config(model: ModelRef) -> PretrainedConfig:
    """The configuration of `model`; ModelError if it has none or it cannot be read."""
    return _one_line(
        model,
        "its configuration cannot be loaded",
        lambda: AutoConfig.from_pretrained(
            model.name_or_path, revision=model.revision, trust_remote_code=False
        ),
    )


def load_model(
    model: ModelRef,
    *,
    device: torch.device,
    dtype: torch.dtype | None = None,
    quantization: Mapping[str, Any] | None = None,
) -> PreTrainedModel:
    """The causal language model `model` on `device`, in evaluation mode.

    `dtype` is that of the weights, by default `compute_dtype(device)`. `quantization` holds keys of
    BitsAndBytesConfig; its compute dtype defaults to `dtype`. Attention is SDPA where the architecture
    allows it (Gemma 2, whose scores are capped, does not). Raises ModelError.
    """
    dtype = dtype or compute_dtype(device)
    config = load_config(model)
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", True):
        what = f"{config.model_type} reads in both directions: it would see the tokens it is to predict"
        raise ModelError(what, where=_shown(model), fix="choose a causal language model")
    loaded, report = _one_line(
        model,
        "it cannot be loaded",
        lambda: AutoModelForCausalLM.from_pretrained(
            model.name_or_path,
            revision=model.revision,
            dtype=dtype,
            quantization_config=_quantization_config(quantization, dtype),
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        ),
    )
    # transformers would only log that it made weights up.
    if invented := sorted(report["missing_keys"]):
        raise ModelError(
            f"its weights lack {len(invented)} tensors, {invented[0]} first", where=_shown(model)
        )
    return loaded


def _quantization_config(options: Mapping[str, Any] | None, dtype: torch.dtype) -> BitsAndBytesConfig | None:
    if options is None:
        return None
    return BitsAndBytesConfig(**{"bnb_4bit_compute_dtype": dtype, **options})


def _one_line(model: ModelRef, what: str, load: Callable[[], T]) -> T:
    # The libraries below raise these for a missing folder, an unknown architecture, a torn weight
    # file, weights that are pickled, or an option out of range.
    try:
        with memory_errors_explained(f"loading {_shown(model)}", "free memory, or take a smaller model"):
            return load()
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ImportError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise ModelError(f"{what}: {_told(error, model)}", where=_shown(model)) from error


def _shown(model: ModelRef) -> str:
    """The model's Hub id, or its folder's name: the board is read on other machines."""
    path = Path(model.name_or_path)
    return path.name if path.is_absolute() else model.name_or_path


def _told(error: Exception, model: ModelRef) -> str:
    return first_line(error).replace(model.name_or_path, _shown(model))


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 (hex) of all that decides into which tokens a text falls.

    Models with equal digests have losses per token that can be compared.
    """
    if tokenizer.is_fast:
        behaviour = json.loads(tokenizer.backend_tokenizer.to_str())
        for key in ("truncation", "padding"):  # a state that calls leave behind
            behaviour.pop(key, None)
    else:
        behaviour = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    return hashlib.sha256(json.dumps(behaviour, sort_keys=True).encode()).hexdigest()


def max_positions(config: PretrainedConfig) -> int | None:
    """The longest sequence the model has positions for; None where it sets no limit (BLOOM, Mamba)."""
    text = config.get_text_config(decoder=True)
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def within_positions(prompting: Prompting, config: PretrainedConfig) -> Prompting:
    """`prompting` with rows no longer than the model has positions for."""
    limit = max_positions(config)
    return prompting if limit is None else replace(prompting, max_length=min(limit, prompting.max_length))


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> bool:
    """Give a tokenizer without pad token a `[PAD]` of its own; True if it was missing.

    Never the end-of-sequence token, whose label must survive. Input and output embeddings grow only
    when the vocabulary outgrows them; new rows are the mean of the old ones.
    """
    if tokenizer.pad_token_id is not None:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    _grow_embeddings(model, len(tokenizer))
    model.config.get_text_config(decoder=True).pad_token_id = tokenizer.pad_token_id
    return True


def _grow_embeddings(model: PreTrainedModel, size: int) -> None:
    old = model.get_input_embeddings().weight.shape[0]
    if size <= old:
        return
    # mean_resizing would draw the new rows from a distribution around the mean: they would then
    # depend on the random state.
    model.resize_token_embeddings(size, mean_resizing=False)
    parameters = {id(p): p for p in _vocabulary_parameters(model)}
    with torch.no_grad():
        for parameter in parameters.values():
            parameter[old:] = parameter[:old].float().mean(dim=0).to(parameter.dtype)


def _vocabulary_parameters(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    head = model.get_output_embeddings()
    found = [model.get_input_embeddings().weight, head.weight, getattr(head, "bias", None)]
    return [parameter for parameter in found if parameter is not None]
