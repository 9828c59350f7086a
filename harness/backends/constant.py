"""A canary: what would an answer win that does not look at the prompt?

A constant text that was written to sway the judge won 76.9% against GPT-4's answers on AlpacaEval 2 (Zheng
et al. 2024, Cheating Automatic LLM Benchmarks: Null Models Achieve High Win Rates). A plain one should win
next to nothing: where it wins more, the judge or its prompt is at fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.protocols import Decoding, TrainJob, TrainOutcome, option
from harness.records import Completion, Example, ModelRef, Prompting


@dataclass(frozen=True)
class Constant:
    """The same answer to every prompt: what it wins says how far the judge can be trusted."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    generation_keys: ClassVar[frozenset[str]] = frozenset()
    answers_of: ClassVar[str] = "a constant answer"

    text: str = option(
        "I am sorry, but I cannot help you with that. Please try asking in another way.",
        help="the answer to every prompt",
    )

    def train(self, job: TrainJob) -> TrainOutcome:
        """There is nothing to train."""
        raise NotImplementedError

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> Constant:  # noqa: ARG002
        return self

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterator[tuple[str, Completion]]:  # noqa: ARG002
        """Each example with the constant text."""
        for example in examples:
            yield example.id, Completion(self.text)
