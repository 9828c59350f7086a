"""chrF and chrF++ as sacrebleu computes them, from per-answer n-gram counts that add up to the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray, option
from harness.records import Prediction

if TYPE_CHECKING:
    from sacrebleu.metrics.chrf import CHRF


@dataclass(frozen=True)
class Chrf:
    """Corpus chrF of the answers against the references, 0 to 100, equal to sacrebleu's.

    Statistics: for each order of n-grams (in the answer, in the reference, matched), summed over the
    examples that have an answer.

    Source: Popović, chrF (2015) and chrF++ (2017).
    """

    char_order: int = option(6, help="longest n-gram of characters")
    word_order: int = option(0, help="longest n-gram of words; 2 makes it chrF++")
    beta: int = option(2, help="how much more recall counts than precision")
    lowercase: bool = option(False, help="compare in lower case")

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if self.char_order < 1 or self.word_order < 0 or self.beta < 1:
            raise ValueError("char_order and beta must be at least 1, word_order at least 0")

    @property
    def label(self) -> str:
        """chrF, or chrF++ for word_order 2."""
        return "chrF" + "+" * self.word_order

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        rows = np.full((len(predictions), 3 * (self.char_order + self.word_order)), np.nan)
        answered = [i for i, p in enumerate(predictions) if p.completion.text is not None]
        answers = [predictions[i].completion.text or "" for i in answered]
        references = [predictions[i].example.reference for i in answered]
        if answered:
            rows[answered] = self._metric()._extract_corpus_statistics(answers, [references])
        return rows

    def score(self, totals: FloatArray) -> FloatArray:
        """sacrebleu's CHRF._compute_f_score for many sums at once; 0 where nothing matches."""
        answer, reference, matched = (totals[..., start::3] for start in range(3))
        effective = (answer > 0) & (reference > 0)
        orders = np.maximum(effective.sum(axis=-1), 1)
        precision = _share(matched, answer, effective).sum(axis=-1) / orders
        recall = _share(matched, reference, effective).sum(axis=-1) / orders
        factor = self.beta**2
        weighted = factor * precision + recall
        return 100 * _share((1 + factor) * precision * recall, weighted, weighted > 0)

    def signature(self) -> str:
        metric = self._metric()
        metric.num_refs = 1  # sacrebleu learns it from the references it is given
        return str(metric.get_signature())

    def _metric(self) -> CHRF:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(self.char_order, self.word_order, self.beta, lowercase=self.lowercase)


def _share(part: FloatArray, whole: FloatArray, where: npt.NDArray[np.bool_]) -> FloatArray:
    """part / whole where it is defined, else 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=where)
