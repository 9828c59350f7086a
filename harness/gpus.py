"""Which GPUs this process may use, found without importing torch."""

from __future__ import annotations

import os
from pathlib import Path


def devices() -> list[str]:
    """CUDA devices as CUDA_VISIBLE_DEVICES names them; empty on a bare CPU."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in {"", "-1"}]
    gpus = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index in range(len(list(gpus.iterdir())))] if gpus.is_dir() else []
