"""What a judge is asked: the sample of prompts, both orders of each pair, and the controls.

Everything is drawn by hash, in the order of the hash: all candidates are judged on the same prompts, and
what is done when the money runs out is a fair sample of what was wanted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.json_files import read_jsonl
from harness.records import Control, Prediction, Question
from harness.store import digest


@dataclass(frozen=True, slots=True)
class AnswerPair:
    """Two answers to a prompt; None: there is none."""

    example_id: str
    question: Question
    candidate: str | None
    opponent: str | None

    @property
    def complete(self) -> bool:
        """Whether both answers are there."""
        return self.candidate is not None and self.opponent is not None


@dataclass(frozen=True, slots=True)
class Comparison:
    """A pair of answers in one order; `key` says all that its verdict depends on."""

    key: str
    example_id: str
    candidate_first: bool
    question: Question
    first: str
    second: str
    control: Control = ""

    @property
    def is_settled(self) -> bool:
        """Whether nobody needs to be asked: a text is as good as itself, unless it is asked as a control."""
        return self.first == self.second and not self.control


def sample(inputs: Mapping[str, Path], params: Mapping[str, Any]) -> list[AnswerPair]:
    """The pairs to compare, in the order of the draw; without the input `opponent` the references oppose.

    The sample looks at ids alone: a missing answer is one pair fewer, not another prompt instead. Of the
    `max_prompts` prompts that are common to all comparisons, one of a round robin takes `max_pairs`,
    other ones than its neighbours do.
    """
    mine = _answers(inputs["candidate"])
    if "opponent" in inputs:
        theirs = {key: answer.completion.text for key, answer in _answers(inputs["opponent"]).items()}
    else:
        theirs = {key: answer.example.reference for key, answer in mine.items()}
    shared = [example_id for example_id in mine if example_id in theirs]
    drawn = sorted(shared, key=_hash)[: params["max_prompts"]]
    if params.get("max_pairs") is not None:
        salt = f"{params['candidate']} against {params['opponent']}: "
        drawn = sorted(drawn, key=lambda example_id: _hash(salt + example_id))[: params["max_pairs"]]
    return [_pair(mine[example_id], theirs[example_id]) for example_id in drawn]


def _answers(folder: Path) -> dict[str, Prediction]:
    return {p.example.id: p for p in read_jsonl(folder / "predictions.jsonl", Prediction)}


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _pair(mine: Prediction, opponent: str | None) -> AnswerPair:
    question = Question(mine.example.prompt, mine.example.reference)
    return AnswerPair(mine.example.id, question, mine.completion.text, opponent)


def comparisons(
    pairs: Sequence[AnswerPair], identity: Mapping[str, Any], *, symmetric: bool, controls: int
) -> list[Comparison]:
    """What to ask about the complete pairs, prompt by prompt: both orders (one, if `symmetric`), controls."""
    found: list[Comparison] = []
    for index, pair in enumerate(pairs):
        orders = list(_orders(pair, identity))
        found += orders[:1] if symmetric else orders
        if orders and index < controls:
            found += _controls(orders[0], identity)
    return found


def _orders(pair: AnswerPair, identity: Mapping[str, Any]) -> Iterator[Comparison]:
    a, b = pair.candidate, pair.opponent
    if a is None or b is None:
        return
    for candidate_first, first, second in ((True, a, b), (False, b, a)):
        yield _comparison(identity, pair.example_id, candidate_first, pair.question, first, second)


def _controls(asked: Comparison, identity: Mapping[str, Any]) -> Iterator[Comparison]:
    """The candidate's answer against itself and, where the pair is asked at all, its first order again."""
    place = (identity, asked.example_id, True)
    yield _comparison(*place, asked.question, asked.first, asked.first, "identical")
    if not asked.is_settled:
        again = replace(asked.question, repeat=1)
        yield _comparison(*place, again, asked.first, asked.second, "repeat")


def _comparison(
    identity: Mapping[str, Any],
    example_id: str,
    candidate_first: bool,
    question: Question,
    first: str,
    second: str,
    control: Control = "",
) -> Comparison:
    key = digest([identity, question, first, second])
    return Comparison(key, example_id, candidate_first, question, first, second, control)
