"""TRL's SFTTrainer on the same rows, labels, weights and adapters as the torch backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.backends.torch import Torch
from harness.modeling.trainer_settings import VALUES
from harness.modeling.training_settings import METHODS
from harness.modeling.trl_settings import KEYS, require_trl
from harness.protocols import LanguageModel, TrainJob, TrainOutcome
from harness.records import ModelRef, Prompting


@dataclass(frozen=True)
class Trl:
    """SFTTrainer of TRL: every method of the torch backend; packs rows itself."""

    training_keys: ClassVar[frozenset[str]] = KEYS
    training_values: ClassVar[Mapping[str, frozenset[Any]]] = VALUES
    methods: ClassVar[frozenset[str]] = METHODS
    launch_keys: ClassVar[frozenset[str]] = frozenset({"num_processes"})

    def preflight(self) -> None:
        """Raise PluginError where TRL is not installed."""
        require_trl()

    def train(self, job: TrainJob) -> TrainOutcome:
        """Train, or go on from the checkpoint that an earlier attempt left in `job.out`."""
        from harness.modeling.trl_training import train

        return train(job)

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel:
        """The model as the torch backend loads it: what was trained is the same on disk."""
        return Torch().load(model, trained, prompting)
