"""Answers that were made elsewhere, as a contestant: read from a file, nothing is trained or run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from harness.data import answers
from harness.data.sources import display
from harness.errors import PluginError
from harness.protocols import Decoding, TrainJob, TrainOutcome, option
from harness.records import Completion, Example, ModelRef, Prompting


@dataclass(frozen=True)
class Outputs:
    """Answers read from a file, as they were made elsewhere; it scores nothing."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    generation_keys: ClassVar[frozenset[str]] = frozenset()

    path: Path = option(  # noqa: RUF009 - a dataclass field, whatever it is annotated with
        help="the .json, .jsonl, .csv or .parquet file; it counts by content"
    )
    format: Literal["auto", "predictions", "alpaca", "prompt", "messages", "conversations", "id"] = option(
        "auto", help="what its rows are; auto: told by the columns"
    )
    columns: dict[str, str] = option({}, help="our name of a column -> the file's")  # noqa: RUF009

    @property
    def answers_of(self) -> str:
        """Whose answers they are, as the board says it."""
        return self.path.name

    def preflight(self) -> None:
        """Raise PluginError or DataError where the file is not there or cannot be read."""
        if not self.path.is_file():
            raise PluginError(f"there is no file {display(self.path)}", fix="check path:")
        answers.read(self.path, self.format, self.columns)

    def train(self, job: TrainJob) -> TrainOutcome:
        """There is nothing to train."""
        raise NotImplementedError

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> Outputs:  # noqa: ARG002
        return self

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterator[tuple[str, Completion]]:  # noqa: ARG002
        """Each example with the file's answer. DataError where the file answers none of them."""
        found = answers.read(self.path, self.format, self.columns)
        matched = answers.answers_to(examples, found, self.path.name)
        # Gaps first: what a killed attempt leaves to do then has an answer, and is no file without a match.
        yield from sorted(matched.items(), key=lambda item: item[1].text is not None)
