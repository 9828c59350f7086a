"""What an evaluator must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from harness.protocols.plugins import FloatArray
from harness.records import Prediction


class Evaluator(Protocol):
    """A metric as per-example additive statistics and a function of their sum.

    One bootstrap and one permutation test then serve every metric: statistics are resampled by
    prompt, summed, scored.
    """

    higher_is_better: ClassVar[bool]
    unit: ClassVar[str]
    """Printed after the value: `%`, `bits/byte`, or empty."""

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(examples, k) statistics; a row of NaN is an example that cannot be measured: it is counted."""
        ...

    def score(self, totals: FloatArray) -> FloatArray:
        """Sums of shape (..., k) to values of shape (...); vectorised; NaN where undefined."""
        ...

    def signature(self) -> str:
        """How the number was made, in sacrebleu's manner: `tok:13a|smooth:exp|version:2.6.0`."""
        ...


@runtime_checkable
class TellsFailures(Protocol):
    """An evaluator that can say why its last `measure` left out answers that are there.

    One entry an answer: a word of `records.FAULTS`, and the reason in a sentence.
    """

    @property
    def failures(self) -> Sequence[tuple[str, str]]: ...
