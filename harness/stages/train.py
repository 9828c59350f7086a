"""Training a trial. What a checkpoint is and how to go on from one is the backend's affair."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry
from harness.protocols import Progress, TrainJob
from harness.records import Method, ModelRef, PluginSpec, Prompting, from_json, write_json

VERSION = 1


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write outcome.json; the backend writes model/ and log.jsonl, and clears away what it resumes from."""
    validation = inputs["data"] / "validation.jsonl"
    job = TrainJob(
        model=from_json(ModelRef, params["model"]),
        method=from_json(Method, params["method"]),
        training=params["training"],
        prompting=from_json(Prompting, params["prompting"]),
        generation=params["generation"],
        seed=params["seed"],
        train=inputs["data"] / "train.jsonl",
        validation=validation if validation.exists() else None,
        out=out,
        progress=progress,
    )
    backend = registry.create(from_json(PluginSpec, params["backend"]))
    write_json(out / "outcome.json", backend.train(job))
