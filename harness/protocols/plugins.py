"""What any plugin is made of, and what it may be beside its kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

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


@dataclass(frozen=True, slots=True)
class Usage:
    """What one comparison, grade or answer is expected to take; `cost_usd` None: the price is not known.

    Requests whose reply is in the ledger that was lent take nothing.
    """

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    requests: int = 1


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


def answerable(plugin: Any) -> Any:
    """Who tells whether a plugin could run: itself if it has `preflight`, else the server that it asks."""
    return plugin.server if isinstance(plugin, AsksServer) and not isinstance(plugin, Preflight) else plugin


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
    "prompts": {},  # what a judge or an evaluator sends a model: name -> text, before anything is put in
    "answers_of": None,  # whose answers a backend gives: it stands on the board in the model's place
}
"""What a plugin, or its class, may say of itself -> what holds where it says nothing."""
VerdictsOf = Literal["people", "length", "likeness"]
"""What stands behind verdicts that are none of quality: people, nothing but length, likeness to a text."""


def trait(plugin: Any, name: str) -> Any:
    """A plugin's value of one of TRAITS, or the default."""
    return getattr(plugin, name, TRAITS[name])
