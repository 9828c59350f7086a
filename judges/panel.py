"""Several judges as one: the majority of their verdicts, or the mean of their preferences.

A panel of different judges shares less of any one judge's taste. Its members are asked on their own, as
judges of the suite, so a panel costs nothing: it is made of verdicts that are there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from harness import Question, StageError, Verdict, option
from harness.records import Choice

ROUNDING = 1e-9
WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class Panel:
    """Combines the verdicts of other judges of the suite: their majority, or their mean."""

    judges: tuple[str, ...] = option(
        help="the names of the judges, two or more, each in the suite's list too"
    )
    rule: Literal["majority", "mean"] = option(
        "majority",
        help="majority: what more than half of the readable verdicts say, else a tie; mean: "
        "the mean of their preferences",
    )

    def __post_init__(self) -> None:
        if len(self.judges) < 2 or len(set(self.judges)) < len(self.judges):
            raise ValueError("judges names two or more judges, each once")

    @property
    def members(self) -> Sequence[str]:
        """The judges whose verdicts are combined."""
        return self.judges

    def compare(self, question: Question, first: str, second: str) -> Verdict:  # noqa: ARG002
        """StageError: a panel has no verdict of its own."""
        raise StageError("a panel combines the verdicts of other judges and cannot be asked itself")

    def combine(self, verdicts: Sequence[Verdict]) -> Verdict:
        """One verdict out of the members'; those that cannot be read are left out, unparsed if none can."""
        reason = ", ".join(f"{name}: {v.choice}" for name, v in zip(self.judges, verdicts, strict=True))
        readable = [verdict for verdict in verdicts if verdict.choice != "unparsed"]
        if not readable:
            return Verdict("unparsed", reason, fault=verdicts[0].fault)
        mean = fmean(map(_preference, readable))
        if self.rule == "mean":
            return Verdict(_nearest(mean), reason, preference=mean)
        choice, votes = Counter(verdict.choice for verdict in readable).most_common(1)[0]
        return Verdict(choice if 2 * votes > len(readable) else "tie", reason)


def _preference(verdict: Verdict) -> float:
    return WORTH[verdict.choice] if verdict.preference is None else verdict.preference


def _nearest(mean: float) -> Choice:
    """The choice that a mean preference amounts to; one half is a tie."""
    if abs(mean - 0.5) <= ROUNDING:
        return "tie"
    return "first" if mean > 0.5 else "second"
