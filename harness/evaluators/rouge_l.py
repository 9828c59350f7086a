"""ROUGE-L by words of any script, without the English stemmer of the usual packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.protocols import FloatArray
from harness.records import Prediction

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{CJK}]|[^\W{CJK}]+")


@dataclass(frozen=True)
class RougeL:
    """ROUGE-L F1: the longest common subsequence of words, mean over the examples.

    Words are runs of letters, digits and underscores in lower case; each Chinese or Japanese character is
    a word. F1 weighs precision and recall alike. A reference without words cannot be scored. Statistics:
    (F1, 1).

    Source: Lin, ROUGE: A Package for Automatic Evaluation of Summaries (2004), section 3.1.
    """

    label: ClassVar[str] = "ROUGE-L"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        return np.array([_row(p) for p in predictions], dtype=np.float64).reshape(-1, 2)

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        return "words:unicode|cjk:char|case:lower|stemmer:no|f:1|mean:example"


def _row(prediction: Prediction) -> tuple[float, float]:
    reference = WORD.findall(prediction.example.reference.lower())
    if prediction.completion.text is None or not reference:
        return np.nan, np.nan
    answer = WORD.findall(prediction.completion.text.lower())
    # 2PR / (P + R) with P = common / answer and R = common / reference
    return 2 * common_subsequence(answer, reference) / (len(answer) + len(reference)), 1.0


def common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence, bit-parallel: one long addition for each word of `b`.

    Source: Hyyrö, Bit-Parallel LCS-length Computation Revisited (2004), figure 2.
    """
    places: dict[str, int] = {}
    for index, word in enumerate(a):
        places[word] = places.get(word, 0) | 1 << index
    every = (1 << len(a)) - 1
    unmatched = every
    for word in b:
        here = unmatched & places.get(word, 0)
        unmatched = ((unmatched + here) | (unmatched - here)) & every
    return len(a) - unmatched.bit_count()
