"""Where a board was made: machine and package versions, found without importing a heavy package."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from harness import __version__

PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "trl", "datasets", "evaluate",
    "tokenizers", "safetensors", "sacrebleu", "openai", "numpy", "scipy",
)  # fmt: skip
CPU_INFO = Path("/proc/cpuinfo")


def environment() -> dict[str, Any]:
    """Python, platform, processor, GPUs and packages of this machine."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": f"{_processor()}, {os.cpu_count()} logical cores",
        "gpus": _gpus(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "harness": __version__,
    }


def _processor() -> str:
    if CPU_INFO.exists():
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Name and memory of each GPU by nvidia-smi; none where it is absent or does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in shown.stdout.splitlines() if line.strip()]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
