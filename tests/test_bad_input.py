"""Whatever the user gets wrong: one line that says where, what and the fix; exit code 2; nothing written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import harness, write_suite

GOOD = """\
model: {model}
data: data.json
candidates:
  full: {}
"""
ROWS = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}"} for n in range(40)]


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / "suite.yaml").read_text()
        assert old in text
        (folder / "suite.yaml").write_text(text.replace(old, new))

    return change


def data(text: str, name: str = "data.json") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "data.json").unlink()
        (folder / name).write_text(text)
        suite = folder / "suite.yaml"
        suite.write_text(suite.read_text().replace("data.json", name))

    return change


def model_without(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        suite = folder / "suite.yaml"
        source = Path(suite.read_text().split("model: ")[1].split("\n")[0])
        shutil.copytree(source, folder / "model", ignore=shutil.ignore_patterns(*names))
        suite.write_text(suite.read_text().replace(str(source), "model"))

    return change


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


MISTAKES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no file": (lambda folder: (folder / "suite.yaml").unlink(), ["suite.yaml", "no such file"]),
    "not YAML": (replaced("data: data.json", "data: [data.json"), ["suite.yaml:3:"]),
    "duplicate key": (
        replaced("  full: {}", "  full: {}\n  full: {}"),
        ["suite.yaml:5:3", "duplicate", "full"],
    ),
    "unknown key": (
        replaced("candidates:", "candidate:"),
        ["suite.yaml:3:1", "candidate", "did you mean 'candidates'?"],
    ),
    "unknown training key": (
        replaced("full: {}", "full: {training: {learning_rte: 1e-4}}"),
        ["suite.yaml:4:21", "candidates.full.training.learning_rte", "did you mean 'learning_rate'?"],
    ),
    "unknown lora key": (
        replaced("full: {}", "lora: {method: {lora: {rank: 8}}}"),
        ["suite.yaml:4:26", "candidates.lora.method.lora.rank", "did you mean 'r'?"],
    ),
    "wrong type": (
        replaced("full: {}", "full: {training: {num_train_epochs: many}}"),
        ["suite.yaml:4:21", "num_train_epochs", "many"],
    ),
    "number in quotes": (
        replaced("full: {}", "full: {training: {learning_rate: '2e-4'}}"),
        ["suite.yaml:4:21", "learning_rate", "quotes"],
    ),
    "removed key": (
        replaced("full: {}", "full: {training: {evaluation_strategy: epoch}}"),
        ["suite.yaml:4:21", "evaluation_strategy", "eval_strategy"],
    ),
    "a key that the backend does not honour": (
        replaced("full: {}", "full: {training: {torch_compile: true}}"),
        ["suite.yaml:4:21", "torch_compile", "backend 'torch' does not honour"],
    ),
    "no candidates": (
        replaced("candidates:\n  full: {}\n", "candidates: {}\n"),
        ["suite.yaml:3:", "candidates"],
    ),
    "a name with a slash": (replaced("full: {}", "a/b: {}"), ["suite.yaml:4:3", "a/b"]),
    "base as a name": (replaced("full: {}", "base: {}"), ["suite.yaml:4:3", "base"]),
    "dataset missing": (lambda folder: (folder / "data.json").unlink(), ["suite.yaml:2:", "data.json"]),
    "dataset empty": (data(""), ["data.json", "empty"]),
    "dataset without rows": (data("[]"), ["data.json", "no rows"]),
    "malformed at line n": (
        data(lines(*ROWS[:16]) + "{oops\n", "rows.jsonl"),
        ["rows.jsonl:17"],
    ),
    "columns not recognised": (
        data(json.dumps([{"foo": "a", "bar": "b"}])),
        ["data.json", "foo", "bar", "columns"],
    ),
    "all rows too long": (
        replaced("candidates:", "prompting: {max_length: 8}\ncandidates:"),
        ["max_length"],
    ),
    "model folder missing": (replaced("model: /", "model: /no/such"), ["suite.yaml:1:", "no such"]),
    "model without tokenizer": (model_without("tokenizer*"), ["suite.yaml:1:", "tokenizer"]),
    "model without weights": (model_without("*.safetensors"), ["suite.yaml:1:", "safetensors"]),
    "unknown backend": (replaced("full: {}", "full: {backend: trol}"), ["suite.yaml:4:", "trol", "torch"]),
    "unknown evaluator": (
        replaced("candidates:", "evaluators: [perplexety]\ncandidates:"),
        ["suite.yaml:3:", "did you mean 'perplexity'?"],
    ),
    "unknown judge": (
        replaced("candidates:", "judges: [gpt5]\ncandidates:"),
        ["suite.yaml:3:", "gpt5", "gpt4", "reference"],
    ),
    "a judge without its key": (
        replaced("candidates:", "judges: [gpt4]\ncandidates:"),
        ["suite.yaml:3:10: judges.gpt4: ", "OPENAI_API_KEY"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_one_line_exit_2_and_nothing_written(mistake: str, tmp_path: Path, tiny_llama: Path) -> None:
    change, expected = MISTAKES[mistake]
    write_suite(tmp_path, tiny_llama, ROWS, GOOD)
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    said = harness("run", "suite.yaml", folder=tmp_path, env={"OPENAI_API_KEY": ""})
    complaint = said.stderr.splitlines()[-1]
    assert said.returncode == 2, said.stderr
    assert said.stdout == ""
    assert complaint.startswith("error: ")
    assert [text for text in expected if text not in complaint] == []
    assert "Traceback" not in said.stderr
    assert sorted(tmp_path.rglob("*")) == before
