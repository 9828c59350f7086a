"""Evaluators against the libraries and formulas that define them, and the stage that runs them."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import registry
from harness.errors import PluginError, StageError
from harness.evaluators.bits_per_byte import BitsPerByte
from harness.evaluators.bleu import Bleu
from harness.evaluators.chrf import Chrf
from harness.evaluators.exact_match import ExactMatch
from harness.evaluators.hf_evaluate import HfEvaluate
from harness.evaluators.perplexity import Perplexity
from harness.evaluators.rouge_l import RougeL, common_subsequence
from harness.evaluators.token_accuracy import TokenAccuracy
from harness.json_files import iter_json_lines, read_json, write_jsonl
from harness.protocols import silent
from harness.records import Completion, Example, Message, Prediction, TokenSums, to_json
from harness.stages import evaluate
from harness.stats.resampling import score_totals

ALL = [
    Perplexity(),
    BitsPerByte(),
    TokenAccuracy(),
    Bleu(),
    Chrf(),
    Chrf(word_order=2),
    ExactMatch(),
    RougeL(),
]
NAMES = [
    "perplexity",
    "bits_per_byte",
    "token_accuracy",
    "bleu",
    "chrf",
    "exact_match",
    "rouge_l",
    "hf_evaluate",
]


def prediction(
    reference: str, answer: str | None, sums: TokenSums | None = None, number: int = 0
) -> Prediction:
    example = Example(f"e{number}", (Message("user", "?"),), reference)
    return Prediction(example, Completion(answer, error=None if answer is not None else "no memory"), sums)


def corpus(pairs: Iterable[tuple[str, str]]) -> list[Prediction]:
    return [prediction(reference, answer, number=i) for i, (reference, answer) in enumerate(pairs)]


def total(evaluator: Any, predictions: list[Prediction]) -> float:
    return float(evaluator.score(evaluator.measure(predictions).sum(axis=0)))


PAIRS = [
    ("The dog bit the man.", "The dog bit the man ."),
    ("It was not unexpected.", "It wasn't surprising at all."),
    ("The man bit him first.", "The man had just bitten him; he was first."),
    ("Grüße aus Köln, 42 km entfernt!", "grüße aus köln, 41 km entfernt"),
    ("今日は良い天気です。", "今日は悪い天気です。"),
    ("a", "b"),
    ("Long answers repeat repeat repeat words.", ""),
]
WORDS = st.lists(st.sampled_from(["the", "The", "cat", "sat", ",", ".", "on", "mat!", "7", "ß"]), max_size=12)
TEXTS = st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6).map(
    lambda rows: [(" ".join(a), " ".join(b)) for a, b in rows]
)


class TestSacrebleu:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"lowercase": True},
            {"tokenize": "char"},
            {"tokenize": "intl"},
            {"tokenize": "none", "smooth_method": "none"},
            {"smooth_method": "floor"},
            {"smooth_method": "floor", "smooth_value": 0.3},
            {"smooth_method": "add-k"},
            {"smooth_method": "add-k", "smooth_value": 2.0},
        ],
    )
    @settings(deadline=None)
    @given(pairs=TEXTS)
    def test_bleu_equals_sacrebleu(self, options: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
        from sacrebleu.metrics.bleu import BLEU

        pairs = pairs + PAIRS[: len(pairs) % 3]
        references, answers = zip(*pairs, strict=True)
        metric = BLEU(force=True, **options)
        expected = metric.corpus_score(answers, [references])
        assert total(Bleu(**options), corpus(pairs)) == pytest.approx(expected.score, rel=1e-10, abs=1e-12)
        assert Bleu(**options).signature() == str(metric.get_signature())

    def test_bleu_of_the_readme_corpus(self) -> None:
        import sacrebleu

        references, answers = zip(*PAIRS, strict=True)
        expected = sacrebleu.corpus_bleu(answers, [references], force=True).score
        assert expected > 10
        assert total(Bleu(), corpus(PAIRS)) == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize(
        "options", [{}, {"word_order": 2}, {"lowercase": True, "beta": 1}, {"char_order": 3, "word_order": 1}]
    )
    @settings(deadline=None)
    @given(pairs=TEXTS)
    def test_chrf_equals_sacrebleu(self, options: dict[str, Any], pairs: list[tuple[str, str]]) -> None:
        from sacrebleu.metrics.chrf import CHRF

        pairs = pairs + PAIRS[: len(pairs) % 3]
        references, answers = zip(*pairs, strict=True)
        metric = CHRF(**options)
        expected = metric.corpus_score(answers, [references])
        assert total(Chrf(**options), corpus(pairs)) == pytest.approx(expected.score, rel=1e-10, abs=1e-12)
        assert Chrf(**options).signature() == str(metric.get_signature())

    def test_signatures(self) -> None:
        version = Bleu().signature().rpartition(":")[2]
        assert Bleu().signature() == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{version}"
        assert (
            Chrf(word_order=2).signature()
            == f"nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}"
        )
        assert (Chrf().label, Chrf(word_order=2).label) == ("chrF", "chrF++")

    def test_all_tokenizers_offered_are_sacrebleus(self) -> None:
        from sacrebleu.metrics.bleu import BLEU

        adapter = registry.describe(Bleu).options
        offered = next(option.type for option in adapter if option.name == "tokenize")
        names = [
            name.strip("' ")
            for name in offered.removeprefix("Literal[").rstrip("]").replace('"', "").split(",")
        ]
        assert "13a" in names
        assert set(names) <= set(BLEU.TOKENIZERS)


class TestLikelihood:
    predictions = [  # noqa: RUF012
        prediction("abcd", "", TokenSums(6.0, 3, 4, 2)),
        prediction("äö", "", TokenSums(1.0, 2, 4, 2), 1),
        prediction("x", "", None, 2),
    ]

    @pytest.mark.parametrize(
        ("evaluator", "expected"),
        [
            (Perplexity(), math.exp(7 / 5)),
            (BitsPerByte(), 7 / math.log(2) / 8),
            (TokenAccuracy(), 4 / 5),
        ],
    )
    def test_sums_over_tokens_not_means_of_examples(self, evaluator: Any, expected: float) -> None:
        statistics = evaluator.measure(self.predictions)
        assert np.isnan(statistics[2]).all()
        assert evaluator.score(statistics[:2].sum(axis=0)) == pytest.approx(expected, rel=1e-14)

    def test_a_uniform_model(self) -> None:
        """Every token has probability 1/256, every byte is a token: perplexity 256, 8 bits a byte."""
        uniform = [prediction("abc", "", TokenSums(3 * math.log(256), 3, 3, 0))]
        assert total(Perplexity(), uniform) == pytest.approx(256)
        assert total(BitsPerByte(), uniform) == pytest.approx(8)


class TestWords:
    @pytest.mark.parametrize(
        ("options", "reference", "answer", "expected"),
        [
            ({}, "Blue.", "  Blue.\n", 1.0),
            ({}, "Blue.", "blue.", 0.0),
            ({"casefold": True}, "STRASSE", "straße", 1.0),
            ({"strip": False}, "Blue", "Blue ", 0.0),
            ({}, "", "", 1.0),
        ],
    )
    def test_exact_match(
        self, options: dict[str, bool], reference: str, answer: str, expected: float
    ) -> None:
        assert total(ExactMatch(**options), corpus([(reference, answer)])) == expected

    @pytest.mark.parametrize(
        ("reference", "answer", "expected"),
        [
            ("police killed the gunman", "police kill the gunman", 0.75),
            ("police killed the gunman", "the gunman kill police", 0.5),
            ("The CAT.", "the cat", 1.0),
            ("one two", "", 0.0),
            ("one two three four", "two four", 2 / 3),
            ("今日は良い天気です", "今日は悪い天気です", 8 / 9),
            ("Größe Éa", "größe éa", 1.0),
        ],
    )
    def test_rouge_l(self, reference: str, answer: str, expected: float) -> None:
        assert total(RougeL(), corpus([(reference, answer)])) == pytest.approx(expected)

    def test_rouge_l_needs_a_reference_with_words(self) -> None:
        assert np.isnan(RougeL().measure(corpus([("?!", "yes")]))).all()

    @settings(deadline=None)
    @given(st.lists(st.sampled_from("abcde"), max_size=80), st.lists(st.sampled_from("abcde"), max_size=80))
    def test_common_subsequence_equals_the_textbook(self, a: list[str], b: list[str]) -> None:
        row = [0] * (len(b) + 1)
        for x in a:
            above = row[:]
            for j, y in enumerate(b):
                row[j + 1] = above[j] + 1 if x == y else max(above[j + 1], row[j])
        assert common_subsequence(a, b) == row[-1]

    def test_rouge_l_is_fast(self) -> None:
        pick = random.Random(0)
        words = [f"w{i}" for i in range(400)]
        texts = [" ".join(pick.choices(words, k=500)) for _ in range(400)]
        start = time.process_time()
        RougeL().measure(corpus(zip(texts[:200], texts[200:], strict=True)))
        assert time.process_time() - start < 2


class TestEvery:
    @pytest.mark.parametrize("evaluator", ALL, ids=lambda e: type(e).__name__)
    def test_protocol(self, evaluator: Any) -> None:
        sums = [TokenSums(3.0 * i, i + 1, len(r.encode()), i) for i, (r, _) in enumerate(PAIRS)]
        rows = [prediction(r, a, s, i) for i, ((r, a), s) in enumerate(zip(PAIRS, sums, strict=True))]
        statistics = evaluator.measure(rows)
        assert statistics.dtype == np.float64
        assert statistics.shape[0] == len(rows)
        assert np.isfinite(statistics).all()
        draws = np.random.default_rng(0).integers(0, 3, size=(2, 5, len(rows))) @ statistics
        together = evaluator.score(draws)
        assert together.shape == (2, 5)
        assert together[1, 3] == pytest.approx(float(evaluator.score(draws[1, 3])), rel=1e-12)
        assert isinstance(evaluator.higher_is_better, bool)
        assert evaluator.signature()

    @pytest.mark.parametrize("evaluator", ALL, ids=lambda e: type(e).__name__)
    def test_missing_is_a_row_of_nan(self, evaluator: Any) -> None:
        answered = prediction("one two", "one", TokenSums(1.0, 2, 7, 1))
        statistics = evaluator.measure([prediction("one two", None), answered])
        assert np.isnan(statistics[0]).all()
        assert np.isfinite(statistics[1]).all()
        assert len(evaluator.measure([])) == 0

    @pytest.mark.parametrize("evaluator", ALL, ids=lambda e: type(e).__name__)
    def test_nothing_measured_is_nan_or_zero(self, evaluator: Any) -> None:
        k = evaluator.measure([prediction("a", None)]).shape[1]
        value = score_totals(np.zeros((1, k)), evaluator.score)[0]
        assert np.isnan(value) or value == 0.0

    @pytest.mark.parametrize("name", NAMES)
    def test_is_found_and_described(self, name: str) -> None:
        plugin = registry.find("evaluator", name)
        described = registry.describe(plugin.cls)
        assert described.summary
        assert all(option.help for option in described.options)


METRIC = """
import datasets
import evaluate


