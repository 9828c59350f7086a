"""What a plugin must be. Everything here may be imported by a plugin; none of it imports torch.

A plugin is one file with one public class. Its dataclass fields are its YAML keys, its documentation
and its part of the cache key; `option` declares one with its help text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.records import (
    Completion,
    Example,
    Message,
    Method,
    ModelRef,
    Prediction,
    Prompting,
    Question,
    TokenSums,
    Verdict,
)

if TYPE_CHECKING:
    from harness.chat import ChatServer

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Progress(Protocol):
    """Told now and then how far a stage is; `note` is a few words such as `loss 1.92, 5,400 tokens/s`."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


def silent(done: int, total: int, note: str = "") -> None:
    """A Progress for callers that show none."""


def option(default: Any = dataclasses.MISSING, *, help: str, changes_result: bool = True) -> Any:  # noqa: A002
    """A plugin's dataclass field: its help text, and whether it belongs into the cache key.

    Lists and dicts as defaults are copied for each instance. An option without default is required.
    """
    metadata = {"help": help, "changes_result": changes_result}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


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


class Evaluator(Protocol):
    """A metric as per-example additive statistics and a function of their sum.

    One bootstrap and one permutation test then serve every metric: statistics are resampled by
    prompt, summed, scored.
    """

    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]
    """Printed after the value: `%`, `bits/byte`, or empty."""

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(examples, k) statistics; a row of NaN is an example that cannot be measured: it is counted."""
        ...

    def score(self, totals: FloatArray) -> FloatArray:
        """Sums of shape (..., k) to values of shape (...); vectorised; NaN where undefined."""
        ...

    def signature(self) -> str:
        """How the number was made, in sacrebleu's manner: `tok:13a|smooth:exp|version:2.6.0`."""
        ...


@runtime_checkable
class TellsFailures(Protocol):
    """An evaluator that can say why its last `measure` left out answers that are there.

    One entry an answer: a word of `records.FAULTS`, and the reason in a sentence.
    """

    @property
    def failures(self) -> Sequence[tuple[str, str]]: ...


Pair = tuple[Question, str, str]
"""A question with the two answers to compare, first and second."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one comparison, grade or answer is expected to take; `cost_usd` None: the price is not known.

    Requests whose reply is in the ledger that was lent take nothing.
    """

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    requests: int = 1


class Judge(Protocol):
    """Says which of two answers is better. Must be thread-safe.

    The judge stage asks both orders, maps back, aggregates, counts and caches: a judge does none of it.
    A reply that cannot be understood is `Verdict("unparsed", raw=reply)`, never a guess. None means that
    the judge has no verdict on this pair, as people who did not label it: it is counted as not judged.

    The protocols below name what else a judge may have, and so do TRAITS.
    """

    def compare(self, question: Question, first: str, second: str) -> Verdict | None: ...


@runtime_checkable
class ComparesMany(Protocol):
    """A judge that compares faster in batches, as a model on a device does; `compare` is then not called."""

    batch_size: int

    def compare_many(self, pairs: Sequence[Pair]) -> list[Verdict]: ...


@runtime_checkable
class Combines(Protocol):
    """A judge made of other judges of the suite, named in `members`: it costs nothing but theirs."""

    members: Sequence[str]

    def combine(self, verdicts: Sequence[Verdict]) -> Verdict:
        """One verdict out of the members' on the same pair in the same order, in the order of `members`."""
        ...


@runtime_checkable
class Rereads(Protocol):
    """A judge that can read a stored reply again, perhaps better than when it came."""

    def reread(self, raw: str) -> Verdict:
        """The verdict in a Verdict's `raw`; its tokens and cost are left out."""
        ...


@runtime_checkable
class Prefetches(Protocol):
    """A judge that can have many replies made at once, before it is asked for them one by one."""

    def prefetch(self, pairs: Sequence[Pair], progress: Progress) -> None: ...


@runtime_checkable
class Estimates(Protocol):
    """A plugin that can say beforehand what one call will take, by the arguments of that call.

    Of a judge they are `(question, first, second)`, of an evaluator `(example, answer)`, of a backend that
    answers `(example, decoding)`.
    """

    def expect(self, *call: Any) -> Usage: ...


@runtime_checkable
class AsksServer(Protocol):
    """A judge, evaluator or backend that asks a chat server: the stage lends `server` ledger and budget."""

    server: ChatServer


@runtime_checkable
class AsksModel(AsksServer, Protocol):
    """One that says which model the server is asked for: under a budget its price must be known."""

    model: str


@runtime_checkable
class Preflight(Protocol):
    """A plugin that can tell before any work whether it could run (a key is set, a server is named)."""

    def preflight(self) -> None:
        """Raise PluginError with the fix; cheap, offline."""
        ...


@runtime_checkable
class Reaches(Protocol):
    """A plugin that can tell whether its server answers: `harness check` asks it."""

    def reach(self) -> None:
        """Raise StageError where it does not; costs nothing."""
        ...


@runtime_checkable
class Identifies(Protocol):
    """A plugin whose results depend on more than its options and source: a prompt's file, a server."""

    def identity(self) -> str:
        """What else they depend on: a part of the key."""
        ...


TRAITS: Mapping[str, Any] = {
    "symmetric": False,  # a judge to which the order means nothing: it is asked once
    "needs_device": False,  # a judge that fills a GPU: its steps wait for a free one, as training does
    "concurrency": None,  # how many comparisons a judge is asked for at once
    "members": (),  # the judges of the suite that a panel combines
    "verdicts_of": None,  # what a judge's verdicts are, if none of quality: a VerdictsOf
    "label": None,  # how an evaluator's field spells its name
    "proportion": False,  # an evaluator whose value is the share of examples that count, wholly or not at all
    "per_token": False,  # one whose values are per token of the model's tokenizer, and compare with no other
    "needs_likelihoods": False,  # one that measures the sums of a model that scores
    "launch_keys": frozenset(),  # the keys under `launch:` that a backend honours
    "training_values": {},  # key under `training:` -> the values that a backend honours; others take any
    "generation_keys": None,  # the keys under `generation:` that a backend hands on; None: all
    "answers_of": None,  # whose answers a backend gives: it stands on the board in the model's place
}
"""What a plugin, or its class, may say of itself -> what holds where it says nothing."""
VerdictsOf = Literal["people", "length", "likeness"]
"""What stands behind verdicts that are none of quality: people, nothing but length, likeness to a text."""


def trait(plugin: Any, name: str) -> Any:
    """A plugin's value of one of TRAITS, or the default."""
    return getattr(plugin, name, TRAITS[name])
