"""All that is in place before the first step: device, dtypes, a model prepared for its method, token rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from harness.errors import ModelError, first_line
from harness.json_files import read_jsonl
from harness.modeling.artifacts import load_base
from harness.modeling.devices import computes_in, dtype_name
from harness.modeling.dropout import set_dropout
from harness.modeling.isolation import require_isolation
from harness.modeling.loading import load_tokenizer, within_positions
from harness.modeling.methods import prepare, quantization
from harness.modeling.packing import pack
from harness.modeling.supervision import Encoded, Renderer
from harness.modeling.training.processes import ALONE, Processes
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.protocols import TrainJob
from harness.records import Example, Method, Prompting


@dataclass(frozen=True)
class Rows:
    """Rows with at least one target each, which may be packed.

    `examples` are in them, `truncated` of these lost a part to the length limit, and `dropped` more had no
    target left.
    """

    encoded: Sequence[Encoded]
    examples: int
    truncated: int = 0
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

    def packed(self, capacity: int, seed: int) -> Rows:
        """The same examples in packed rows of at most `capacity` tokens."""
        return replace(self, encoded=pack(self.encoded, capacity, seed))

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
    processes: Processes = ALONE

    @property
    def pad_id(self) -> int:
        """The id that stands under the padding."""
        return int(self.tokenizer.pad_token_id)


ModelMaker = Callable[
    [TrainJob, TrainingSettings, PreTrainedTokenizerBase, torch.device, torch.dtype],
    Any,
]


def set_up(
    job: TrainJob,
    settings: TrainingSettings,
    device: torch.device,
    processes: Processes = ALONE,
    make_model: ModelMaker | None = None,
) -> TrainingSetup:
    """Load, prepare and encode. Raises ModelError where model and method do not fit.

    `make_model` is for an engine that loads models in its own way.
    """
    make_model = make_model or prepared_model
    compute = computes_in(settings.bf16, settings.fp16, device)
    tokenizer = load_tokenizer(job.model)
    model = make_model(job, settings, tokenizer, device, weights_dtype(job.method, compute))

    def rows(examples: list[Example]) -> Rows:
        only_answers = settings.completion_only_loss
        return encode_rows(
            examples, tokenizer, model.config, job.prompting, completion_only_loss=only_answers
        )

    train = rows(read_jsonl(job.train, Example))
    if settings.packing:
        train = _packed(train, job, model, device)
    validates = job.validation is not None and settings.eval_strategy != "no"
    held_out = read_jsonl(job.validation, Example) if job.validation is not None and validates else []
    return TrainingSetup(
        model=model,
        tokenizer=tokenizer,
        device=device,
        compute_dtype=compute,
        train=train,
        validation=rows(held_out) if held_out else None,
        samples=held_out[: settings.validation_samples],
        processes=processes,
    )


def weights_dtype(method: Method, compute: torch.dtype) -> torch.dtype:
    """The dtype of the base's weights in a training that computes in `compute`.

    Trained weights are kept in float32 even where 16 bits compute: with bfloat16's 8 bits of mantissa an
    AdamW update of 1e-5 is lost in rounding, and float16's gradients could not be unscaled. Adapters are
    float32 whatever their base, which needs none.
    """
    return compute if method.name in ADAPTERS else torch.float32


def prepared_model(
    job: TrainJob,
    settings: TrainingSettings,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """The base with weights of `dtype`, prepared for its method; the tokenizer may get a pad token."""
    model = load_base(job.model, tokenizer, job.method, device=device, dtype=dtype)
    if settings.dropout is not None:
        set_dropout(model, settings.dropout)  # before adapters come in, which have a dropout of their own
    prepared = prepare(model, job.method, job.seed)
    if settings.activation_checkpointing:
        # The non-reentrant kind passes gradients through frozen embeddings; the reentrant one would
        # need enable_input_require_grads, and would then run the backward of every frozen layer.
        try:
            model.activation_checkpointing_enable({"use_reentrant": False})
        except ValueError as error:  # the architecture lacks it
            raise ModelError(first_line(error), fix="set activation_checkpointing: false") from error
    return prepared


def _packed(rows: Rows, job: TrainJob, model: Any, device: torch.device) -> Rows:
    """The rows packed to the length limit; ModelError where this model would not keep them apart."""
    capacity = within_positions(job.prompting, model.config).max_length
    require_isolation(model, rows.encoded, capacity, device)
    return rows.packed(capacity, job.seed)


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
    truncated = sum(row.truncated for row in kept)
    return Rows(kept, examples=len(kept), truncated=truncated, dropped=len(rows) - len(kept))


def weight_format(setup: TrainingSetup, method: Method) -> str:
    """How the bulk of the weights is held: a dtype, or a quantised format such as `nf4` or `int8`."""
    options: Mapping[str, Any] | None = quantization(method)
    if options is None:
        return dtype_name(max(setup.model.parameters(), key=torch.numel).dtype)
    if options.get("load_in_8bit"):
        return "int8"
    return str(options.get("bnb_4bit_quant_type", "fp4"))
