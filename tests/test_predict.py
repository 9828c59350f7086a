"""The predict stage: order, resumption, and failures that name their example."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import make_llama, make_tokenizer
from training_jobs import METHODS, make_job, train
from transformers import ByT5Tokenizer

from harness import registry
from harness.errors import StageError
from harness.json_files import read_json, read_jsonl, write_json, write_jsonl
from harness.modeling.loading import load_tokenizer, tokenizer_digest
from harness.protocols import silent
from harness.records import Completion, Example, Message, ModelRef, PluginSpec, Prediction, Prompting, to_json
from harness.stages import predict

# A backend as a user would write one, slow on request; it also notes how often it was asked.
BACKEND = '''
"""A backend for untrained models."""
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from harness import option
from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.loading import load_model, load_tokenizer


@dataclass(frozen=True)
class Untrained:
    """Serves a model folder as it is."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    delay: float = option(0.0, help="seconds that each batch takes longer", changes_result=False)

    def train(self, job: Any) -> Any:
        raise NotImplementedError

    def load(self, model: Any, trained: Path | None, prompting: Any) -> Any:
        torch.set_num_threads(1)
        served = load_model(model, device=torch.device("cpu"))
        return _Slow(TransformersLanguageModel(served, load_tokenizer(model), prompting), self.delay)


class _Slow:
    def __init__(self, model: Any, delay: float) -> None:
        self._model, self._delay = model, delay
        self.device, self.dtypes = model.device, model.dtypes

    def generate(self, prompts: Sequence[Any], decoding: Any) -> Any:
        time.sleep(self._delay)
        return self._model.generate(prompts, decoding)

    def score(self, pairs: Sequence[Any]) -> Any:
        return self._model.score(pairs)
'''
# A backend that can neither tell its device nor score, and answers in capitals; `nan` in a prompt breaks it.
ECHO = '''
"""A backend without a model."""
from dataclasses import dataclass
from typing import Any, ClassVar

from harness import Completion, TokenSums


@dataclass(frozen=True)
class Echo:
    """Repeats the prompt in capitals."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()

    def train(self, job: Any) -> Any:
        raise NotImplementedError

    def load(self, model: Any, trained: Any, prompting: Any) -> Any:
        return self

    def generate(self, prompts: Any, decoding: Any) -> Any:
        return [self._answer(prompt[-1].content) for prompt in prompts]

    def _answer(self, text: str) -> Completion:
        return Completion(None, error="refused") if text == "refuse" else Completion(text.upper(), 1, "stop")

    def score(self, pairs: Any) -> Any:
        return [TokenSums(float("nan"), 1, 1, 0) if "nan" in p[-1].content else None for p, _ in pairs]
'''
# A backend that stands in for a model, and answers the examples that it is told to, in that order.
ANSWERER = '''
"""A backend of answers."""
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import Completion, option


@dataclass(frozen=True)
class Answerer:
    """Repeats the prompt in capitals."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    order: list[str] = option([], help="ids in the order of the answers")
    asked: str = option("", help="a file that is told what was asked")

    def train(self, job: Any) -> Any:
        raise NotImplementedError

    def load(self, model: Any, trained: Any, prompting: Any) -> Any:
        return self

    def answer(self, examples: Any, decoding: Any) -> Any:
        if self.asked:
            with Path(self.asked).open("a") as file:
                print(*(example.id for example in examples), file=file)
        texts = {example.id: example.prompt[-1].content.upper() for example in examples}
        for example_id in self.order:
            yield example_id, Completion(texts.get(example_id, ""))
