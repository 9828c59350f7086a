"""People as judge: looks up how they labelled a pair on the page that `harness label` makes.

A label holds for the very texts that its author saw. A pair that nobody labelled has no verdict, and is
counted as not judged. The page puts the answers on random sides, so their order means nothing here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from harness import Question, Verdict, VerdictsOf, option
from harness.labels import Labels, pair_digest, prompt_digest, read_labels, text_digest
from harness.records import Choice


@dataclass(frozen=True)
class Human:
    """People, by their labels from the page that `harness label` makes."""

    symmetric: ClassVar[bool] = True
    verdicts_of: ClassVar[VerdictsOf] = "people"

    labels: Path | list[Path] = option(
        help="a file of labels, or several: `[labels/anna.json, labels/ben.json]`"
    )

    def __post_init__(self) -> None:
        if self.labels == []:
            raise ValueError("labels names no file")

    def preflight(self) -> None:
        """DataError where a file is missing, or is no file of labels."""
        assert self._known is not None

    @cached_property
    def _known(self) -> Labels:
        known = Labels()
        for path in self.labels if isinstance(self.labels, list) else [self.labels]:
            known.add(read_labels(path))
        return known

    def compare(self, question: Question, first: str, second: str) -> Verdict | None:
        """The mean of people's labels, a tie being half; None where nobody saw this pair.

        Nobody was asked a second time either: a repeated question has no answer.
        """
        one, two = text_digest(first), text_digest(second)
        labels = self._known.on(pair_digest(prompt_digest(question.prompt), one, two))
        if not labels or question.repeat:
            return None
        better = [label.better for label in labels]
        counts = {"first": better.count(one), "second": better.count(two), "tie": better.count("")}
        preference = (counts["first"] + counts["tie"] / 2) / len(labels)
        reason = ", ".join(f"{name} {count}" for name, count in counts.items() if count)
        people = "person" if len(labels) == 1 else "people"
        return Verdict(
            _choice(preference),
            f"{len(labels)} {people}: {reason}",
            json.dumps(counts),
            cost_usd=0.0,
            preference=preference,
        )


def _choice(preference: float) -> Choice:
    """What most of those who had a preference said; a tie where as many said the opposite."""
    if preference == 0.5:
        return "tie"
    return "first" if preference > 0.5 else "second"
