"""A causal language model in three parts: embeddings, layers, head. No table of architectures is needed."""

from __future__ import annotations

from math import prod
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from harness.errors import ModelError

Part = Literal["embeddings", "layers", "head"]
EXPERT_DIMENSIONS = 3
"""Of a weight that holds the matrices of all experts of a layer: (experts, rows, columns)."""


def decoder_layers(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The stack of decoder layers and its name within the model.

    It is the ModuleList with as many members as the config has layers, and of these the largest: a
    list of experts may happen to have the same length, but lies inside a layer.
    """
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    if not stacks:
        raise ModelError(
            f"{model.config.model_type}: found no list of {count} decoder layers",
            fix="freeze does not know this architecture; use full or lora",
        )
    return max(stacks, key=lambda stack: sum(parameter.numel() for parameter in stack[1].parameters()))


def part_of_parameters(model: PreTrainedModel) -> dict[str, Part]:
    """The part that each parameter, by name, belongs to.

    The head is what follows the last layer: the final norm and the output projection. Embeddings are
    those of tokens and positions, with a norm of their own where an architecture has one. A matrix
    that is both input embedding and output projection (tied) counts as embeddings.
    """
    stack, _ = decoder_layers(model)
    output = model.get_output_embeddings()
    in_embeddings = {
        id(parameter)
        for name, module in model.named_modules()
        if module is not output and (isinstance(module, nn.Embedding) or "embed" in name.rpartition(".")[2])
        for parameter in module.parameters()
    }

    def part(name: str, parameter: nn.Parameter) -> Part:
        if name.startswith(f"{stack}."):
            return "layers"
        if id(parameter) in in_embeddings:
            return "embeddings"
        return "head"

    return {name: part(name, parameter) for name, parameter in model.named_parameters()}


def is_tied(model: PreTrainedModel) -> bool:
    """Whether the input embeddings and the output projection are one tensor."""
    output = model.get_output_embeddings()
    return output is not None and output.weight is model.get_input_embeddings().weight


def backward_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers that a gradient passes through: from the first trained one up.

    All of them where something below is trained, such as embeddings or a soft prompt.
    """
    parts = part_of_parameters(model)
    layers = list(decoder_layers(model)[1])
    if any(p.requires_grad and parts[name] == "embeddings" for name, p in model.named_parameters()):
        return layers
    trained = [any(p.requires_grad for p in layer.parameters()) for layer in layers]
    return layers[trained.index(True) :] if any(trained) else []


def element_count(parameter: nn.Parameter) -> int:
    """Elements of a weight, also of one that bitsandbytes packs two into a byte."""
    state = getattr(parameter, "quant_state", None)
    return parameter.numel() if state is None else prod(state.shape)
