"""The examples of two runs: which of them both have, with the same prompt and the same reference."""

from __future__ import annotations

import math
from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.comparing.runs import Pair, Run
from harness.protocols import FloatArray
from harness.report.files import read_examples
from harness.store import digest

Json = dict[str, Any]


class Statistics:
    """A metric's statistics as they are read, example by example, in little memory."""

    def __init__(self) -> None:
        self._cells = array("d")
        self._shape: tuple[int, int] | None = None
        self._unmeasured = 0
        self._broken = False

    def add(self, seeds: Any) -> None:
        """Those of the next example: by seed k numbers, or None; nothing at all where nobody measured it."""
        if self._shape is None:
            known = next((row for row in seeds or () if row is not None), None)
            if known is None:
                self._unmeasured += 1
                return
            self._shape = len(seeds), len(known)
            self._cells.extend([math.nan] * (self._unmeasured * len(seeds) * len(known)))
        trials, k = self._shape
        rows = [row or [math.nan] * k for row in seeds or [None] * trials]
        if len(rows) != trials or any(len(row) != k for row in rows):
            self._broken = True
            return
        try:
            for row in rows:
                self._cells.extend(row)
        except TypeError:
            self._broken = True

    @property
    def by_trial(self) -> FloatArray | None:
        """(seeds, n, k), NaN where not measured; None where nothing is, or where they are not of one form."""
        if self._shape is None or self._broken or not self._cells:
            return None
        found = np.frombuffer(self._cells).reshape(-1, *self._shape).swapaxes(0, 1)
        return None if np.isinf(found).any() else found


@dataclass(frozen=True)
class Answers:
    """A candidate's answers, one entry an example: a digest of the text, or None where there is none.

    `values` has by metric the value of each example, the first seed's, NaN where there is none; `statistics`
    has those of all seeds. Both lack what the examples do not tell of.
    """

    digests: list[bytes | None] = field(default_factory=list)
    values: dict[str, array[float]] = field(default_factory=dict)
    statistics: dict[str, Statistics] = field(default_factory=dict)

    def add(self, told: Json, metrics: Iterable[str]) -> None:
        """The next example's answer, with what these metrics say of it."""
        scores, statistics = told.get("scores") or {}, told.get("statistics") or {}
        for metric in metrics:
            value = scores.get(metric)
            self.values.setdefault(metric, array("d")).append(math.nan if value is None else value)
            self.statistics.setdefault(metric, Statistics()).add(statistics.get(metric))
        text = told.get("text")
        self.digests.append(None if text is None else _digest(text))


@dataclass(frozen=True)
class Rows:
    """A run's examples in their order: `content` is a digest of prompt and reference, by id."""

    content: Mapping[str, bytes]
    answers: Mapping[str, Answers]


@dataclass(frozen=True)
class Common:
    """The examples of two runs. `ids` are in both with the same content, in NEW's order.

    `old` and `new` say where each stands in its run; `changed` counts the ids of other content.
    """

    ids: tuple[str, ...]
    old: tuple[int, ...]
    new: tuple[int, ...]
    only_old: int
    only_new: int
    changed: int


def read_rows(run: Run, measured: Collection[str], answering: Collection[str]) -> Rows:
    """What examples.jsonl says of candidates: all of those `measured`, the answers of those `answering`.

    InputError where it is not the file that the run's results were written with.
    """
    content: dict[str, bytes] = {}
    answers = {name: Answers() for name in (*measured, *answering)}
    for line in read_examples(run.examples_file, run.results):
        content[line["id"]] = _digest([line["prompt"], line["reference"]])
        for name, mine in answers.items():
            mine.add(line["answers"].get(name) or {}, run.metrics if name in measured else ())
    return Rows(content, answers)


def _digest(value: Any) -> bytes:
    return bytes.fromhex(digest(value))[:16]


def common(old: Rows, new: Rows) -> Common:
    """Examples are the same where id, prompt and reference are."""
    places = {example: place for place, example in enumerate(old.content)}
    ids, mine, theirs = [], [], []
    changed = 0
    for place, (example, content) in enumerate(new.content.items()):
        if example not in places:
            continue
        if old.content[example] != content:
            changed += 1
            continue
        ids.append(example)
        mine.append(places[example])
        theirs.append(place)
    shared = len(ids) + changed
    only_old, only_new = len(old.content) - shared, len(new.content) - shared
    return Common(tuple(ids), tuple(mine), tuple(theirs), only_old, only_new, changed)


def differing_answers(found: Common, old: Answers, new: Answers) -> int:
    """How many of the common examples have another answer, by text, or one on one side alone."""
    places = zip(found.old, found.new, strict=True)
    return sum(old.digests[a] != new.digests[b] for a, b in places)


def texts(old: Run, new: Run, wanted: Mapping[Pair, Iterable[str]]) -> dict[str, Json]:
    """Id -> {question, reference, old: {candidate: text}, new: {...}} of the wanted examples of each pair."""
    by_id: dict[str, set[Pair]] = {}
    for pair, ids in wanted.items():
        for example in ids:
            by_id.setdefault(example, set()).add(pair)
    found: dict[str, Json] = {}
    for run in (new, old):
        for line in read_examples(run.examples_file, run.results) if by_id else ():
            if line["id"] not in by_id:
                continue
            entry = found.setdefault(line["id"], _question(line))
            names = {pair.of(run) for pair in by_id[line["id"]]}
            entry[run.side.lower()] = {name: _text(line["answers"].get(name)) for name in sorted(names)}
    return found


def _question(line: Json) -> Json:
    """An example by its last turn, which is the one that asks, and its reference."""
    return {
        "question": line["prompt"][-1]["content"] if line["prompt"] else "",
        "reference": line["reference"],
    }


def _text(answer: Json | None) -> str | None:
    return None if answer is None else answer.get("text")
