"""Where a model computes, and in which dtype."""

from __future__ import annotations

import gc

import torch


def pick_device() -> torch.device:
    """The first CUDA device, or the CPU."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes in it, float32 elsewhere."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def computes_in(bf16: bool | None, fp16: bool, device: torch.device) -> torch.dtype:
    """The dtype that a training with these settings computes in; `bf16` None: where the hardware has it."""
    if fp16:
        return torch.float16
    if bf16 is None:
        return compute_dtype(device)
    return torch.bfloat16 if bf16 else torch.float32


def device_name(device: torch.device) -> str:
    """`cpu`, or a GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16` for torch.bfloat16."""
    return str(dtype).removeprefix("torch.")


def autocast(device: torch.device, compute_dtype: torch.dtype) -> torch.autocast:
    """Computation in `compute_dtype`; float32 means that nothing is cast."""
    half = compute_dtype != torch.float32
    return torch.autocast(device.type, dtype=compute_dtype if half else torch.bfloat16, enabled=half)


def release_memory() -> None:
    """Give memory that nothing refers to any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
