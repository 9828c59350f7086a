"""Every random generator that training may touch: seeded, captured and restored together."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def capture() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The state of all generators: tensors for safetensors, the rest as JSON values."""
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    numpy_state = [name, np.asarray(keys).tolist(), position, has_gauss, gauss]
    return tensors, {"python": random.getstate(), "numpy": numpy_state}


def restore(tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
    """Put all generators back to what `capture` returned."""
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        states = [tensors[key] for key in sorted(tensors, key=_device_index) if key.startswith("cuda.")]
        torch.cuda.set_rng_state_all(states)
    version, internal, gauss = values["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = values["numpy"]
    np.random.set_state((name, np.asarray(keys, dtype=np.uint32), *rest))


def _device_index(key: str) -> int:
    return int(key.rpartition(".")[2]) if key.startswith("cuda.") else -1
