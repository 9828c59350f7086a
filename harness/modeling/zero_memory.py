"""What a training under DeepSpeed's ZeRO holds on its device, for the estimate of memory.

In one process nothing is divided, so that all is held: weights in the dtype that computes, float32 masters,
both moments, gradients (Rajbhandari et al. 2020, section 3.1). What is offloaded is on the host, but for the
buckets and layers that are in use (Ren et al. 2021, "ZeRO-Offload"). Several processes hold less.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_MASTER, _MOMENTS, _STEPPED = 4, 8, 4
"""Bytes of each trained weight: its float32 master, AdamW's two moments, its gradient as AdamW takes it."""
_DEFAULTS = {
    "reduce_bucket_size": 500_000_000,
    "stage3_prefetch_bucket_size": 50_000_000,
    "stage3_max_live_parameters": 1_000_000_000,
}


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes on the device, and on the `host` beside it.

    `stepping` is what an optimizer step takes beside the gradients.
    """

    weights: int
    gradients: int
    optimizer: int
    stepping: int
    host: int = 0


def held_on_device(
    model: Any, deepspeed: Mapping[str, Any], compute_bytes: int, device: torch.device
) -> Held:
    """What one process holds on `device`; on a CPU nothing is saved by an offload."""
    zero = deepspeed["zero_optimization"]
    counts = {parameter: parameter.numel() for parameter in model.parameters()}
    total = sum(counts.values())
    trained = sum(count for parameter, count in counts.items() if parameter.requires_grad)
    offloaded = {key for key in ("offload_optimizer", "offload_param") if _is_offloaded(zero, key)}
    weights, gradients = total * compute_bytes, trained * compute_bytes
    optimizer, stepping, host = trained * (_MASTER + _MOMENTS), trained * _STEPPED, 0
    hidden = model.config.get_text_config(decoder=True).hidden_size
    if device.type == "cpu":
        offloaded = set()
    if "offload_param" in offloaded:
        host += weights
        fetched = _size(zero, "stage3_max_live_parameters", hidden)
        fetched += _size(zero, "stage3_prefetch_bucket_size", hidden) + _largest_module(model)
        weights = min(total, fetched) * compute_bytes
    if "offload_optimizer" in offloaded:
        host += optimizer + stepping
        bucket = max(_size(zero, "reduce_bucket_size", hidden), max(counts.values()))
        # One bucket is filled while the other is on its way.
        gradients, optimizer, stepping = min(trained, 2 * bucket) * compute_bytes, 0, 0
    return Held(weights, gradients, optimizer, stepping, host)


def _is_offloaded(zero: Mapping[str, Any], key: str) -> bool:
    return (zero.get(key) or {}).get("device") == "cpu"


def _size(zero: Mapping[str, Any], key: str, hidden: int) -> int:
    """A size in weights; `auto` is transformers' and goes by the width of the model."""
    size = zero.get(key, _DEFAULTS[key])
    return hidden * hidden if size == "auto" else int(size)


def _largest_module(model: nn.Module) -> int:
    """Weights of the largest module that is fetched as one: those that it has itself."""
    return max(sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules())
