"""An estimate of the peak of memory that training takes, made before it starts.

What is counted: weights as they are kept, gradients and optimizer moments of what is trained (Rajbhandari et
al. 2020, "ZeRO", section 3.1), activations of the largest batch (saved_activations.py), logits at the targets
alone (likelihood.py). It is the `torch` backend's loop that is estimated; others keep more rather than less.
Sizes and places of all tensors are those of the model itself, built on torch's meta device. Held against the
tensors of real steps (tests/test_memory.py) it is within a tenth for Llama, Qwen3, Gemma, Phi, GPT-2, NeoX
and Mixtral, on a CPU; BLOOM comes out 1.4 times too high, Falcon's LoRA a third too low.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from torch import nn
from transformers import PreTrainedModel

from harness import format as fmt
from harness.errors import ModelError
from harness.modeling.devices import computes_in, pick_device
from harness.modeling.layers import backward_layers
from harness.modeling.likelihood import TARGETS_AT_ONCE
from harness.modeling.loading import within_positions
from harness.modeling.methods import prepared_skeleton, quantization
from harness.modeling.saved_activations import Precision, saved_by_layer
from harness.modeling.training_settings import ADAPTERS
from harness.modeling.zero_memory import held_on_device
from harness.records import Method, ModelRef, Prompting

OUTSIDE = 600_000_000
"""Bytes that no tensor accounts for: a CUDA context with its kernels, or the libraries of a process."""

_MOMENT_BYTES = {
    "adamw_torch": 8.0, "adamw_torch_fused": 8.0, "adam": 8.0, "adadelta": 8.0,
    "rmsprop": 4.0, "sgd": 0.0, "adamw_8bit": 2.0, "paged_adamw_8bit": 2.0,
}  # fmt: skip
"""Optimizer state for each trained parameter. Adafactor's is of rows and columns instead."""
_ONE_MOMENT_MORE = ("momentum", "centered")
"""Keys of `optim_args` that make sgd and rmsprop keep another value for each trained parameter."""
_QUANTILE_BYTES = 8 / 256
"""bitsandbytes' 8-bit moments have a float32 scale for each block of 256, for each of the two."""
_SMALLEST_IN_8_BIT = 4096
_PER_TENSOR = frozenset({"adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"})
"""Optimizers that need no room beside state and gradients while they step; the others take, on CUDA, a copy
of all that is trained (torch's `foreach`)."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes. `total` is the peak, less than the sum: gradients grow while activations are given back.

    `host` is what is offloaded from the device, and in none of the others.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int
    total: int
    host: int = 0

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "activations")
        told = ", ".join(f"{part} {fmt.size(getattr(self, part))}" for part in parts)
        offloaded = f", and {fmt.size(self.host)} on the host" if self.host else ""
        return f"{fmt.size(self.total)} at its peak ({told}){offloaded}"


def estimate(
    model: ModelRef,
    method: Method,
    training: Mapping[str, Any],
    prompting: Prompting,
    lengths: Sequence[int] | None,
    *,
    targets: Sequence[int] | None = None,
    device: torch.device | None = None,
) -> MemoryEstimate:
    """The peak of training `model` by `method`; `training` holds at least batch size, accumulation and optim.

    `lengths` are the rows' tokens and `targets` how many of them are supervised: without, every row is as
    long as `prompting` allows, and all of it supervised. Raises ModelError where method and model do not fit.
    """
    device = device or pick_device()
    prepared = prepared_skeleton(model, method)
    longest = within_positions(prompting, prepared.config).max_length
    batch = _largest_batch(training, longest, lengths, targets)
    return estimate_prepared(prepared, method, training, batch, device)


@dataclass(frozen=True, slots=True)
class LargestBatch:
    """The batch that takes most: rows padded to `length`, and the supervised tokens in it."""

    rows: int
    length: int
    targets: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


def estimate_prepared(
    model: Any, method: Method, training: Mapping[str, Any], batch: LargestBatch, device: torch.device
) -> MemoryEstimate:
    """`estimate` for a model that is prepared already; its tensors may be on the meta device."""
    compute = computes_in(training.get("bf16"), training.get("fp16", False), device).itemsize
    if deepspeed := training.get("deepspeed"):
        held = held_on_device(model, deepspeed, compute, device)
        # Without autocast: the weights are in the dtype that computes, and so is all between the layers.
        activations = _activations(model, batch, training, Precision(compute, compute))
        peak = held.weights + held.optimizer + held.gradients + max(activations, held.stepping)
        return MemoryEstimate(held.weights, held.gradients, held.optimizer, activations, peak, held.host)
    base = compute if method.name in ADAPTERS else 4
    weights = sum(_weight_bytes(model, method, base))
    trained = {p: name for name, p in model.named_parameters() if p.requires_grad}
    gradients = 4 * sum(p.numel() for p in trained)
    optimizer = _optimizer_bytes(model, list(trained), training, device)
    stepping = 0 if device.type == "cpu" or training["optim"] in _PER_TENSOR else gradients
    residual = 4 if quantization(method) else base
    activations = _activations(model, batch, training, Precision(compute, residual))
    kept = gradients if training["gradient_accumulation_steps"] > 1 else 0
    peak = max(activations + kept, gradients + stepping)
    return MemoryEstimate(weights, gradients, optimizer, activations, weights + optimizer + peak)


def _largest_batch(
    training: Mapping[str, Any], longest: int, lengths: Sequence[int] | None, targets: Sequence[int] | None
) -> LargestBatch:
    rows = training["per_device_train_batch_size"]
    if not lengths:
        return LargestBatch(rows, longest, rows * longest)
    rows = min(rows, len(lengths))
    if training.get("packing"):
        share = sum(targets) / sum(lengths) if targets else 1.0
        return LargestBatch(rows, longest, round(rows * longest * share))
    # Rows are trained in groups of like length, so the longest come together.
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])[:rows]
    length = lengths[order[0]]
    return LargestBatch(rows, length, sum(targets[i] for i in order) if targets else rows * length)


def _weight_bytes(model: nn.Module, method: Method, base: int) -> Iterator[int]:
    """Bytes of each parameter as the training keeps it, and of what quantisation needs beside it."""
    options = quantization(method)
    four_bit = _four_bit_bytes(options or {})
    quantized = {
        id(module.weight): four_bit if isinstance(module, Linear4bit) else 1.0
        for module in model.modules()
        if isinstance(module, Linear4bit | Linear8bitLt)
    }
    others = 4 if options else base  # prepare_quantized raises what is not quantised to float32
    for parameter in model.parameters():
        width = quantized.get(id(parameter), 4 if parameter.requires_grad else others)
        yield round(parameter.numel() * width)


def _four_bit_bytes(options: Mapping[str, Any]) -> float:
    """Half a byte, and the constants of blocks of 64 (Dettmers et al. 2023, section 3)."""
    constants = (1 + 4 / 256) if options.get("bnb_4bit_use_double_quant") else 4
    return 0.5 + constants / 64


def _optimizer_bytes(
    model: nn.Module, trained: Sequence[nn.Parameter], training: Mapping[str, Any], device: torch.device
) -> int:
    optim, options = training["optim"], training.get("optim_args") or {}
    if optim == "adafactor":
        return sum(4 * (sum(p.shape) if p.dim() > 1 else p.numel()) for p in trained)
    if optim == "paged_adamw_8bit" and device.type == "cuda":
        return 0  # pages go to the host's memory where the device's gets tight
    if not optim.endswith("8bit"):
        more = sum(bool(options.get(name)) for name in _ONE_MOMENT_MORE)
        return round((_MOMENT_BYTES[optim] + 4 * more) * sum(p.numel() for p in trained))
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    small = [p.numel() < _SMALLEST_IN_8_BIT or id(p) in embeddings for p in trained]
    widths = [8.0 if in_32_bit else _MOMENT_BYTES[optim] + _QUANTILE_BYTES for in_32_bit in small]
    return round(sum(p.numel() * width for p, width in zip(trained, widths, strict=True)))


def _activations(model: Any, batch: LargestBatch, training: Mapping[str, Any], precision: Precision) -> int:
    """Bytes of what the largest batch keeps between forward and backward pass, at its peak."""
    config = model.config.get_text_config(decoder=True)
    hidden: int = config.hidden_size
    experts = getattr(config, "num_experts_per_tok", None) or 0
    layers = backward_layers(model)
    saved = [saved_by_layer(layer, precision, experts) * batch.tokens for layer in layers]
    square, logits = _square_bytes(model, batch, precision.compute), _logits(model, batch, precision.compute)
    if training.get("activation_checkpointing"):
        # The inputs of all layers, and beside them the logits or, after these, one layer's activations.
        inputs = len(layers) * hidden * precision.residual * batch.tokens
        at_peak = inputs + max(max(saved, default=0) + square, logits)
    else:
        at_peak = sum(saved) + square * (len(layers) if _is_eager(model) else 1) + logits
    around = batch.tokens * hidden * (2 * precision.residual + precision.compute)  # embeddings and final norm
    return at_peak + around + _weight_casts(model, layers, precision)


def _square_bytes(model: Any, batch: LargestBatch, compute: int) -> int:
    """Attention's mask as bits and as numbers; without SDPA, the scores of every head in a layer."""
    square = batch.rows * batch.length**2
    if not _is_eager(model):
        return square * (1 + compute)
    # The softmax's result in float32, and as the next product takes it. Mamba has no attention at all.
    heads: int = getattr(model.config.get_text_config(decoder=True), "num_attention_heads", 0)
    return square * heads * (4 if compute == 4 else 4 + compute)


