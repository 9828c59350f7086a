"""Perplexity of the references, from sums over tokens: the mean of batches or of texts is another number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.protocols import FloatArray
from harness.records import Prediction


@dataclass(frozen=True)
class Perplexity:
    """Token-weighted perplexity of the reference answers; comparable only between equal tokenizers.

    exp(sum of negative log-likelihoods / number of tokens) over all references together, each with its
    end-of-turn token, given the prompt. Statistics: (negative log-likelihood in nats, tokens).
    """

    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = ""
    needs_likelihoods: ClassVar[bool] = True
    per_token: ClassVar[bool] = True

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        sums = [prediction.sums for prediction in predictions]
        rows = [(s.negative_log_likelihood, s.tokens) if s else (np.nan, np.nan) for s in sums]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(np.exp(totals[..., 0] / totals[..., 1]))

    def signature(self) -> str:
        return "of:reference+end|given:prompt|mean:token|tokenizer:model"
