"""The reference answers as a contestant: how far is the best candidate from what it was taught?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from harness.protocols import Decoding, TrainJob, TrainOutcome
from harness.records import Completion, Example, ModelRef, Prompting


@dataclass(frozen=True)
class Reference:
    """The reference answers themselves, as a contestant; metrics that compare with them are perfect."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    generation_keys: ClassVar[frozenset[str]] = frozenset()
    answers_of: ClassVar[str] = "the reference answers"

    def train(self, job: TrainJob) -> TrainOutcome:
        """There is nothing to train."""
        raise NotImplementedError

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> Reference:  # noqa: ARG002
        return self

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterator[tuple[str, Completion]]:  # noqa: ARG002
        """Each example with its own reference."""
        for example in examples:
            yield example.id, Completion(example.reference)
