"""The words of the house as frozen dataclasses, and their JSON.

Stages speak only through files, so each record here has one JSON form: `to_json` and `from_json` are
each other's inverse for every type in this file.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
RESULTS_SCHEMA = 4
"""The form of results.json: raised when what was there means another thing, or when more is read of it."""
REFERENCE = "reference"
"""The player whose answers are the examples' references, where no candidate has that name."""
ALL = "all"
"""What a round robin has in the place of an opponent."""
Choice = Literal["first", "second", "tie", "unparsed"]
CHOICES: tuple[Choice, ...] = typing.get_args(Choice)
Fault = Literal["", "invalid", "empty", "cut", "refused", "too_long"]
"""Why a verdict is unparsed: no valid form after one repair, no text, cut at the limit of tokens, declined by
the model or a content filter, too long a request for the model's context."""
FAULTS: tuple[Fault, ...] = typing.get_args(Fault)
Control = Literal["", "identical", "repeat"]
"""What a judgment is for: the comparison itself (empty), the same answer twice, or a pair asked once more."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. `role` is system, user, assistant or tool."""

    role: str
    content: str


Messages = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt as chat messages, whose last turn is the one to answer, and the reference answer.

    `prompt` may hold earlier assistant turns. `id` is derived from the content, so that the same
    example has the same id in every run.
    """

    id: str
    prompt: Messages
    reference: str


def characters(example: Example) -> int:
    """Characters of prompt and reference together: a guess at the length before anything is tokenized."""
    return sum(len(message.content) for message in example.prompt) + len(example.reference)


@dataclass(frozen=True, slots=True)
class TokenSums:
    """Teacher-forced sums over the tokens of one reference, its end-of-turn token included.

    `negative_log_likelihood` is in nats; `bytes` counts the UTF-8 bytes of the reference text;
    `correct` counts tokens that the model would have picked greedily.
    """

    negative_log_likelihood: float
    tokens: int
    bytes: int
    correct: int


@dataclass(frozen=True, slots=True)
class Completion:
    """A generated answer. `finish_reason` is `stop` or `length`; `error` says why there is no text.

    `tokens` are those of the answer; None: nobody counted them. `prompt_tokens` and `cost_usd` come from
    servers that count and charge; None: unknown, or no charge.
    """

    text: str | None
    tokens: int | None = None
    finish_reason: str = ""
    error: str | None = None
    prompt_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one trial makes of one example; `sums` is None where the backend cannot score."""

    example: Example
    completion: Completion
    sums: TokenSums | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a judge is shown beside the two answers.

    `repeat` is not shown: it is above 0 where the same pair is asked again, to see how steady the judge is.
    """

    prompt: Messages
    reference: str
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A judge's word on one pair in one order; `raw` is the reply as it came.

    `preference` is how much the first answer is preferred, 0 to 1, where a judge can say more than `choice`
    does (a likelihood, a share of samples); None: 1, 1/2 or 0 by `choice`. `fault` says why it is unparsed.
    """

    choice: Choice
    reason: str = ""
    raw: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None
    preference: float | None = None
    fault: Fault = ""


def total_cost(costs: Iterable[float | None]) -> float | None:
    """The sum of US dollars; None where one of them is not known."""
    known = list(costs)
    return None if None in known else math.fsum(cost for cost in known if cost is not None)


@dataclass(frozen=True, slots=True)
class Judgment:
    """A verdict with its place: which example, whether the candidate's answer stood first, and what for.

    One that is `settled` was not asked about: the answers are identical, which is a tie.
    """

    example_id: str
    candidate_first: bool
    verdict: Verdict
    control: Control = ""
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """A value with its 95% interval over `n` examples; `unscored` examples are counted, not averaged in."""

    value: float
    low: float
    high: float
    n: int
    unscored: int = 0


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A base model: an absolute folder, or a Hub id with a revision.

    `identity` is what stands for it in cache keys: a digest of the files, or the revision.
    """

    name_or_path: str
    revision: str | None = None
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Method:
    """Which weights are trained: a name and its options (`lora`, `quantization`, `last_layers`, ...)."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompting:
    """How messages become text, and how long a row may be (tokens, prompt and answer together).

    `template` is `chat` (the tokenizer's own), `alpaca`, `plain`, or `jinja` with its source in `source`.
    `max_length_prompt` and `max_length_answer` limit these two on their own. The rest is what `plain`
    writes: a start, the prompt, its end-of-sequence token, a separator, the answer, its own such token.
    """

    template: str = "chat"
    source: str = ""
    max_length: int = 1024
    max_length_prompt: int | None = None
    max_length_answer: int | None = None
    text_prompt_start: str = ""
    text_answer_separator: str = "\n"
    add_eos_token_to_prompt: bool = False
    add_eos_token_to_answer: bool = True


@dataclass(frozen=True, slots=True)
class PluginSpec:
    """A chosen plugin: how it is found again in a worker, and the options it is created with.

    `location` is `package.module:Class` or `/absolute/file.py:Class`; `code` is a digest of its source.
    """

    kind: str
    name: str
    location: str
    options: Mapping[str, Any] = field(default_factory=dict)
    code: str = ""


def to_json(record: Any) -> Any:
    """A record as plain JSON values; mappings and tuples keep their order."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    if isinstance(record, Path):
        return str(record)
    return record


def from_json(kind: type[T], value: Any) -> T:
    """The record of type `kind` that `to_json` turned into `value`; KeyError or TypeError if it is none."""
    built: T = _build(kind, value)
    return built


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _build(kind: Any, value: Any) -> Any:
    if value is None:
        return None
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        return kind(**{key: _build(hints[key], item) for key, item in value.items()})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in value)
    if origin is list:
        return [_build(arguments[0], item) for item in value]
    if origin in (typing.Union, types.UnionType):
        inner = [a for a in arguments if a is not type(None)]
        return _build(inner[0], value) if len(inner) == 1 else value
    return value