def _is_eager(model: Any) -> bool:
    base: PreTrainedModel = getattr(model, "base_model", model)
    return str(getattr(base.config, "_attn_implementation", "sdpa")) == "eager"


def _weight_casts(model: Any, layers: Sequence[nn.Module], precision: Precision) -> int:
    """Autocast keeps a copy of each float32 matrix until the backward pass has used it."""
    if not precision.mixed:
        return 0
    output = model.get_output_embeddings()
    matrices: list[nn.Parameter] = [] if output is None else [output.weight]
    for layer in layers:
        packed = {id(m.weight) for m in layer.modules() if isinstance(m, Linear4bit | Linear8bitLt)}
        matrices += [p for p in layer.parameters() if p.dim() > 1 and id(p) not in packed]
    return sum(p.numel() for p in matrices) * precision.compute


def _logits(model: Any, batch: LargestBatch, compute: int) -> int:
    """Log-softmax (float32), logits and their gradient at the targets, or copies of a part of these."""
    vocabulary: int = model.get_output_embeddings().weight.shape[0]
    part = min(batch.targets, TARGETS_AT_ONCE)
    in_parts = batch.targets * (4 + compute) + part * (8 - compute)
    return vocabulary * max(batch.targets * (4 + 2 * compute), in_parts)


def require_fit(
    needed: MemoryEstimate, device: torch.device, training: Mapping[str, Any], method: Method
) -> None:
    """ModelError, with the estimate and what to do, where it is more than the device has.

    `training.skip_memory_check: true` lets everything pass.
    """
    if training.get("skip_memory_check"):
        return
    room, on_host = available(device) - OUTSIDE, available(torch.device("cpu")) - OUTSIDE
    if needed.host > on_host:
        raise ModelError(
            f"training would offload about {fmt.size(needed.host)}, the host has {fmt.size(on_host)} for it",
            fix="choose a smaller base model; or training.skip_memory_check: true to try it",
        )
    if needed.total <= room:
        return
    kind = "GPU" if device.type == "cuda" else "host"
    raise ModelError(
        f"training would need about {needed}, the {kind} has {fmt.size(room)} for it",
        fix=f"{', '.join(_remedies(training, method))}; or training.skip_memory_check: true to try it",
    )


