"""Energy that GPUs drew, by NVIDIA's own counter: NVML, through the package nvidia-ml-py."""

from __future__ import annotations

from typing import Any

import torch


class EnergyMeter:
    """Joules since it was made. The counter is the whole GPU's: other programs on it are counted too.

    It is on GPUs from Volta on; where there is none, no package or no driver, `joules` is None.
    """

    def __init__(self, device: torch.device, processes: int = 1) -> None:
        self._earlier: float | None = 0.0
        self._gpus = _gpus(device, processes)
        self._started = self._reading()

    def carry_on(self, joules: float | None) -> None:
        """Add what an earlier attempt took, or None where it could not tell."""
        self._earlier = joules

    def joules(self) -> float | None:
        """What has been drawn; None where it is not known."""
        now = self._reading()
        if now is None or self._started is None or self._earlier is None:
            return None
        return self._earlier + now - self._started

    def _reading(self) -> float | None:
        if not self._gpus:
            return None
        import pynvml

        try:
            millijoules = [pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in self._gpus]
        except pynvml.NVMLError:  # the GPU has no counter, or the driver refuses it
            return None
        return float(sum(millijoules)) / 1000


def _gpus(device: torch.device, processes: int) -> list[Any]:
    """NVML's handles of this process's device, or of the first ones where several processes train."""
    if device.type != "cuda":
        return []
    try:
        import pynvml
    except ModuleNotFoundError:
        return []
    indices = range(processes) if processes > 1 else [device.index or 0]
    try:
        pynvml.nvmlInit()
        # By UUID: CUDA_VISIBLE_DEVICES renumbers devices for torch, but not for NVML.
        uuids = [str(torch.cuda.get_device_properties(index).uuid) for index in indices]
        return [pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid.removeprefix('GPU-')}") for uuid in uuids]
    except pynvml.NVMLError:
        return []