'''
STAGE = """
import json, sys
from pathlib import Path
from harness.stages import predict
given = json.loads(sys.argv[1])
inputs = {name: Path(folder) for name, folder in given["inputs"].items()}
def show(done, total, note=""):
    print(done, total, flush=True)
predict.run(given["params"], inputs, Path(given["out"]), show)
"""


def example(n: int, question: str) -> Example:
    return Example(f"e{n:02}", (Message("user", question),), f"Answer {'very ' * (n % 4)}{n}.")


def params(
    tmp_path: Path, source: str, model: str = "none", batch_size: int = 3, **options: Any
) -> dict[str, Any]:
    file = tmp_path / "backend_of_test.py"
    file.write_text(source)
    name = next(name for name in ("Untrained", "Echo", "Answerer") if f"class {name}:" in source)
    return {
        "backend": to_json(PluginSpec("backend", "mine", f"{file}:{name}", options)),
        "model": to_json(ModelRef(model)),
        "prompting": to_json(Prompting("chat", "", 256)),
        "generation": {"max_new_tokens": 8},
        "seed": 0,
        "runtime": {"batch_size": batch_size},
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_jsonl(folder / "eval.jsonl", [example(n, "word " * (n * 7 % 10 + 1) + str(n)) for n in range(14)])
    return folder


def run_apart(tmp_path: Path, out: Path, data: Path, given: dict[str, Any]) -> subprocess.Popen[str]:
    arguments = {"params": given, "inputs": {"data": str(data)}, "out": str(out)}
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)},
    )


def out_folder(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_predictions_are_in_eval_order_whatever_the_batches(
    tmp_path: Path, data: Path, tiny_llama: Path
) -> None:
    examples = read_jsonl(data / "eval.jsonl", Example)
    written: dict[int, list[Prediction]] = {}
    for size in (1, 4, 100):
        out = out_folder(tmp_path, f"out{size}")
        predict.run(params(tmp_path, BACKEND, str(tiny_llama), size), {"data": data}, out, silent)
        written[size] = read_jsonl(out / "predictions.jsonl", Prediction)
        assert sorted(path.name for path in out.iterdir()) == ["predict.json", "predictions.jsonl"]
        assert [prediction.example for prediction in written[size]] == examples
    for size in (4, 100):
        for one, other in zip(written[1], written[size], strict=True):
            assert one.completion == other.completion
            assert one.sums is not None
            assert other.sums is not None
            assert one.sums.negative_log_likelihood == pytest.approx(
                other.sums.negative_log_likelihood, rel=1e-5
            )
    summary = read_json(tmp_path / "out4" / "predict.json")
    assert summary["examples"] == 14
    assert summary["failed"] == 0
    assert summary["generated_tokens"] == sum(p.completion.tokens for p in written[4])
    assert summary["device"] == "cpu"
    assert summary["dtypes"] == {"weights": "float32"}
    assert summary["tokenizer"] is None  # this backend's model does not tell
    assert summary["seconds"] > 0


@pytest.mark.slow
def test_a_killed_stage_goes_on_where_it_was(tmp_path: Path, data: Path, tiny_llama: Path) -> None:
    given = params(tmp_path, BACKEND, str(tiny_llama))
    undisturbed = out_folder(tmp_path, "undisturbed")
    predict.run(given, {"data": data}, undisturbed, silent)

    out = out_folder(tmp_path, "killed")
    slow = params(tmp_path, BACKEND, str(tiny_llama), delay=0.5)
    first = run_apart(tmp_path, out, data, slow)
    assert first.stdout is not None
    for line in first.stdout:
        if line.startswith("6 "):  # two batches of five are done, the third is on its way
            break
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL
    first.communicate()
    assert not (out / "predictions.jsonl").exists()
    with (out / predict.PARTIAL).open("a") as file:  # what a kill in the middle of a write leaves
        file.write('{"seconds": 0.1, "predictions": [{"example": {"id": "e0')

    second = run_apart(tmp_path, out, data, given)
    shown, errors = second.communicate(timeout=120)
    assert second.returncode == 0, errors
    assert shown.splitlines() == ["6 14", "9 14", "12 14", "14 14"]
    assert (out / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()
    assert (
        read_json(out / "predict.json")["seconds"] > 1.0
    )  # the first attempt's batches took half a second each


def test_a_resumed_stage_may_have_another_batch_size(tmp_path: Path, data: Path) -> None:
    out = out_folder(tmp_path, "out")
    done = read_jsonl(data / "eval.jsonl", Example)[3:5]
    earlier = [Prediction(e, Completion("EARLIER", 1, "stop"), None) for e in done]
    (out / predict.PARTIAL).write_text(json.dumps({"seconds": 5.0, "predictions": to_json(earlier)}) + "\n")
    predict.run(params(tmp_path, ECHO, batch_size=5), {"data": data}, out, silent)
    written = read_jsonl(out / "predictions.jsonl", Prediction)
    assert [i for i, p in enumerate(written) if p.completion.text == "EARLIER"] == [3, 4]
    assert read_json(out / "predict.json")["seconds"] > 5


def test_failed_answers_are_counted_and_kept(tmp_path: Path) -> None:
    data = out_folder(tmp_path, "data")
    write_jsonl(data / "eval.jsonl", [example(0, "hello"), example(1, "refuse"), example(2, "bye")])
    out = out_folder(tmp_path, "out")
    calls: list[tuple[int, int]] = []
    predict.run(
        params(tmp_path, ECHO, batch_size=2),
        {"data": data},
        out,
        lambda done, total, note="": calls.append((done, total)),
    )
    written = read_jsonl(out / "predictions.jsonl", Prediction)
    assert [p.completion.text for p in written] == ["HELLO", None, "BYE"]
    assert written[1].completion.error == "refused"
    assert [p.sums for p in written] == [None, None, None]
    summary = read_json(out / "predict.json")
    assert (summary["failed"], summary["device"], summary["dtypes"], summary["tokenizer"]) == (
        1,
        None,
        {},
        None,
    )
    assert calls == [(0, 3), (2, 3), (3, 3)]


@pytest.fixture
def three(tmp_path: Path) -> Path:
    folder = out_folder(tmp_path, "data")
    write_jsonl(folder / "eval.jsonl", [example(0, "hello"), example(1, "refuse"), example(2, "bye")])
    return folder


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (["e02", "e00", "e01"], None),
        (["e00", "e01"], "the backend passed over 1 examples, first e02"),
        (["e00", "e07"], "the backend answered example e07, which it was not asked"),
        (["e00", "e00"], "the backend answered example e00, which it was not asked"),
    ],
)
def test_what_stands_in_for_a_model_answers_in_any_order(
    tmp_path: Path, three: Path, order: list[str], expected: str | None
) -> None:
    out = out_folder(tmp_path, "out")
    given = params(tmp_path, ANSWERER, order=order)
    if expected is None:
        predict.run(given, {"data": three}, out, silent)
        written = read_jsonl(out / "predictions.jsonl", Prediction)
        assert [(p.example.id, p.completion.text) for p in written] == [
            ("e00", "HELLO"),
            ("e01", "REFUSE"),
            ("e02", "BYE"),
        ]
        summary = read_json(out / "predict.json")
        assert (summary["scores"], summary["scored_tokens"], summary["cost_usd"]) == (False, 0, None)
        return
    with pytest.raises(StageError, match=expected):
        predict.run(given, {"data": three}, out, silent)


def test_each_answer_is_written_when_it_arrives_and_not_asked_for_again(tmp_path: Path, three: Path) -> None:
    out, asked = out_folder(tmp_path, "out"), tmp_path / "asked"
    broken = params(tmp_path, ANSWERER, order=["e01", "e00"], asked=str(asked))
    with pytest.raises(StageError, match="passed over 1"):
        predict.run(broken, {"data": three}, out, silent)
    assert len((out / predict.PARTIAL).read_text().splitlines()) == 2
    with (out / predict.PARTIAL).open("a") as file:  # what a kill in the middle of a write leaves
        file.write('{"seconds": 0.1, "predictions": [{"example": {"id": "e0')
    shown: list[int] = []
    whole = params(tmp_path, ANSWERER, order=["e02"], asked=str(asked))
    predict.run(whole, {"data": three}, out, lambda done, total, note="": shown.append(done))
    assert asked.read_text().splitlines() == ["e00 e01 e02", "e02"]
    assert shown == [2, 3]
    written = read_jsonl(out / "predictions.jsonl", Prediction)
    assert [p.completion.text for p in written] == ["HELLO", "REFUSE", "BYE"]


def test_a_likelihood_that_is_not_finite_names_its_example(tmp_path: Path) -> None:
    data = out_folder(tmp_path, "data")
    write_jsonl(data / "eval.jsonl", [example(0, "hello"), example(1, "nan"), example(2, "bye")])
    out = out_folder(tmp_path, "out")
    with pytest.raises(StageError, match="example e01: the negative log-likelihood of the reference is nan"):
        predict.run(params(tmp_path, ECHO), {"data": data}, out, silent)
    assert not (out / "predictions.jsonl").exists()


def test_equal_examples_are_all_there(tmp_path: Path) -> None:
    data = out_folder(tmp_path, "data")
    write_jsonl(data / "eval.jsonl", [example(0, "hello"), example(1, "bye"), example(0, "hello")])
    out = out_folder(tmp_path, "out")
    shown: list[int] = []
    report = lambda done, total, note="": shown.append(done)  # noqa: E731
    predict.run(params(tmp_path, ECHO, batch_size=1), {"data": data}, out, report)
    assert shown == [0, 1, 2, 3]
    assert [p.example.id for p in read_jsonl(out / "predictions.jsonl", Prediction)] == ["e00", "e01", "e00"]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_trained_model_has_the_tokenizer_of_its_base(
    tmp_path: Path, rows: list[dict[str, str]], method: str
) -> None:
    """Training adds a pad token where there is none; the tokens of text are the same all the same."""
    base = make_llama(tmp_path / "base")
    config = read_json(base / "tokenizer_config.json")
    del config["pad_token"]
    write_json(base / "tokenizer_config.json", config)
    job = make_job(tmp_path / "out", base, rows, METHODS[method], max_steps=1)
    train(job)
    write_jsonl(tmp_path / "eval.jsonl", [example(0, "hello")])
    spec = to_json(registry.make_spec(registry.find("backend", "torch"), {}))
    given = {**params(tmp_path, ECHO, str(base)), "backend": spec}
    digests = []
    for name, inputs in {"untrained": {}, "trained": {"trained": job.out}}.items():
        out = out_folder(tmp_path, name)
        predict.run(given, {"data": tmp_path, **inputs}, out, silent)
        digests.append(read_json(out / "predict.json")["tokenizer"])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 64


def test_tokenizers_that_cut_text_differently_have_different_digests(tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        return tokenizer_digest(load_tokenizer(ModelRef(str(folder))))

    small, same, large = (tmp_path / name for name in ("small", "same", "large"))
    make_tokenizer(small, vocab_size=300)
    make_tokenizer(same, vocab_size=300)
    make_tokenizer(large, vocab_size=320)
    assert digest(small) == digest(same) != digest(large)
    used = load_tokenizer(ModelRef(str(small)))
    before = tokenizer_digest(used)
    used(["a", "a longer text"], padding=True, truncation=True, max_length=5)
    assert tokenizer_digest(used) == before


def test_a_tokenizer_in_python_alone_has_a_digest_too() -> None:
    first, same, other = ByT5Tokenizer(), ByT5Tokenizer(), ByT5Tokenizer(extra_ids=7)
    assert not first.is_fast
    assert tokenizer_digest(first) == tokenizer_digest(same) != tokenizer_digest(other)
