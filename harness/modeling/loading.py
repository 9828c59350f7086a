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
from bitsandbytes.nn import Int8Params, Linear4bit, Linear8bitLt, Params4bit
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
from transformers.quantizers import AutoHfQuantizer
from transformers.utils import logging as transformers_logging

from harness.errors import ModelError, first_line
from harness.modeling.devices import compute_dtype
from harness.modeling.failures import memory_errors_explained
from harness.records import ModelRef, Prompting

T = TypeVar("T")
PAD_TOKEN = "[PAD]"  # noqa: S105 - not that kind of token

# Stages report their own progress; a second bar on stderr would tear it.
transformers_logging.disable_progress_bar()


def load_tokenizer(model: ModelRef) -> PreTrainedTokenizerBase:
    """The tokenizer of `model`; ModelError if it has none or it cannot be read."""
    return in_one_line(
        model,
        "its tokenizer cannot be loaded",
        lambda: AutoTokenizer.from_pretrained(model.name_or_path, revision=model.revision),
    )


def load_config(model: ModelRef) -> PretrainedConfig:
    """The configuration of `model`; ModelError if it has none or it cannot be read."""
    return in_one_line(
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
    allows it (Gemma 2, whose scores are capped, does not). A checkpoint that is quantised already stays as it
    is. Raises ModelError.
    """
    dtype = dtype or compute_dtype(device)
    own = own_quantization(_causal_config(model))
    # Even None would stand for the quantisation that a checkpoint has of its own.
    asked = (
        {} if own or not quantization else {"quantization_config": _quantization_config(quantization, dtype)}
    )
    loaded, report = in_one_line(
        model,
        "it cannot be loaded",
        lambda: AutoModelForCausalLM.from_pretrained(
            model.name_or_path,
            revision=model.revision,
            dtype=dtype,
            **asked,
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        ),
    )
    require_all_weights(model, report)
    _require_whole_head(loaded)
    return loaded


def require_all_weights(model: ModelRef, report: Mapping[str, Any]) -> None:
    """ModelError if a loading report names missing tensors, which transformers makes up and only logs."""
    if invented := sorted(report["missing_keys"]):
        what = f"its weights lack {len(invented)} tensors, {invented[0]} first"
        raise ModelError(what, where=shown_name(model))


def load_skeleton(model: ModelRef, quantization: Mapping[str, Any] | None = None) -> PreTrainedModel:
    """The model as `load_model` makes it, but on torch's meta device: names and shapes without weights.

    Takes a second or so whatever the model's size, and reads its config alone. Raises ModelError.
    """
    config = _causal_config(model)

    def build() -> PreTrainedModel:
        with torch.device("meta"):
            skeleton = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        if quantization is not None:
            options = _quantization_config(quantization, torch.get_default_dtype())
            quantizer = AutoHfQuantizer.from_config(options, pre_quantized=False)
            quantizer.validate_environment()
            quantizer.preprocess_model(model=skeleton, device_map=None)
            quantizer.postprocess_model(skeleton)
            _without_codes(skeleton)
        return skeleton

    built: PreTrainedModel = in_one_line(model, "it cannot be built", build)
    _require_whole_head(built)
    return built


def _require_whole_head(model: PreTrainedModel) -> None:
    # It cannot grow with the vocabulary any more, and where it is tied bitsandbytes fails at the first pass.
    if isinstance(model.get_output_embeddings(), Linear4bit | Linear8bitLt):
        raise ModelError(
            "quantization: llm_int8_skip_modules leaves out the output layer, which must not be quantised",
            fix="add lm_head to it: the list replaces the default one",
        )


def _without_codes(skeleton: PreTrainedModel) -> None:
    """Let the weights of a quantised skeleton pass for plain ones: there is nothing to dequantise in them.

    DoRA takes the norms of the weights it starts from, and peft knows them by the name of their class.
    """
    for module in skeleton.modules():
        if isinstance(module, Linear4bit):
            module.weight.__class__ = _Skeleton4bit
        elif isinstance(module, Linear8bitLt):
            module.weight.__class__ = _Skeleton8bit


class _Skeleton4bit(Params4bit):  # type: ignore[misc]
    pass


class _Skeleton8bit(Int8Params):  # type: ignore[misc]
    pass


def _causal_config(model: ModelRef) -> PretrainedConfig:
    config = load_config(model)
    if config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", True):
        what = f"{config.model_type} reads in both directions: it would see the tokens it is to predict"
        raise ModelError(what, where=shown_name(model), fix="choose a causal language model")
    return config


def own_quantization(config: PretrainedConfig) -> Mapping[str, Any] | None:
    """The quantisation that a checkpoint was saved with; None for one in floating point."""
    own = getattr(config, "quantization_config", None)
    return own if own is None or isinstance(own, Mapping) else own.to_dict()


def _quantization_config(options: Mapping[str, Any], dtype: torch.dtype) -> BitsAndBytesConfig:
    return BitsAndBytesConfig(**{"bnb_4bit_compute_dtype": dtype, **options})


def in_one_line(model: ModelRef, what: str, load: Callable[[], T]) -> T:
    """What `load` gives; ModelError that names the model and says `what` failed, and why."""
    # The libraries below raise these for a missing folder, an unknown architecture, a torn weight
    # file, weights that are pickled, or an option out of range.
    try:
        with memory_errors_explained(f"loading {shown_name(model)}", "free memory, or take a smaller model"):
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
        raise ModelError(f"{what}: {_told(error, model)}", where=shown_name(model)) from error


def shown_name(model: ModelRef) -> str:
    """The model's Hub id, or its folder's name: the board is read on other machines."""
    path = Path(model.name_or_path)
    return path.name if path.is_absolute() else model.name_or_path


def _told(error: Exception, model: ModelRef) -> str:
    return first_line(error).replace(model.name_or_path, shown_name(model))


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
    """The longest sequence the model has positions for; None where it sets no limit (BLOOM, Mamba).

    Positions that `reserve_positions` has taken are not counted.
    """
    text = config.get_text_config(decoder=True)
    limit = getattr(text, "max_position_embeddings", None) or getattr(text, "max_seq_len", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    return limit - int(getattr(text, "reserved_positions", 0))


def reserve_positions(config: PretrainedConfig, count: int) -> None:
    """Note that `count` positions of every sequence are taken by something that is no token of its row."""
    config.get_text_config(decoder=True).reserved_positions = count


def within_positions(prompting: Prompting, config: PretrainedConfig) -> Prompting:
    """`prompting` with rows no longer than the model has positions for."""
    limit = max_positions(config)
    return prompting if limit is None else replace(prompting, max_length=min(limit, prompting.max_length))


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> bool:
    """Give a tokenizer without pad token a `[PAD]` of its own; True if it was missing.

    Never the end-of-sequence token, whose label must survive. Input and output embeddings grow only
    when the vocabulary outgrows them; new rows are the mean of the old ones.
    """
    fit_vocabulary(tokenizer, model)
    if tokenizer.pad_token_id is not None:
        return False
    tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    _grow_embeddings(model, len(tokenizer))
    model.config.get_text_config(decoder=True).pad_token_id = tokenizer.pad_token_id
    return True


def fit_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Give tokens that were added to the tokenizer alone an embedding: the mean of the others."""
    old = model.get_input_embeddings().weight.shape[0]
    _grow_embeddings(model, len(tokenizer))
    model.added_tokens = list(range(old, len(tokenizer)))


def added_tokens(model: PreTrainedModel) -> list[int]:
    """The ids that `fit_vocabulary` gave an embedding, so that nothing is known of them yet."""
    return list(getattr(model, "added_tokens", ()))


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
