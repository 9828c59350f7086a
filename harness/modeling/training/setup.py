"""All that is in place before the first step: device, dtypes, a model prepared for its method, token rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from harness.errors import ModelError
from harness.modeling.artifacts import load_base
from harness.modeling.devices import compute_dtype, dtype_name
from harness.modeling.failures import first_line
from harness.modeling.loading import load_tokenizer, within_positions
from harness.modeling.methods import prepare, quantization
from harness.modeling.supervision import Encoded, Renderer
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.protocols import TrainJob
from harness.records import Example, Method, Prompting, read_jsonl


@dataclass(frozen=True)
class Rows:
    """Rows with at least one target each; `dropped` counts the examples that had none."""

    encoded: Sequence[Encoded]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.encoded)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.input_ids) for row in self.encoded]

    @cached_property
    def targets(self) -> list[int]:
        """Supervised tokens of each row."""
        return [sum(row.supervised) for row in self.encoded]

    @property
    def truncated(self) -> int:
        """How many rows lost part of their prompt or answer to the length limit."""
        return sum(row.truncated for row in self.encoded)

    def take(self, indices: Iterable[int]) -> list[Encoded]:
        """The rows at these indices."""
        return [self.encoded[index] for index in indices]


@dataclass(frozen=True)
class TrainingSetup:
    """What a training works with; `samples` are the validation examples that the model answers on the way."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    device: torch.device
    compute_dtype: torch.dtype
    train: Rows
    validation: Rows | None
    samples: list[Example]

    @property
    def pad_id(self) -> int:
        """The id that stands under the padding."""
        return int(self.tokenizer.pad_token_id)


def set_up(job: TrainJob, settings: TrainingSettings, device: torch.device) -> TrainingSetup:
    """Load, prepare and encode. Raises ModelError where model and method do not fit."""
    computes_in = _computes_in(settings, device)
    tokenizer = load_tokenizer(job.model)
    # Trained weights are kept in float32 even where bfloat16 computes: with 8 bits of mantissa an AdamW
    # update of 1e-5 is lost in rounding. Adapters get their float32 from peft; their base needs none.
    weights = computes_in if job.method.name in ADAPTERS else torch.float32
    model = load_base(job.model, tokenizer, job.method, device=device, dtype=weights)
    prepared = prepare(model, job.method, job.seed)
    if settings.activation_checkpointing:
        # The non-reentrant kind passes gradients through frozen embeddings; the reentrant one would
        # need enable_input_require_grads, and would then run the backward of every frozen layer.
        try:
            model.activation_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:  # the architecture lacks it
            raise ModelError(first_line(error), fix="set activation_checkpointing: false") from error

    def rows(examples: list[Example]) -> Rows:
        only_answers = settings.completion_only_loss
        return encode_rows(
            examples, tokenizer, model.config, job.prompting, completion_only_loss=only_answers
        )

    validates = job.validation is not None and settings.eval_strategy != "no"
    held_out = read_jsonl(job.validation, Example) if job.validation is not None and validates else []
    return TrainingSetup(
        model=prepared,
        tokenizer=tokenizer,
        device=device,
        compute_dtype=computes_in,
        train=rows(read_jsonl(job.train, Example)),
        validation=rows(held_out) if held_out else None,
        samples=held_out[: settings.validation_samples],
    )


def encode_rows(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    prompting: Prompting,
    *,
    completion_only_loss: bool = True,
) -> Rows:
    """Encode examples for a model of this config, within its positions as well as `max_length`."""
    renderer = Renderer(tokenizer, within_positions(prompting, config))
    rows = [renderer.encode(example, completion_only_loss=completion_only_loss) for example in examples]
    kept = [row for row in rows if any(row.supervised)]
    return Rows(kept, dropped=len(rows) - len(kept))


def _computes_in(settings: TrainingSettings, device: torch.device) -> torch.dtype:
    if settings.bf16 is None:
        return compute_dtype(device)
    return torch.bfloat16 if settings.bf16 else torch.float32


def weight_format(setup: TrainingSetup, method: Method) -> str:
    """How the bulk of the weights is held: a dtype, or a quantised format such as `nf4` or `int8`."""
    options: Mapping[str, Any] | None = quantization(method)
    if options is None:
        return dtype_name(max(setup.model.parameters(), key=torch.numel).dtype)
    if options.get("load_in_8bit"):
        return "int8"
    return str(options.get("bnb_4bit_quant_type", "fp4"))
