"""The offline judge: no model, no network, no key.

It knows nothing of quality. It says which answer shares more character n-grams with the reference
answer (chrF, Popović 2015, as sacrebleu computes it for a sentence), so it shows that the machinery
works, and little more.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from harness import Question, Verdict, VerdictsOf, option

ROUNDING = 1e-9


@dataclass(frozen=True)
class Reference:
    """Prefers the answer nearer to the reference by chrF: likeness to one text, not quality."""

    symmetric: ClassVar[bool] = True
    verdicts_of: ClassVar[VerdictsOf] = "likeness"

    margin: float = option(
        0.0, help="a difference of this much or less is a tie, in points of chrF (0 to 100)"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 100:
            raise ValueError(f"margin must lie between 0 and 100, not {self.margin}")

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        """The nearer answer; a tie where they are equally near, within `margin`."""
        one, two = _chrf(first, question.reference), _chrf(second, question.reference)
        reason = f"chrF to the reference: first {one:.2f}, second {two:.2f}"
        if abs(one - two) <= max(self.margin, ROUNDING):
            return Verdict("tie", reason, cost_usd=0.0)
        return Verdict("first" if one > two else "second", reason, cost_usd=0.0)


@lru_cache(maxsize=4096)  # in a round robin each answer comes once for every opponent
def _chrf(answer: str, reference: str) -> float:
    from sacrebleu.metrics.chrf import CHRF

    return float(CHRF().sentence_score(answer, [reference]).score)
