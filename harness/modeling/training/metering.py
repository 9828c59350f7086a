"""What a training costs: wall time by phase, speed, memory, energy, parameters, bytes on disk."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from harness.modeling.devices import device_name
from harness.modeling.layers import element_count
from harness.modeling.memory import available
from harness.modeling.training.energy import EnergyMeter
from harness.modeling.training.model_flops import ModelFlops, model_flops, peak_flops

WARM_UP_STEPS = 2
"""First steps of an attempt, which kernels are chosen and memory is claimed in: not counted for the speed."""


class Meter:
    """Wall time by phase, speed, energy and the peaks of memory; all but speed is carried on over a resume.

    Phases do not nest, so validation and saving are never counted as training. `processes` train together,
    each on a device of its own; memory is that of this one.
    """

    def __init__(self, device: torch.device, processes: int = 1) -> None:
        self.seconds = {"load": 0.0, "train": 0.0, "validate": 0.0, "save": 0.0}
        self.base_memory_bytes: int | None = None
        self._device, self._processes = device, processes
        self._earlier_peak = 0
        self._flops: ModelFlops | None = None
        self._speed = _Speed()
        self._energy = EnergyMeter(device, processes)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase, also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - started

    def model_is_ready(self, model: nn.Module, compute_dtype: torch.dtype) -> None:
        """Note what memory the prepared model takes, and how many operations its training needs."""
        self.base_memory_bytes = self._memory_now()
        if compute_dtype.itemsize == 2 and peak_flops(device_name(self._device)) is not None:
            self._flops = model_flops(model)

    def count_step(self, lengths: Sequence[int], targets: int) -> None:
        """Count a step that was just done, by the lengths of its rows (of packed rows, of their parts)."""
        flops = self._flops.of(lengths, targets) if self._flops else 0.0
        self._speed.count(self.seconds["train"], sum(lengths), flops)

    def carry_on(
        self, seconds: Mapping[str, float], peak_memory_bytes: int, energy_joules: float | None = None
    ) -> None:
        """Add what an earlier attempt took up to its last checkpoint."""
        for phase, value in seconds.items():
            self.seconds[phase] += value
        self._earlier_peak = max(self._earlier_peak, peak_memory_bytes)
        self._energy.carry_on(energy_joules)
        self._speed = _Speed(self.seconds["train"])

    @property
    def memory_kind(self) -> str:
        """What `peak_memory_bytes` measures."""
        return "cuda allocated" if self._device.type == "cuda" else "process RSS"

    def peak_memory_bytes(self) -> int:
        """The most that torch's CUDA allocator held, or the process's peak resident set."""
        return max(self._earlier_peak, self._memory_now(peak=True))

    def energy_joules(self) -> float | None:
        """What the devices drew since the start, for others too; None where they do not tell."""
        return self._energy.joules()

    def figures(self, tokens_seen: int) -> dict[str, Any]:
        """The meter's fields of a TrainOutcome; `tokens_seen` in the whole training."""
        rate = self._speed.flops_per_second
        peak = peak_flops(device_name(self._device))
        on_gpu = self._device.type == "cuda"
        return {
            "seconds": dict(self.seconds),
            "tokens_per_second": self._speed.tokens_per_second or tokens_seen / self.seconds["train"],
            "peak_memory_bytes": self.peak_memory_bytes(),
            "memory_kind": self.memory_kind,
            "device": device_name(self._device),
            "process_count": self._processes,
            "base_memory_bytes": self.base_memory_bytes,
            "reserved_memory_bytes": torch.cuda.max_memory_reserved(self._device) if on_gpu else None,
            "device_memory_bytes": available(self._device),
            "energy_joules": self.energy_joules(),
            "mfu": rate / (peak * self._processes) if rate and peak else None,
        }

    def _memory_now(self, *, peak: bool = False) -> int:
        if self._device.type == "cuda":
            read = torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated
            return int(read(self._device))
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


class _Speed:
    """Tokens and operations a second, without the first steps of an attempt where there are others."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._started, self._now = seconds, seconds
        self._steps = self._tokens = 0
        self._flops = 0.0

    def count(self, seconds: float, tokens: int, flops: float) -> None:
        """Add a step; `seconds` were trained when it was done."""
        if self._steps == WARM_UP_STEPS:
            self._started, self._tokens, self._flops = self._now, 0, 0.0
        self._now = seconds
        self._steps += 1
        self._tokens += tokens
        self._flops += flops

    @property
    def tokens_per_second(self) -> float | None:
        return self._over_time(self._tokens)

    @property
    def flops_per_second(self) -> float | None:
        return self._over_time(self._flops)

    def _over_time(self, amount: float) -> float | None:
        """None where a resumed attempt had no step left to do."""
        seconds = self._now - self._started
        return amount / seconds if seconds > 0 else None


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """(trainable, total) parameters; each tied tensor once, a 4-bit weight by its elements, not its bytes."""
    trainable = total = 0
    for parameter in model.parameters():
        count = element_count(parameter)
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def folder_bytes(folder: Path) -> int:
    """Bytes of all files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
