"""A suite as it is once it has been read: complete, checked and frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.sources import SourceSpec
from harness.protocols import VerdictsOf
from harness.records import Method, ModelRef, PluginSpec, Prompting

BASE = "base"
"""The untrained model: always a candidate, always the first."""


@dataclass(frozen=True)
class EvaluatorSpec:
    """An evaluator under the name it has on the board; `where` is its place in the file.

    `prompts` are what it sends a model, by name.
    """

    name: str
    plugin: PluginSpec
    prompts: Mapping[str, str] = field(default_factory=dict)
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class JudgeSpec:
    """A judge under the name it has on the board, and whom the candidates are held against.

    `against` is a candidate, REFERENCE or ALL. `max_prompts` limits how many examples it is asked about,
    `max_pairs` how many pairs of answers in a round robin; None: all. On `controls` prompts it is tested
    itself. `members` are the judges of the suite that a panel combines; a `symmetric` judge sees no order;
    one that `needs_device` fills a GPU; `verdicts_of` says what its verdicts are, if not opinions of quality.
    `prompts` are what it sends a model, by name. `where` is its place in the file.
    """

    name: str
    plugin: PluginSpec
    against: str
    max_prompts: int | None
    max_pairs: int | None = None
    controls: int = 0
    members: tuple[str, ...] = ()
    symmetric: bool = False
    needs_device: bool = False
    verdicts_of: VerdictsOf | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    where: str = field(default="", compare=False)


@dataclass(frozen=True)
class DataSpec:
    """The datasets. A split is a share, a number of examples, or sources of its own.

    None: there is no validation set; eval is a tenth of the rows, at most 1,000.
    """

    train: tuple[SourceSpec, ...]
    validation: float | int | tuple[SourceSpec, ...] | None
    eval: float | int | tuple[SourceSpec, ...] | None
    overlap: str


@dataclass(frozen=True)
class GridPoint:
    """One recipe of a grid: the dotted keys that it sets, and the method and training that come of them."""

    settings: Mapping[str, Any]
    method: Method
    training: Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A recipe, whole: what it did not say is the suite's or the default. `method` None: nothing is trained.

    `training` holds every key that the backend honours, `generation` those that are set; `launch` is empty
    where one process trains. Of a candidate with a grid, `method` and `training` are its first point's.
    `backend_where` is the place and the key that chose the backend: `suite.yaml:5:1: backend`.
    """

    name: str
    model: ModelRef
    backend: PluginSpec
    method: Method | None
    training: Mapping[str, Any]
    generation: Mapping[str, Any]
    evaluators: tuple[EvaluatorSpec, ...]
    judges: tuple[JudgeSpec, ...]
    seeds: tuple[int, ...]
    launch: Mapping[str, Any] = field(default_factory=dict)
    grid: tuple[GridPoint, ...] = ()
    backend_where: str = field(default="", compare=False)


@dataclass(frozen=True)
class Suite:
    """A suite; `candidates` has base first. `text` is the file as written, before the `overrides`.

    `rank_by` names an evaluator or a judge. `budget_usd` is what servers may cost in all; None: no limit.
    """

    path: Path
    display_path: str
    folder: Path
    name: str
    description: str
    text: str
    overrides: tuple[str, ...]
    model: ModelRef
    data: DataSpec
    prompting: Prompting
    candidates: tuple[Candidate, ...]
    evaluators: tuple[EvaluatorSpec, ...]
    judges: tuple[JudgeSpec, ...]
    seeds: tuple[int, ...]
    rank_by: str
    price_per_gpu_hour: float | None = None
    budget_usd: float | None = None
