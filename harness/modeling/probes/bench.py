"""What probes work on: a base model with a few examples, or a recipe prepared as its training would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.errors import ModelError
from harness.json_files import write_jsonl
from harness.modeling.adapters import prepare_quantized
from harness.modeling.devices import compute_dtype, pick_device
from harness.modeling.loading import load_model, load_skeleton, load_tokenizer, within_positions
from harness.modeling.memory import available
from harness.modeling.supervision import Encoded, Renderer
from harness.modeling.training_settings import KEYS
from harness.protocols import TrainJob
from harness.records import Example, Method, ModelRef, Prompting

TEXTS = 256
"""Examples that are only tokenized."""
ROWS = 8
"""Examples that go through the model."""
USABLE = 0.7
"""Share of a device's memory that weights may take, for activations need some too."""
ONE_ROW = 512
"""Tokens of the longest row that goes through the model, where there are rows enough below it."""
PLAIN = {
    "warmup_steps": 0,
    "warmup_epochs": None,
    "lr_scheduler_type": "constant",
    "lr_scheduler_kwargs": None,
    "eval_strategy": "no",
    "eval_steps": None,
    "eval_epochs": None,
    "eval_on_start": False,
    "load_best_model_at_end": False,
    "early_stopping_patience": None,
    "dataloader_drop_last": False,
}
"""Training keys under which every step counts in full and nothing but steps is done."""


@dataclass(frozen=True)
class Bench:
    """A base model, frozen and in evaluation mode, with examples of the suite's training data.

    `exact` where it computes in float32: elsewhere rounding hides what some probes look for.
    """

    ref: ModelRef
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompting: Prompting
    examples: Sequence[Example]
    exact: bool = True

    @cached_property
    def renderer(self) -> Renderer:
        """How the model is prompted, within its positions."""
        return Renderer(self.tokenizer, within_positions(self.prompting, self.model.config))

    @cached_property
    def encoded(self) -> list[Encoded]:
        """Each example as it is trained on."""
        return [self.renderer.encode(example) for example in self.examples]

    @cached_property
    def chosen(self) -> list[Example]:
        """A few examples of unequal length for the model itself."""
        return [self.examples[index] for index in choose(self.encoded, ROWS)]

    @cached_property
    def rows(self) -> list[Encoded]:
        """The rows of `chosen`."""
        return [self.encoded[index] for index in choose(self.encoded, ROWS)]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return torch.device(self.model.device)

    @property
    def pad_id(self) -> int:
        """What stands under the padding, where no id matters."""
        return int(self.tokenizer.pad_token_id or 0)


def load_bench(
    ref: ModelRef,
    prompting: Prompting,
    examples: Sequence[Example],
    quantization: Mapping[str, Any] | None = None,
) -> Bench:
    """Load the base in float32 or, where that does not fit, as training would: in 16 bit or quantised.

    `quantization` holds keys of BitsAndBytesConfig, if the suite quantises this base. Raises ModelError.
    """
    device = pick_device()
    parameters, room = load_skeleton(ref).num_parameters(), USABLE * available(device)
    exact = 4 * parameters <= room
    quantized = quantization if 2 * parameters > room else None
    dtype = torch.float32 if exact else compute_dtype(device)
    model = load_model(ref, device=device, dtype=dtype, quantization=quantized)
    _require_finite(model, ref)
    if quantized:
        model = prepare_quantized(model)
    model.requires_grad_(False)
    return Bench(ref, model, load_tokenizer(ref), prompting, spread(examples, TEXTS), exact)


def _require_finite(model: PreTrainedModel, ref: ModelRef) -> None:
    """ModelError that names a weight with NaN or infinity: every other probe would blame something else."""
    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and not parameter.isfinite().all():
            where = Path(ref.name_or_path).name
            raise ModelError(f"{name} holds NaN or infinity", where=where, fix="copy or download it again")


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` of the examples, evenly from first to last."""
    if len(examples) <= count:
        return list(examples)
    return [examples[index * len(examples) // count] for index in range(count)]


def choose(rows: Sequence[Encoded], count: int) -> list[int]:
    """Places of at most `count` rows with a target, from the shortest to the longest that is not too long."""
    able = sorted((len(row.input_ids), place) for place, row in enumerate(rows) if any(row.supervised))
    short = [pair for pair in able if pair[0] <= ONE_ROW] or able[:count]
    last = max(1, min(count, len(short)) - 1)
    picked = {short[index * (len(short) - 1) // last] for index in range(min(count, len(short)))}
    return sorted(place for _, place in picked)


@dataclass(frozen=True)
class Recipe:
    """A candidate as the probes see it; `training` holds at least the keys of TrainingSettings."""

    name: str
    backend: str
    model: ModelRef
    method: Method
    training: Mapping[str, Any]
    generation: Mapping[str, Any]
    prompting: Prompting
    seed: int

    def job(self, examples: Sequence[Example], folder: Path) -> TrainJob:
        """A training over these examples, of plain steps."""
        folder.mkdir(parents=True, exist_ok=True)
        train = folder / "train.jsonl"
        write_jsonl(train, examples)
        own = {key: value for key, value in self.training.items() if key in KEYS}
        return TrainJob(
            model=self.model,
            method=self.method,
            training={**own, **PLAIN},
            prompting=self.prompting,
            generation=self.generation,
            seed=self.seed,
            train=train,
            validation=None,
            out=folder,
        )