class Lengths(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
        )

    def _compute(self, predictions, references, scale=1):
        ratio = sum(map(len, predictions)) / sum(map(len, references))
        return {"ratio": scale * ratio, "each": [len(p) for p in predictions], "note": "text"}
"""


@pytest.fixture
def lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A real `evaluate` module in a folder; what evaluate writes to its caches stays in tmp_path."""
    import evaluate as library

    for cache in ("HF_MODULES_CACHE", "HF_METRICS_CACHE"):
        monkeypatch.setattr(library.config, cache, str(tmp_path / "cache"))
    folder = tmp_path / "lengths"
    folder.mkdir()
    (folder / "lengths.py").write_text(METRIC)
    return folder


class TestHfEvaluate:
    rows = corpus([("abcd", "ab"), ("ab", "abc")])

    def test_each_example_alone(self, lengths: Path) -> None:
        evaluator = HfEvaluate(str(lengths), key="ratio", kwargs={"scale": 10}, higher_is_better=False)
        statistics = evaluator.measure([*self.rows, prediction("x", None, number=2)])
        assert statistics[:2].tolist() == [[5.0, 1.0], [15.0, 1.0]]
        assert np.isnan(statistics[2]).all()
        assert float(evaluator.score(statistics[:2].sum(axis=0))) == 10.0
        assert evaluator.higher_is_better is False
        assert evaluator.signature().startswith(
            'metric:lengths|key:ratio|mean:example|kwargs:{"scale": 10}|evaluate:'
        )

    def test_lists_of_one(self, lengths: Path) -> None:
        assert HfEvaluate(str(lengths), key="each").measure(self.rows)[:, 0].tolist() == [2.0, 3.0]

    @pytest.mark.parametrize("key", ["", "note", "missing"])
    def test_key_must_name_a_number(self, lengths: Path, key: str) -> None:
        with pytest.raises(PluginError, match="set key to one of: ratio, each"):
            HfEvaluate(str(lengths), key=key).measure(self.rows)

    def test_no_such_module(self, lengths: Path) -> None:
        with pytest.raises(PluginError, match="cannot load"):
            HfEvaluate(str(lengths.parent / "absent")).measure(self.rows)

    def test_metric_is_required(self) -> None:
        (fault,) = registry.check_options(HfEvaluate, {})
        assert fault.path == ("metric",)


