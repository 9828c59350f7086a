"""How much a decoder layer keeps for its backward pass, read off the layer's own modules.

After Korthikanti et al. 2022 ("Reducing Activation Recomputation in Large Transformer Models", section 4.1),
who count what each operation of a layer saves, with three changes: attention through SDPA keeps no square
matrix, frozen weights keep no input of theirs, and mixed precision keeps a copy of its input for each linear
layer. tests/test_memory.py holds the counts against the memory that real training steps allocate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from bitsandbytes.nn import Linear4bit, Linear8bitLt
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from harness.modeling.layers import EXPERT_DIMENSIONS

_SPELLED_OUT = frozenset({"NewGELUActivation", "FastGELUActivation", "BloomGelu"})
"""Activations in several operations of Python, which keep the terms between."""
NORM_BYTES = 4
"""Norms compute in float32 whatever the model's dtype."""


@dataclass(frozen=True, slots=True)
class Precision:
    """Bytes of a number: as matrix products compute (`compute`) and in the residual stream (`residual`)."""

    compute: int
    residual: int

    @property
    def mixed(self) -> bool:
        """Whether a linear layer's input has to be cast, a copy for each."""
        return self.compute != self.residual


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer: sizes, whether its input is kept, and what an adapter on it keeps per token."""

    parent: str
    inputs: int
    outputs: int
    output_bytes: int
    keeps_input: bool
    adapted: bool = False
    adapter_bytes: int = 0


def saved_by_layer(layer: nn.Module, precision: Precision, experts: int = 0) -> int:
    """Bytes for each token that a decoder layer of a prepared model keeps until its backward pass.

    `experts` are those that a token is routed to, where the layer is a mixture of experts.
    """
    linears = list(_linears(layer, precision))
    if not linears:
        return _norms(layer, 0, precision)
    attention, *others = [list(group) for _, group in groupby(linears, key=lambda linear: linear.parent)]
    inner = attention[-1].inputs
    # Queries, keys and values (repeated to as many heads), and the result with a copy of it in order.
    saved = _inputs(attention, precision) + 5 * inner * precision.compute
    for block in others:
        saved += _inputs(block, precision) + _between(layer, block, precision)
    for weight in layer.parameters():
        if weight.dim() == EXPERT_DIMENSIONS:  # what goes into the expert's matrix and what comes out
            saved += experts * sum(weight.shape[1:]) * precision.compute
    masks = sum(isinstance(module, nn.Dropout) and module.p > 0 for module in layer.modules())
    saved += masks * linears[0].inputs  # one byte each
    return saved + _norms(layer, inner, precision) + sum(linear.adapter_bytes for linear in linears)


def _inputs(block: list[Linear], precision: Precision) -> int:
    """What the linear layers of a block keep that read the norm's output: all but the last."""
    keeping = [linear for linear in block[:-1] if linear.keeps_input]
    cast = precision.mixed or (precision.compute != 4 and any(linear.adapted for linear in keeping))
    return sum(linear.inputs for linear in (keeping if cast else keeping[:1])) * precision.compute


def _between(layer: nn.Module, block: list[Linear], precision: Precision) -> int:
    """What a feed-forward block keeps between its first linear layers and its last one."""
    *readers, last = block
    if not readers:
        return 0
    if sum(linear.outputs for linear in readers) >= 2 * last.inputs:
        kept = 3  # a gate, its activation, and what that is multiplied with
    else:
        kept = 4 if any(type(m).__name__ in _SPELLED_OUT for m in layer.modules()) else 1
    width = max(linear.output_bytes for linear in readers)
    return last.inputs * (kept * width + last.keeps_input * precision.compute)


def _norms(layer: nn.Module, inner: int, precision: Precision) -> int:
    """What is normalised, and where a norm's weight is trained what that is multiplied with."""
    hidden = max((weight.numel() for weight in _norm_weights(layer)), default=0)
    saved = 0
    for weight in _norm_weights(layer):
        width = weight.numel() if weight.numel() == hidden else inner  # a norm of each head
        saved += width * (NORM_BYTES + precision.residual * weight.requires_grad)
    return saved


def _norm_weights(layer: nn.Module) -> list[nn.Parameter]:
    norms = (module for module in layer.modules() if "norm" in type(module).__name__.lower())
    weights = (getattr(norm, "weight", None) for norm in norms)
    return [weight for weight in weights if weight is not None and weight.dim() == 1]


def _linears(layer: nn.Module, precision: Precision) -> Iterator[Linear]:
    """The layer's linear layers in order, with what peft put around them."""
    inside: tuple[str, ...] = ()
    for name, module in layer.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(module, BaseTunerLayer):
            inside = (*inside, f"{name}.")
            yield _adapted(name.rpartition(".")[0], module, precision)
        elif isinstance(module, nn.Linear | Conv1D):
            trained = any(p.requires_grad for p in module.parameters())
            inputs, outputs = _sizes(module)
            keeps = trained or isinstance(module, Linear8bitLt)
            yield Linear(name.rpartition(".")[0], inputs, outputs, _output_bytes(module, precision), keeps)


def _adapted(parent: str, module: Any, precision: Precision) -> Linear:
    inputs, outputs = _sizes(module.get_base_layer())
    ranks = sum(getattr(module, "r", {}).values())
    kept = ranks * precision.compute
    if any(getattr(drop, "p", 0.0) > 0 for drop in getattr(module, "lora_dropout", {}).values()):
        kept += inputs * (1 + precision.compute)  # the mask, and what is left
    if any(getattr(module, "use_dora", {}).values()):
        kept += 2 * outputs * precision.compute  # both summands, which the magnitude scales
    width = _output_bytes(module.get_base_layer(), precision)
    return Linear(parent, inputs, outputs, width, keeps_input=True, adapted=True, adapter_bytes=kept)


def _output_bytes(module: nn.Module, precision: Precision) -> int:
    """bitsandbytes gives back the dtype that it was given."""
    return precision.residual if isinstance(module, Linear4bit | Linear8bitLt) else precision.compute


def _sizes(module: Any) -> tuple[int, int]:
    """(inputs, outputs), also of what has a matrix but is no linear layer by its class: routers, experts."""
    if isinstance(module, Conv1D):
        return int(module.nx), int(module.nf)
    if isinstance(module, nn.Linear):
        return int(module.in_features), int(module.out_features)
    *_, outputs, inputs = next(p.shape for p in module.parameters() if p.dim() > 1)
    return int(inputs), int(outputs)
