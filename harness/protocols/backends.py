"""What a backend must be, what it is told and what it gives back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from harness.protocols.plugins import Progress, silent
from harness.records import Completion, Example, Message, Method, ModelRef, Prompting, TokenSums


@dataclass(frozen=True)
class TrainJob:
    """All that a backend needs to train one trial.

    `train` and `validation` are JSONL files of Example (`validation` None: there is none). `training`
    holds every key the backend honours, defaults filled in. The backend writes into `out`: `model/`
    (what `load` reads back), `log.jsonl`, and whatever it needs to resume, which it clears away at the end;
    it may find there what an earlier, killed attempt left. `launch` holds the keys of accelerate's launcher
    where the candidate asks for several processes.
    """

    model: ModelRef
    method: Method
    training: Mapping[str, Any]
    prompting: Prompting
    generation: Mapping[str, Any]
    seed: int
    train: Path
    validation: Path | None
    out: Path
    launch: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = silent


@dataclass(frozen=True)
class TrainOutcome:
    """What training one trial took and made. Seconds are wall time by phase (load, train, validate, save).

    `tokens_per_second` leaves out the first steps, in which kernels are chosen and memory is claimed.
    `memory_kind` says what `peak_memory_bytes` measures: `cuda allocated` or `process RSS`;
    `base_memory_bytes` is the same measure with the model loaded and nothing trained yet.
    `reserved_memory_bytes` is what CUDA's caching allocator held at its peak, `device_memory_bytes` all that
    the device (or the host, for a CPU) has. `mfu` is the share of the device's peak FLOP/s that the model's
    own FLOPs make up, None where the device's peak is not known. `micro_batch_size` is the rows of one
    forward pass at the end, lower than asked for where memory ran out. None: not measured.
    """

    steps: int
    epochs: float
    tokens_seen: int
    tokens_supervised: int
    rows_used: int
    rows_truncated: int
    rows_dropped: int
    trainable_parameters: int
    total_parameters: int
    artifact_bytes: int
    seconds: Mapping[str, float]
    tokens_per_second: float
    peak_memory_bytes: int
    memory_kind: str
    device: str
    dtypes: Mapping[str, str]
    effective_batch_size: int
    final_train_loss: float
    best_step: int | None = None
    best_validation_loss: float | None = None
    warnings: Sequence[str] = ()
    micro_batch_size: int | None = None
    process_count: int = 1
    base_memory_bytes: int | None = None
    reserved_memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    energy_joules: float | None = None
    mfu: float | None = None


@dataclass(frozen=True)
class Decoding:
    """How to generate: keys of transformers' GenerationConfig, and the seed for sampling."""

    settings: Mapping[str, Any]
    seed: int = 0


@runtime_checkable
class TellsDevice(Protocol):
    """A language model that knows what it computes on and in."""

    @property
    def device(self) -> str: ...
    @property
    def dtypes(self) -> Mapping[str, str]: ...


@runtime_checkable
class TellsTokenizer(Protocol):
    """A language model with a tokenizer, named by its digest: per-token figures compare where it is equal."""

    @property
    def tokenizer(self) -> str: ...


class LanguageModel(Protocol):
    """A model that answers and, where it can, scores. Each call is one batch; order is kept."""

    def generate(self, prompts: Sequence[Sequence[Message]], decoding: Decoding) -> list[Completion]:
        """One completion for each prompt; a prompt that cannot be answered has `error` set."""
        ...

    def score(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[TokenSums | None]:
        """Teacher-forced sums of each reference; None where the pair does not fit the model."""
        ...


@runtime_checkable
class Answerer(Protocol):
    """What stands in for a model that we do not run (a server, a file): it answers, and scores nothing."""

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterable[tuple[str, Completion]]:
        """(example id, completion) for each example, as they arrive, in any order."""
        ...


class Backend(Protocol):
    """Trains a trial and loads it again as a LanguageModel.

    One that trains nothing (it has no methods) stands in for a model: `load` returns an Answerer, best the
    backend itself, for a stage sees by its `answer` beforehand that no device is needed.
    """

    training_keys: ClassVar[frozenset[str]]
    """The keys under `training:` that this backend honours; any other is refused before work starts."""
    methods: ClassVar[frozenset[str]]
    """The methods it can train."""

    def train(self, job: TrainJob) -> TrainOutcome: ...

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel | Answerer:
        """The trained model of `trained` (a TrainJob's `out`), or the untouched base where it is None."""
        ...


class Launchable(Protocol):
    """A backend that trains in several processes when each of them calls its `train` with the same job.

    It finds its place among them in the environment that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK).
    """

    launch_keys: ClassVar[frozenset[str]]
    """The keys under `launch:` that it honours."""


class HonoursSomeValues(Protocol):
    """A backend that takes only some of the values that another takes for the same key."""

    training_values: ClassVar[Mapping[str, frozenset[Any]]]
    """Key under `training:` -> the values honoured here; a key that is not named takes any."""


class HonoursSomeGeneration(Protocol):
    """A backend that can hand on only some keys under `generation:`; another that is set is refused by name.

    With none of them its answers are there already, and it passes over the suite's.
    """

    generation_keys: ClassVar[frozenset[str]]


class StandsIn(Protocol):
    """A backend that answers for another model than the suite's."""

    @property
    def answers_of(self) -> str:
        """Whose answers they are: it stands on the board in the model's place."""
        ...
