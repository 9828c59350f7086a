"""Methods: which weights of a model are trained. They know nothing of the loop that trains them.

full     every weight
freeze   the last decoder layers; embeddings and head (final norm and output projection) on request
lora     low-rank adapters beside frozen weights (Hu et al. 2021), with all that peft's LoraConfig offers
dora     lora with magnitudes of its own (Liu et al. 2024)
rslora   lora scaled by the root of its rank (Kalajdzievski 2023)
pissa    lora that starts as the base's principal components (Meng et al. 2024)
ia3      vectors that scale keys, values and the feedforward (Liu et al. 2022)
prompt_tuning  embeddings before each row (Lester et al. 2021)
qlora    lora over a base in 4 or 8 bit (Dettmers et al. 2023)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModel
from transformers import PretrainedConfig, PreTrainedModel

from harness.errors import ModelError
from harness.modeling.adapter_files import remember_initial_adapter
from harness.modeling.adapters import (
    add_ia3,
    add_lora,
    add_prompt,
    linear_layer_names,
    prepare_quantized,
    quantized_parameters,
)
from harness.modeling.layers import decoder_layers, element_count, is_tied, part_of_parameters
from harness.modeling.loading import (
    ensure_pad_token,
    load_config,
    load_skeleton,
    load_tokenizer,
    own_quantization,
)
from harness.modeling.random_state import seed_everything
from harness.modeling.training_settings import LORA_PRESETS
from harness.records import Method, ModelRef

MOST_OF_THE_LAYERS = 0.5
"""A base with less than this share of its layers' weights quantised is not what qlora promises."""


def quantization(method: Method) -> Mapping[str, Any] | None:
    """The BitsAndBytesConfig keys a model has to be loaded with for this method, or None."""
    return method.options["quantization"] if method.name == "qlora" else None


def require_base(config: PretrainedConfig, method: Method) -> None:
    """ModelError where a checkpoint is quantised in another way than the method asks for, or at all."""
    own, asked = own_quantization(config), quantization(method)
    if own is None:
        return
    kind = own.get("quant_method")
    if asked is None or kind != "bitsandbytes":
        what = f"{method.name}: this base is quantised already ({kind}), so its weights cannot be trained"
        raise ModelError(what, fix="take a base that is not quantised, or qlora over one of bitsandbytes'")
    for key in ("load_in_4bit", "load_in_8bit", *asked):
        if own.get(key) != asked.get(key, False):
            what = f"qlora: this base is quantised already, with {key}: {json.dumps(own.get(key))}"
            raise ModelError(what, fix="ask for the same, or take a base that is not quantised")


def prepare(model: PreTrainedModel, method: Method, seed: int) -> PreTrainedModel | PeftModel:
    """The model with exactly the method's weights trainable; adapters are drawn from `seed`.

    For qlora the model has been loaded with `quantization(method)`. Raises ModelError where the method
    does not fit the model.
    """
    # Before the adapter is created, not after: the same seed must give the same adapter.
    seed_everything(seed)
    prepared = _prepare(model, method)
    remember_initial_adapter(prepared)
    return prepared


def _prepare(model: PreTrainedModel, method: Method) -> PreTrainedModel | PeftModel:
    prepared = _METHODS[method.name](model, method.options)
    if not any(parameter.requires_grad for parameter in prepared.parameters()):
        raise ModelError(
            f"{method.name}: nothing would be trained", fix="choose layers, embeddings or the head"
        )
    return prepared


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """Parameters of a model prepared for its method: elements, not bytes, each tied tensor once.

    `quantized` are those of the base that are kept in 4 or 8 bit; `total` holds them too.
    """

    trainable: int
    total: int
    quantized: int


def prepared_skeleton(model: ModelRef, method: Method) -> PreTrainedModel | PeftModel:
    """What `prepare` makes of the model, on torch's meta device; ModelError where the method does not fit.

    Reads config and tokenizer alone: seconds for a model of any size. Dtypes are not those of a training.
    """
    require_base(load_config(model), method)
    skeleton = load_skeleton(model, quantization(method))
    ensure_pad_token(load_tokenizer(model), skeleton)
    with torch.device("meta"):
        return _prepare(skeleton, method)


def check_method(model: ModelRef, method: Method) -> MethodFacts:
    """What the method makes of the model, found without its weights; ModelError where it does not fit."""
    prepared = prepared_skeleton(model, method)
    kept = quantized_parameters(prepared)
    sizes = [(p.numel(), p.requires_grad, id(p) in kept) for p in prepared.parameters()]
    return MethodFacts(
        trainable=sum(size for size, trained, _ in sizes if trained),
        total=sum(size for size, _, _ in sizes),
        quantized=sum(size for size, _, quantized in sizes if quantized),
    )


def _full(model: PreTrainedModel, _options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    model.requires_grad_(True)
    return model


def _freeze(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    stack, layers = decoder_layers(model)
    trained = tuple(f"{stack}.{index}." for index in range(_first_trained(options, len(layers)), len(layers)))
    wanted = {"embeddings": options.get("embeddings", False), "head": options.get("head", False)}
    if wanted["embeddings"] != wanted["head"] and is_tied(model):
        raise ModelError(
            "freeze: embeddings and head of this model are one tensor, so they train together or not at all",
            fix="set both `embeddings` and `head`, or neither",
        )
    parts = part_of_parameters(model)
    for name, parameter in model.named_parameters():
        part = parts[name]
        parameter.requires_grad_(name.startswith(trained) if part == "layers" else wanted[part])
    return model


def _first_trained(options: Mapping[str, Any], count: int) -> int:
    """The first of `count` decoder layers that is trained."""
    for key in ("last_layers", "first_frozen"):
        asked: int | None = options.get(key)
        if asked is None:
            continue
        if not 0 <= asked <= count:
            raise ModelError(
                f"freeze.{key}: {asked} asked for, the model has {count} decoder layers",
                fix=f"choose 0 to {count}",
            )
        return count - asked if key == "last_layers" else asked
    return count


def _qlora(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    if not options["quantization"].get("llm_int8_skip_modules"):
        _require_quantized(model)
    return add_lora(prepare_quantized(model), options.get("lora", {}))


def _require_quantized(model: PreTrainedModel) -> None:
    """ModelError where bitsandbytes has left most of the decoder layers' weights as they were.

    It quantises linear layers alone. Experts that are one tensor for all (Mixtral) would stay whole, without
    a word, and a model that is said to take a quarter of the memory takes it all.
    """
    parts = part_of_parameters(model)
    inner = [(parts[name], parameter) for name, parameter in model.named_parameters()]
    total = sum(element_count(parameter) for part, parameter in inner if part == "layers")
    kept = quantized_parameters(model)
    share = sum(element_count(p) for part, p in inner if part == "layers" and id(p) in kept) / total
    if share < MOST_OF_THE_LAYERS:
        raise ModelError(
            f"qlora: bitsandbytes can quantise only {share:.0%} of the weights in this model's layers",
            fix="use lora, or another base; it takes linear layers: " + ", ".join(linear_layer_names(model)),
        )


_Prepare = Callable[[PreTrainedModel, Mapping[str, Any]], PreTrainedModel | PeftModel]


def _with_preset(preset: Mapping[str, Any]) -> _Prepare:
    return lambda model, options: add_lora(model, {**preset, **options})


_METHODS: dict[str, _Prepare] = {
    "full": _full,
    "freeze": _freeze,
    **{name: _with_preset(preset) for name, preset in LORA_PRESETS.items()},
    "ia3": add_ia3,
    "prompt_tuning": add_prompt,
    "qlora": _qlora,
}
