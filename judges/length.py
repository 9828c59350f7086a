"""A canary: what a judge that only likes length would say.

Where another judge's win rates look like this one's, that judge may be counting words as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness import Question, Verdict, VerdictsOf, option


@dataclass(frozen=True)
class Length:
    """Prefers the longer answer, in words: no judge of quality, but a canary for those who like length."""

    symmetric: ClassVar[bool] = True
    verdicts_of: ClassVar[VerdictsOf] = "length"

    slack: int = option(0, help="a difference of this many words or fewer is a tie")

    def __post_init__(self) -> None:
        if self.slack < 0:
            raise ValueError(f"slack must not be negative, not {self.slack}")

    def compare(self, question: Question, first: str, second: str) -> Verdict:  # noqa: ARG002 - a canary
        """The answer with more words between spaces."""
        one, two = len(first.split()), len(second.split())
        reason = f"words: first {one:,}, second {two:,}"
        if abs(one - two) <= self.slack:
            return Verdict("tie", reason, cost_usd=0.0)
        return Verdict("first" if one > two else "second", reason, cost_usd=0.0)
