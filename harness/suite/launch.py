"""In how many processes a trial is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.gpus import devices
from harness.protocols import trait
from harness.registry import Plugin
from harness.suite.keys import LaunchKeys
from harness.suite.sections import Reader, Written


def read_launch(
    reader: Reader, written: Written, backend: Plugin, training: Mapping[str, Any]
) -> dict[str, Any]:
    """The keys of a launch in several processes; empty for one process."""
    keys = reader.section(LaunchKeys, written)
    honoured: frozenset[str] = trait(backend.cls, "launch_keys")
    for key in keys.model_fields_set - honoured:
        what = f"backend '{backend.name}' does not honour launch.{key}"
        fix = f"it honours {', '.join(sorted(honoured))}" if honoured else "leave launch out"
        reader.fault(written.at(key), what, fix)
    if keys.num_processes > 1 and training.get("deepspeed") and not devices():
        what = "DeepSpeed trains in several processes on GPUs alone, and there is none here"
        reader.fault(written.at("num_processes"), what, "set num_processes: 1")
    return keys.model_dump() if keys.num_processes > 1 else {}
