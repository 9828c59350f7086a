"""The harness's own trainer: a plain PyTorch loop, and the reference for every other backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.modeling.training_settings import KEYS, METHODS
from harness.protocols import LanguageModel, TrainJob, TrainOutcome
from harness.records import ModelRef, Prompting


@dataclass(frozen=True)
class Torch:
    """Plain PyTorch, for every method, on one GPU or the CPU."""

    training_keys: ClassVar[frozenset[str]] = KEYS
    methods: ClassVar[frozenset[str]] = METHODS
    launch_keys: ClassVar[frozenset[str]] = frozenset({"num_processes"})

    def train(self, job: TrainJob) -> TrainOutcome:
        """Train, or go on from the checkpoint that an earlier attempt left in `job.out`."""
        from harness.modeling.training import train

        return train(job)

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel:
        """The model in float32 on a CPU and bfloat16 on a GPU; quantised if it was trained so."""
        from harness.modeling.artifacts import load_trained
        from harness.modeling.devices import pick_device
        from harness.modeling.language_model import TransformersLanguageModel
        from harness.modeling.loading import fit_vocabulary, load_model, load_tokenizer

        device = pick_device()
        base_tokenizer = load_tokenizer(model)
        if trained is None:
            base = load_model(model, device=device)
            fit_vocabulary(base_tokenizer, base)
            return TransformersLanguageModel(base, base_tokenizer, prompting)
        tuned, tokenizer = load_trained(model, trained / "model", device)
        return TransformersLanguageModel(tuned, tokenizer, prompting, base_tokenizer)
