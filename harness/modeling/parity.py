"""The same recipe on two engines: whether the torch loop and TRL train the same model, step by step."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.errors import PluginError
from harness.json_files import iter_json_lines
from harness.modeling import training as torch_training
from harness.modeling.trainer_settings import VALUES
from harness.modeling.trl_settings import NOT_HONOURED, require_trl
from harness.protocols import TrainJob

TOLERANCE = 1e-3
"""Relative difference up to which two engines count as equal: measured in float32 it is 2e-7."""
STEPS = 8
_WATCHED = {
    "eval_strategy": "steps",
    "eval_steps": None,
    "eval_epochs": None,
    "eval_on_start": False,
    "early_stopping_patience": None,
    "load_best_model_at_end": False,
    "logging_steps": 1,
    "validation_samples": 0,
    "save_steps": None,
    # Rows are packed by each engine in its own way, and so fall into other steps.
    "packing": False,
    "padding_free": False,
}


@dataclass(frozen=True)
class Parity:
    """Loss of each step in nats per target, and of the held-out rows at the end, by engine."""

    train_losses: Mapping[str, list[float]]
    final_losses: Mapping[str, float]

    @property
    def curve_difference(self) -> float:
        """The largest relative difference between the losses of one step."""
        pairs = zip(self.train_losses["torch"], self.train_losses["trl"], strict=True)
        return max(abs(trl - torch) / torch for torch, trl in pairs)

    @property
    def final_difference(self) -> float:
        """The relative difference of the final held-out losses."""
        return abs(self.final_losses["trl"] - self.final_losses["torch"]) / self.final_losses["torch"]

    @property
    def worst(self) -> float:
        """The larger of the two; up to TOLERANCE the engines agree."""
        return max(self.curve_difference, self.final_difference)


def parity(job: TrainJob, steps: int = STEPS) -> Parity:
    """Train `job` on both engines for so many steps, from the same seed and in the same order of rows.

    The training rows stand in for held-out ones where there are none. Nothing is left in `job.out`.
    Raises PluginError where TRL is not installed or cannot train the recipe, and whatever training raises.
    """
    require_trl()
    _require_both_can(job.training)
    from harness.modeling import trl_training

    watched = {**job.training, **_WATCHED, "eval_steps": steps, "max_steps": steps}
    job = replace(job, training=watched, validation=job.validation or job.train)
    lines = {}
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        for engine, train in (("torch", torch_training.train), ("trl", trl_training.train)):
            (out := Path(folder) / engine).mkdir()
            train(replace(job, out=out, training=_told(engine, watched)))
            lines[engine] = list(iter_json_lines(out / "log.jsonl"))
    return Parity(
        {engine: [line["loss"] for line in log if line["type"] == "train"] for engine, log in lines.items()},
        {engine: log[-1]["loss"] for engine, log in lines.items()},
    )


def _told(engine: str, training: Mapping[str, Any]) -> dict[str, Any]:
    """The torch loop knows nothing of the key that only TRL has."""
    only_trl = {"padding_free"} if engine == "torch" else set()
    return {key: value for key, value in training.items() if key not in only_trl}


def _require_both_can(training: Mapping[str, Any]) -> None:
    for key, off in NOT_HONOURED.items():
        if training.get(key, off) != off:
            raise PluginError(f"trl has no {key}, so the two engines cannot be compared")
    for key, honoured in VALUES.items():
        if training[key] not in honoured:
            raise PluginError(f"trl has no {key}: {training[key]}, so the two engines cannot be compared")