def run_stage(tmp_path: Path, predictions: list[Prediction], name: str, options: dict[str, Any]) -> Path:
    """The real stage over a predict folder made by hand."""
    source, out = tmp_path / "predict", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    write_jsonl(source / "predictions.jsonl", predictions)
    spec = registry.make_spec(registry.find("evaluator", name, tmp_path), options, tmp_path)
    evaluate.run({"evaluator": to_json(spec), "name": "mine"}, {"predictions": source}, out, silent)
    return out


BROKEN = """
from dataclasses import dataclass
import numpy as np

@dataclass(frozen=True)
class Broken:
    higher_is_better = True
    unit = ""

    def measure(self, predictions):
        return {returned}

    def score(self, totals):
        return totals[:, 0]

    def signature(self):
        return ""
"""


class TestStage:
    def test_files(self, tmp_path: Path) -> None:
        rows = [prediction("Hi", "hi"), prediction("a", None, number=1), prediction("b", "c", number=2)]
        out = run_stage(tmp_path, rows, "exact_match", {"casefold": True})
        assert list(iter_json_lines(out / "statistics.jsonl")) == [
            {"id": "e0", "statistics": [1.0, 1.0], "value": 1.0},
            {"id": "e1", "statistics": [None, None], "value": None},
            {"id": "e2", "statistics": [0.0, 1.0], "value": 0.0},
        ]
        assert read_json(out / "evaluator.json") == {
            "name": "mine",
            "label": "mine",
            "unit": "%",
            "higher_is_better": True,
            "signature": "case:folded|strip:yes",
            "unscored": 1,
        }

    def test_value_that_is_undefined_for_one_example_is_null(self, tmp_path: Path) -> None:
        rows = [prediction("", "", TokenSums(0.5, 1, 0, 0)), prediction("ab", "", TokenSums(0.5, 1, 2, 0), 1)]
        out = run_stage(tmp_path, rows, "bits_per_byte", {})
        lines = list(iter_json_lines(out / "statistics.jsonl"))
        assert lines[0] == {"id": "e0", "statistics": [0.5, 0.0], "value": None}
        assert json.loads((out / "evaluator.json").read_text())["unscored"] == 0

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            ("np.zeros(len(predictions))", r"shape \(2,\) for 2 predictions"),
            ("np.zeros((1, 2))", r"expected \(2, k\)"),
            ("np.array([[1.0, 1.0], [np.inf, 1.0]])", "not finite for 1 of 2 examples, first for e1"),
            ("np.array([[np.nan, 1.0], [1.0, 1.0]])", "not finite for 1 of 2 examples, first for e0"),
        ],
    )
    def test_an_evaluator_that_breaks_its_protocol(self, tmp_path: Path, returned: str, message: str) -> None:
        folder = tmp_path / "evaluators"
        folder.mkdir()
        (folder / "broken.py").write_text(BROKEN.format(returned=returned))
        with pytest.raises(StageError, match=message):
            run_stage(tmp_path, corpus(PAIRS[:2]), "broken", {})

    @pytest.mark.parametrize(("value", "is_refused"), [("67.4", True), ("-0.1", True), ("1", False)])
    def test_a_proportion_is_a_fraction(self, tmp_path: Path, value: str, *, is_refused: bool) -> None:
        folder = tmp_path / "evaluators"
        folder.mkdir()
        text = BROKEN.format(returned=f"np.array([[0.0], [{value}]])").replace('unit = ""', 'unit = "%"')
        (folder / "shares.py").write_text(text.replace("higher_is", "proportion = True\n    higher_is"))
        if not is_refused:
            out = run_stage(tmp_path, corpus(PAIRS[:2]), "shares", {})
            assert [line["value"] for line in iter_json_lines(out / "statistics.jsonl")] == [0.0, 1.0]
            return
        told = f"'mine' declares itself a proportion, and is {value} for e1: a proportion is a fraction"
        with pytest.raises(StageError, match=told):
            run_stage(tmp_path, corpus(PAIRS[:2]), "shares", {})
