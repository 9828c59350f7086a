"""Likelihood per byte of text, which unlike perplexity does not depend on how a tokenizer cuts it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.protocols import FloatArray
from harness.records import Prediction


@dataclass(frozen=True)
class BitsPerByte:
    """Bits that the model needs for a byte of the reference answers; comparable across tokenizers.

    Sum of negative log-likelihoods, the end-of-turn tokens' included, in bits, over the UTF-8 bytes of
    the references' text. Statistics: (negative log-likelihood in nats, bytes).

    Source: Gao et al., The Pile (2020), section 3.1.
    """

    higher_is_better: ClassVar[bool] = False
    unit: ClassVar[str] = "bits/byte"
    needs_likelihoods: ClassVar[bool] = True

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        sums = [prediction.sums for prediction in predictions]
        rows = [(s.negative_log_likelihood, s.bytes) if s else (np.nan, np.nan) for s in sums]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / (math.log(2) * totals[..., 1]))

    def signature(self) -> str:
        return "of:reference+end|given:prompt|per:utf8-byte of reference"
