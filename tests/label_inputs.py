"""A suite whose answers lie in its store without a run, for the tests of labelling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from commands import write_suite

from harness.json_files import write_jsonl
from harness.labels import FORMAT, VERSION, pair_digest, prompt_digest, text_digest
from harness.plan import compile_plan
from harness.records import Completion, Example, Message, Prediction
from harness.store import Store
from harness.suite import Suite, load_suite

SUITE = """\
model: {model}
data: {train: data.json, eval: 0.5}
evaluators: [exact_match]
judges: JUDGES
candidates:
  zebra: {backend: {constant: {text: one}}}
  quagga: {backend: {constant: {text: two}}}
"""
PROMPTS = tuple(f"Question {number}?" for number in range(8))


def suite(folder: Path, model: Path, rows: list[dict[str, str]], judges: str = "[reference]") -> Suite:
    """A suite with the candidates base, zebra and quagga."""
    return load_suite(write_suite(folder, model, rows, SUITE.replace("JUDGES", judges)))


def answered(suite: Suite, answers: Mapping[str, list[str | None]]) -> Store:
    """A store in which these candidates have answered the PROMPTS so; None: a failed answer."""
    store = Store(suite.folder / ".harness" / "store")
    for step in compile_plan(suite, store, preflight=False).of_stages(["predict"]):
        assert step.trial is not None
        if texts := answers.get(step.trial.candidate.name):
            folder = store.create(step.key)
            write_jsonl(folder / "predictions.jsonl", _predictions(texts))
            store.commit(step.key, {})
    return store


def _predictions(texts: list[str | None]) -> list[Prediction]:
    return [
        Prediction(Example(f"id-{i}", (Message("user", prompt),), f"reference {i}"), Completion(text))
        for i, (prompt, text) in enumerate(zip(PROMPTS, texts, strict=True))
    ]


def label(
    prompt: str, left: str, right: str, choice: str, at: str = "2026-01-01T00:00:00Z"
) -> dict[str, str]:
    """A label on a pair of texts, as the page saves it."""
    asked = prompt_digest((Message("user", prompt),))
    one, other = text_digest(left), text_digest(right)
    pair = pair_digest(asked, one, other)
    return {"pair": pair, "prompt": asked, "left": one, "right": other, "choice": choice, "at": at}


def saved(labeller: str, labels: list[dict[str, str]]) -> dict[str, object]:
    """A file of labels, as the page saves it."""
    return {"format": FORMAT, "version": VERSION, "labeller": labeller, "suite": "trial", "labels": labels}
