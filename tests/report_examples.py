"""The examples of a made-up run: texts drawn from a few words, and what the real evaluators say of them."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness import registry
from harness.protocols import Evaluator
from harness.records import Completion, Example, Message, PluginSpec, Prediction, TokenSums
from harness.stats.resampling import score_totals

Json = dict[str, Any]
METRICS = [
    ("perplexity", "perplexity", "", False),
    ("bits_per_byte", "bits per byte", "bits/byte", False),
    ("token_accuracy", "token accuracy", "%", True),
    ("bleu", "BLEU", "", True),
    ("chrf", "chrF", "", True),
    ("exact_match", "exact match", "%", True),
]
"""Name, label, unit, whether higher is better."""
WORDS = "the model answers with a list of steps that a reader can follow at home without any tools".split()  # noqa: SIM905
QUESTIONS = [
    "Describe how {} is made.",
    "Explain why {} matters.",
    "Write a haiku about {}.",
    "List uses of {}.",
]
THINGS = [
    "bread",
    "steel",
    "a sonnet",
    "rain",
    "compost",
    "a bridge",
    "paper",
    "cheese",
    "glass",
    "a lighthouse",
]
UNANSWERED = 5
"""The place of the example to which the second candidate has no answer."""
UNMEASURED = (7, 8)
"""The places of examples of which bits per byte has no value."""
BYTES_PER_TOKEN = 3.3


@functools.cache
def evaluators() -> dict[str, tuple[PluginSpec, Evaluator]]:
    """The metrics as a suite without options would have them."""
    specs = {name: registry.make_spec(registry.find("evaluator", name), {}) for name, *_ in METRICS}
    return {name: (spec, registry.create(spec)) for name, spec in specs.items()}


def make_examples(
    values: Mapping[str, Mapping[str, float]], n: int, rng: random.Random, broken: Sequence[tuple[str, str]]
) -> list[Json]:
    """`n` lines of examples.jsonl without verdicts. `values`: candidate -> about what its metrics are.

    `broken` are candidates with a metric that failed for them.
    """
    entries = [_example(number, list(values), rng) for number in range(n)]
    for name, mine in values.items():
        predictions = [_prediction(entry, entry["answers"][name], mine) for entry in entries]
        for metric, (_, evaluator) in evaluators().items():
            if (name, metric) not in broken:
                _measure(entries, name, metric, evaluator, predictions)
    for entry in entries:
        for answer in entry["answers"].values():
            del answer["luck"]
    return entries


def _measure(
    entries: Sequence[Json], name: str, metric: str, evaluator: Evaluator, predictions: Sequence[Prediction]
) -> None:
    statistics = evaluator.measure(predictions)
    if metric == "bits_per_byte":
        statistics[[place for place in UNMEASURED if place < len(statistics)]] = np.nan
    values = score_totals(statistics, evaluator.score)
    for entry, row, value in zip(entries, statistics, values, strict=True):
        answer = entry["answers"][name]
        answer["scores"][metric] = float(value) if np.isfinite(value) else None
        answer["statistics"][metric] = [None if np.isnan(row).any() else row.tolist()]


def _example(number: int, names: Sequence[str], rng: random.Random) -> Json:
    question = QUESTIONS[number % 4].format(THINGS[number % 10])

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(count)).capitalize() + "."

    answers = {name: _answer(words(rng.randint(15, 60)), rng) for name in names}
    if number == UNANSWERED and len(names) > 1:
        answers[names[1]] |= {"text": None, "error": "no reply within 60 s", "finish_reason": "", "tokens": 0}
    return {
        "id": f"{number:04d}-{rng.getrandbits(32):08x}",
        "prompt": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": question}],
        "reference": words(30), "answers": answers, "verdicts": {},
    }  # fmt: skip


def _answer(text: str, rng: random.Random) -> Json:
    luck = [rng.random() for _ in METRICS]
    return {"text": text, "error": None, "finish_reason": rng.choice(["stop", "stop", "length"]),
            "tokens": len(text) // 4, "prompt_tokens": 0, "cost_usd": None, "scores": {}, "statistics": {},
            "luck": luck}  # fmt: skip


def _prediction(entry: Json, answer: Json, values: Mapping[str, float]) -> Prediction:
    """An answer as the evaluators see it; its text is made the reference's, or like it, by its luck."""
    likelihood, _, accuracy, likeness, _, match = answer["luck"]
    reference = entry["reference"]
    if answer["text"] is not None:
        copied = match < values["exact_match"]
        answer["text"] = reference if copied else _like(answer["text"], reference, values["chrf"], likeness)
    tokens = round(len(reference.encode()) / BYTES_PER_TOKEN)
    loss = math.log(values["perplexity"]) * (0.6 + 0.8 * likelihood)
    correct = round(tokens * min(values["token_accuracy"] * (0.6 + 0.8 * accuracy), 1.0))
    sums = TokenSums(loss * tokens, tokens, len(reference.encode()), correct)
    prompt = tuple(Message(**turn) for turn in entry["prompt"])
    return Prediction(Example(entry["id"], prompt, reference), Completion(answer["text"]), sums)


def _like(text: str, reference: str, chrf: float, luck: float) -> str:
    """As many words of the reference in their places as the figure asks for, the others as they were."""
    words, wanted = text.split(), reference.split()
    for place in range(min(round(len(wanted) * chrf / 100 * 2 * luck), len(words) - 1, len(wanted) - 1)):
        words[place] = wanted[place]
    return " ".join(words)