def _remedies(training: Mapping[str, Any], method: Method) -> Iterator[str]:
    rows = training["per_device_train_batch_size"]
    if rows > 1:
        accumulation = training["gradient_accumulation_steps"] * rows
        yield f"per_device_train_batch_size: 1 with gradient_accumulation_steps: {accumulation}"
    if not training.get("activation_checkpointing"):
        yield "activation_checkpointing: true"
    if method.name != "qlora":
        yield "method qlora" if method.name in ADAPTERS else "method lora or qlora"
    yield "a lower prompting.max_length"
    yield "a smaller base model"


def available(device: torch.device) -> int:
    """Bytes that programs on the device can have: a GPU's, or the host's or the control group's limit."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    host = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([host, *_group_limits()])


def _group_limits(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> list[int]:
    """Memory limits of this process's control group and those around it; version 1 knows one, if any."""
    files = [root / "memory" / "memory.limit_in_bytes", root / "memory.max"]
    if own.exists():
        paths = [
            line.partition("::")[2].strip("/\n") for line in own.read_text().splitlines() if "::" in line
        ]
        folders = [folder for path in paths for folder in ((root / path), *(root / path).parents)]
        files += [folder / "memory.max" for folder in folders if folder.is_relative_to(root)]
    texts = [file.read_text().strip() for file in files if file.is_file()]
    return [int(text) for text in texts if text.isdecimal()]
