"""What a training costs: wall time by phase, peak memory, parameters, bytes on disk."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path

import torch
from torch import nn


class Meter:
    """Wall time by phase and the peak of memory, carried on over a resume.

    Phases do not nest, so validation and saving are never counted as training.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = {"load": 0.0, "train": 0.0, "validate": 0.0, "save": 0.0}
        self._device = device
        self._earlier_peak = 0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def carry_on(self, seconds: Mapping[str, float], peak_memory_bytes: int) -> None:
        """Add what an earlier attempt took up to its last checkpoint."""
        for phase, value in seconds.items():
            self.seconds[phase] += value
        self._earlier_peak = max(self._earlier_peak, peak_memory_bytes)

    @property
    def memory_kind(self) -> str:
        """What `peak_memory_bytes` measures."""
        return "cuda allocated" if self._device.type == "cuda" else "process RSS"

    def peak_memory_bytes(self) -> int:
        """The most that torch's CUDA allocator held, or the process's peak resident set."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return max(self._earlier_peak, peak)


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """(trainable, total) parameters; each tied tensor once, a 4-bit weight by its elements, not its bytes."""
    trainable = total = 0
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        count = parameter.numel() if state is None else prod(state.shape)
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
