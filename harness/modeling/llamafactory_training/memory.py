"""What the command held in memory: by its own log on a GPU, by the kernel's count elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FIELDS = ("memory_kind", "peak_memory_bytes", "reserved_memory_bytes")
_CUDA = "cuda allocated"
_UNKNOWN = {"memory_kind": "process RSS", "peak_memory_bytes": 0, "reserved_memory_bytes": None}


def memory_held(entry: Mapping[str, Any], process_id: int | None) -> dict[str, Any]:
    """FIELDS at a line of the command's log: peaks of its CUDA allocator, or of its resident set.

    On a GPU less than 5 MiB is logged as 0.00 GiB, and counts as not logged.
    """
    if (allocated := entry.get("vram_allocated", 0.0)) > 0:
        reserved = entry.get("vram_reserved", 0.0)
        return {
            "memory_kind": _CUDA,
            "peak_memory_bytes": int(allocated * 2**30),
            "reserved_memory_bytes": int(reserved * 2**30) if reserved > 0 else None,
        }
    return {**_UNKNOWN, "peak_memory_bytes": _peak_resident_bytes(process_id)}


def memory_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """FIELDS of a TrainOutcome: the most of all steps, of one kind; {} where no step's could be read."""
    known = [line for line in lines if line["peak_memory_bytes"]]
    of_one_kind = [line for line in known if line["memory_kind"] == _CUDA] or known
    if not of_one_kind:
        return {}
    reserved = [line["reserved_memory_bytes"] for line in of_one_kind if line["reserved_memory_bytes"]]
    return {
        "memory_kind": of_one_kind[0]["memory_kind"],
        "peak_memory_bytes": max(line["peak_memory_bytes"] for line in of_one_kind),
        "reserved_memory_bytes": max(reserved, default=None),
    }


def memory_after(last: Mapping[str, Any] | None) -> dict[str, Any]:
    """FIELDS of a step that nobody saw: what was known at the one before."""
    return {field: last[field] for field in FIELDS} if last else dict(_UNKNOWN)


def _peak_resident_bytes(process_id: int | None) -> int:
    """0 where it cannot be read."""
    status = Path(f"/proc/{process_id}/status")
    if not status.exists():
        return 0
    lines = status.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)
