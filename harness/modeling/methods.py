"""Methods: which weights of a model are trained. They know nothing of the loop that trains them.

full     every weight
freeze   the last decoder layers; embeddings and head (final norm and output projection) on request
lora     low-rank adapters beside frozen weights (Hu et al. 2021), with all that peft's LoraConfig offers
qlora    lora over a base in 4 or 8 bit (Dettmers et al. 2023)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from harness.errors import ModelError
from harness.modeling.adapters import add_adapter, prepare_quantized
from harness.modeling.layers import decoder_layers, is_tied, part_of_parameters
from harness.modeling.random_state import seed_everything
from harness.records import Method


def quantization(method: Method) -> Mapping[str, Any] | None:
    """The BitsAndBytesConfig keys a model has to be loaded with for this method, or None."""
    return method.options["quantization"] if method.name == "qlora" else None


def prepare(model: PreTrainedModel, method: Method, seed: int) -> PreTrainedModel | PeftModel:
    """The model with exactly the method's weights trainable; adapters are drawn from `seed`.

    For qlora the model has been loaded with `quantization(method)`. Raises ModelError where the method
    does not fit the model.
    """
    # Before the adapter is created, not after: the same seed must give the same adapter.
    seed_everything(seed)
    prepared = _METHODS[method.name](model, method.options)
    if not any(parameter.requires_grad for parameter in prepared.parameters()):
        raise ModelError(
            f"{method.name}: nothing would be trained", fix="choose layers, embeddings or the head"
        )
    return prepared


def _full(model: PreTrainedModel, _options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    model.requires_grad_(True)
    return model


def _freeze(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    last = options.get("last_layers") or 0
    embeddings, head = options.get("embeddings", False), options.get("head", False)
    stack, layers = decoder_layers(model)
    if not 0 <= last <= len(layers):
        raise ModelError(
            f"freeze.last_layers: {last} asked for, the model has {len(layers)} decoder layers",
            fix=f"choose 0 to {len(layers)}",
        )
    if embeddings != head and is_tied(model):
        raise ModelError(
            "freeze: embeddings and head of this model are one tensor, so they train together or not at all",
            fix="set both `embeddings` and `head`, or neither",
        )
    trained = tuple(f"{stack}.{index}." for index in range(len(layers) - last, len(layers)))
    wanted = {"embeddings": embeddings, "head": head}
    parts = part_of_parameters(model)
    for name, parameter in model.named_parameters():
        part = parts[name]
        parameter.requires_grad_(name.startswith(trained) if part == "layers" else wanted[part])
    return model


def _lora(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    return add_adapter(model, options)


def _qlora(model: PreTrainedModel, options: Mapping[str, Any]) -> PreTrainedModel | PeftModel:
    return add_adapter(prepare_quantized(model), options.get("lora", {}))


_METHODS: dict[str, Callable[[PreTrainedModel, Mapping[str, Any]], PreTrainedModel | PeftModel]] = {
    "full": _full,
    "freeze": _freeze,
    "lora": _lora,
    "qlora": _qlora,
}
