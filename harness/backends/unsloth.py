"""Unsloth's kernels under TRL's SFTTrainer. Written against Unsloth 2026.10; it has not been run on a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from harness.backends.torch import Torch
from harness.errors import ModelError, PluginError
from harness.gpus import devices
from harness.modeling.trainer_settings import VALUES
from harness.modeling.training_settings import BASE_CHANGING
from harness.modeling.trl_settings import KEYS
from harness.protocols import LanguageModel, TrainJob, TrainOutcome
from harness.records import Method, ModelRef, Prompting


@dataclass(frozen=True)
class Unsloth:
    """The trl backend over models that Unsloth loads and patches; needs a GPU."""

    training_keys: ClassVar[frozenset[str]] = KEYS - {"dropout", "deepspeed"}
    training_values: ClassVar[Mapping[str, frozenset[Any]]] = VALUES
    methods: ClassVar[frozenset[str]] = frozenset({"full", "lora", "rslora", "qlora"})

    def preflight(self) -> None:
        """Raise PluginError where there is no GPU, or Unsloth is not installed."""
        if not devices():
            raise PluginError("unsloth needs a GPU, and there is none here", fix="choose backend: trl")
        if find_spec("unsloth") is None:
            # Its releases name older versions of transformers and TRL than the harness needs.
            command = "pip install --no-deps unsloth unsloth_zoo"
            raise PluginError("unsloth is not installed", fix=command)

    def train(self, job: TrainJob) -> TrainOutcome:
        """Train, or go on from the checkpoint that an earlier attempt left in `job.out`."""
        _require_untouched_base(job.method)
        from harness.modeling.unsloth_model import unsloth_model  # isort: skip - it patches what comes after
        from harness.modeling.trl_training import train

        return train(job, unsloth_model)

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel:
        """The model as the torch backend loads it, without Unsloth: scores are to be those of one code."""
        return Torch().load(model, trained, prompting)


def _require_untouched_base(method: Method) -> None:
    """Raise ModelError where the adapter would be taken out of the base's weights: Unsloth does not do it."""
    lora = method.options.get("lora", {}) if method.name == "qlora" else method.options
    initialisation = str(lora.get("init_lora_weights"))
    if initialisation.startswith(BASE_CHANGING):
        what = f"unsloth has no init_lora_weights: {initialisation}"
        raise ModelError(what, where=f"method.{method.name}", fix="choose backend: trl")
