"""Answers that are the reference and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.protocols import FloatArray, option
from harness.records import Prediction


@dataclass(frozen=True)
class ExactMatch:
    """Share of answers that equal the reference.

    Statistics: (1 if equal else 0, 1). An example without an answer is not scored.
    """

    strip: bool = option(True, help="pass over white space at either end")
    casefold: bool = option(False, help="pass over the difference of upper and lower case")

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"
    proportion: ClassVar[bool] = True

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        return np.array([self._row(p) for p in predictions], dtype=np.float64).reshape(-1, 2)

    def _row(self, prediction: Prediction) -> tuple[float, float]:
        answer = prediction.completion.text
        if answer is None:
            return np.nan, np.nan
        return float(self._normal(answer) == self._normal(prediction.example.reference)), 1.0

    def _normal(self, text: str) -> str:
        text = text.strip() if self.strip else text
        return text.casefold() if self.casefold else text

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        return f"case:{'folded' if self.casefold else 'mixed'}|strip:{'yes' if self.strip else 'no'}"
