"""How often the model's most likely next token is the reference's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.protocols import FloatArray
from harness.records import Prediction


@dataclass(frozen=True)
class TokenAccuracy:
    """Share of reference tokens that the model would have picked greedily, given those before them.

    Over the tokens of all references together, end-of-turn tokens included; comparable only between
    equal tokenizers. Statistics: (correct tokens, tokens).
    """

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = "%"
    needs_likelihoods: ClassVar[bool] = True
    per_token: ClassVar[bool] = True

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        sums = [prediction.sums for prediction in predictions]
        rows = [(s.correct, s.tokens) if s else (np.nan, np.nan) for s in sums]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        return "of:reference+end|given:prompt|mean:token|tokenizer:model"
