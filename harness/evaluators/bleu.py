"""BLEU as sacrebleu computes it, from per-answer n-gram counts that add up to the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from harness.protocols import FloatArray, option
from harness.records import Prediction

if TYPE_CHECKING:
    from sacrebleu.metrics.bleu import BLEU

ORDER = 4


@dataclass(frozen=True)
class Bleu:
    """Corpus BLEU of the answers against the references, 0 to 100, equal to sacrebleu's.

    Statistics: (answer length, reference length, 4 counts of matched n-grams, 4 of n-grams in the
    answer), summed over the examples that have an answer.

    Source: Papineni et al., BLEU (2002); Post, A Call for Clarity in Reporting BLEU Scores (2018).
    """

    lowercase: bool = option(False, help="compare in lower case")
    tokenize: Literal["13a", "intl", "char", "zh", "none", "ja-mecab", "ko-mecab", "flores200"] = option(
        "13a",
        help="sacrebleu's tokenizer; ja-mecab, ko-mecab and flores200 need packages or files of their own",
    )
    smooth_method: Literal["exp", "floor", "add-k", "none"] = option(
        "exp", help="what stands for a count of zero; see sacrebleu"
    )
    smooth_value: float | None = option(None, help="the value of floor (0.1 if not given) or add-k (1)")

    label: ClassVar[str] = "BLEU"
    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        rows = np.full((len(predictions), 2 + 2 * ORDER), np.nan)
        answered = [i for i, p in enumerate(predictions) if p.completion.text is not None]
        answers = [predictions[i].completion.text or "" for i in answered]
        references = [predictions[i].example.reference for i in answered]
        if answered:
            rows[answered] = self._metric()._extract_corpus_statistics(answers, [references])
        return rows

    def score(self, totals: FloatArray) -> FloatArray:
        """sacrebleu's BLEU.compute_bleu for many sums at once; 0 where nothing matches."""
        answer_length, reference_length = totals[..., 0], totals[..., 1]
        matched, counted = totals[..., 2 : 2 + ORDER], totals[..., 2 + ORDER :]
        with np.errstate(divide="ignore", invalid="ignore"):
            shortfall = np.minimum(0.0, 1 - reference_length / answer_length)
            log_precision = np.log(self._precisions(matched, counted)).mean(axis=-1)
            bleu = 100 * np.exp(shortfall + log_precision)
        return np.where(matched.any(axis=-1), bleu, 0.0)

    def _precisions(self, matched: FloatArray, counted: FloatArray) -> FloatArray:
        """Smoothed n-gram precisions (..., 4); 0 from the first order on that the answers do not reach."""
        if self.smooth_method == "add-k":
            extra = np.array([0.0] + [1.0 if self.smooth_value is None else self.smooth_value] * (ORDER - 1))
            matched, counted = matched + extra, counted + extra
        unmatched = matched == 0
        if self.smooth_method == "exp":
            matched = np.where(unmatched, 0.5 ** np.cumsum(unmatched, axis=-1), matched)
        elif self.smooth_method == "floor":
            matched = np.where(unmatched, 0.1 if self.smooth_value is None else self.smooth_value, matched)
        reached = np.logical_and.accumulate(counted > 0, axis=-1)
        return np.where(reached, matched / counted, 0.0)

    def signature(self) -> str:
        metric = self._metric()
        metric.num_refs = 1  # sacrebleu learns it from the references it is given
        return str(metric.get_signature())

    def _metric(self) -> BLEU:
        from sacrebleu.metrics.bleu import BLEU

        return BLEU(
            lowercase=self.lowercase,
            tokenize=self.tokenize,
            smooth_method=self.smooth_method,
            smooth_value=self.smooth_value,
            force=True,  # a generated answer may well end in " ."
        )
