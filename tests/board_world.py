"""Artifact folders made by hand, as the stages before rank leave them: statistics by the real evaluators."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.json_files import iter_json_lines, write_json, write_jsonl
from harness.protocols import TrainOutcome, silent
from harness.records import Completion, Example, Judgment, Message, Prediction, TokenSums, Verdict, to_json
from harness.stages import evaluate, rank

WORDS = ["the", "sky", "over", "a", "quiet", "town", "turned", "from", "blue", "to", "red", "while", "birds"]
METRICS = ("perplexity", "bleu", "exact_match")
ALL_METRICS = (*METRICS, "bits_per_byte", "token_accuracy", "chrf", "rouge_l")

OUTCOME = TrainOutcome(
    steps=10, epochs=1.0, tokens_seen=3200, tokens_supervised=900, rows_used=80, rows_truncated=2,
    rows_dropped=1, trainable_parameters=10, total_parameters=100, artifact_bytes=400,
    seconds={"load": 1.0, "train": 8.0, "save": 0.5}, tokens_per_second=400.0, peak_memory_bytes=5000,
    memory_kind="process RSS", device="cpu",
    dtypes={"weights": "float32", "trainable": "float32", "compute": "bfloat16"},
    effective_batch_size=8, final_train_loss=1.5, best_step=10, best_validation_loss=1.4,
    warnings=("slow disk",),
)  # fmt: skip

DATA = {
    "sources": [{"part": "train", "path": "rows.json", "format": "alpaca",
                 "columns": {"instruction": "instruction", "output": "output"}, "rows": 130, "unusable": 0,
                 "reasons": {}}],
    "overlap": {"action": "remove", "exact": 0, "near": 0, "validation": {"exact": 0, "near": 0},
                "pairs": []},
    "train_duplicates": 0, "eval_dropped_too_long": 0, "too_long": {"train": 0},
    "longest": {"train": 30, "eval": 28}, "max_length": 128, "eval_repeats": 0, "eval_sha256": "ab" * 32,
}  # fmt: skip

SHARED = {"generation": {"max_new_tokens": 32}, "prompting": {"template": "chat", "max_length": 128}}

Judged = Callable[[int], tuple[str, str] | None]


@dataclass
class Entry:
    """A candidate to be made up. `skill` in 0..1 moves likelihood and answers towards the reference."""

    skill: float
    seeds: int = 1
    noise_seed: int = 0
    trained: bool = True
    model: str = "models/tiny"
    failure: dict[str, str] | None = None
    broken_metric: str = ""
    unanswered: tuple[int, ...] = ()
    tokenizer: str | None = None
    scores_likelihood: bool = True
    judged: Judged | str | None = None
    outcome: dict[str, Any] = field(default_factory=dict)


@dataclass
class World:
    """Folders as the stages before rank would leave them."""

    folder: Path
    entries: dict[str, Entry]
    n: int = 40
    metrics: Sequence[str] = METRICS
    rank_by: str = "perplexity"
    against: str = "base"

    def __post_init__(self) -> None:
        self.inputs: dict[str, Path] = {}
        generator = np.random.default_rng(0)
        texts = [" ".join(generator.choice(WORDS, size=generator.integers(5, 14))) for _ in range(self.n)]
        self.examples = [Example(f"e{i}", (Message("user", f"Say {i}"),), t) for i, t in enumerate(texts)]
        self.difficulty = generator.uniform(1.0, 3.0, size=self.n)
        data = self._folder("data", "data")
        write_jsonl(data / "eval.jsonl", self.examples)
        write_json(data / "data.json", {**DATA, "rows": {"train": 80, "validation": 9, "eval": self.n}})
        self.specs = {
            m: registry.make_spec(registry.find("evaluator", m, self.folder), {}) for m in self.metrics
        }
        self.params = {
            "suite": {
                "name": "s",
                "description": "",
                "text": "name: s\n",
                "overrides": [],
                "rank_by": self.rank_by,
                "budget_usd": None,
                "price_per_gpu_hour": None,
            },
            "candidates": [self._candidate(name, entry) for name, entry in self.entries.items()],
            "metrics": [
                {"name": m, "evaluator": to_json(spec), "prompts": {}} for m, spec in self.specs.items()
            ],
            "judges": [self._judge_params()] if any(e.judged for e in self.entries.values()) else [],
        }

    def _judge_params(self) -> dict[str, Any]:
        plugin = registry.make_spec(registry.find("judge", "reference"), {})
        return {
            "name": "reference", "against": self.against, "members": [], "symmetric": False,
            "verdicts_of": "likeness", "prompts": {},
            "plugin": to_json(plugin),
        }  # fmt: skip

    def _folder(self, name: str, stem: str) -> Path:
        folder = self.folder / stem.replace(" ", "-")
        folder.mkdir()
        self.inputs[name] = folder
        return folder

    def _candidate(self, name: str, entry: Entry) -> dict[str, Any]:
        return {
            "name": name,
            "backend": "torch",
            "method": "lora" if entry.trained else None,
            "model": entry.model,
            "model_revision": None,
            "recipe": {"method": {"r": 8}, "training": {"learning_rate": 1e-4}, **SHARED},
            "grid": None,
            "seeds": list(range(entry.seeds)),
            "trials": [self._trial(name, entry, seed) for seed in range(entry.seeds)],
        }

    def _trial(self, name: str, entry: Entry, seed: int) -> dict[str, Any]:
        label = f"{name}-{seed}"
        trial: dict[str, Any] = {"seed": seed, "failure": None, "train": None, "predict": None}
        if entry.failure and seed == entry.seeds - 1:
            return {**trial, "failure": entry.failure, "evaluate": {}, "judges": {}}
        if entry.trained:
            trial["train"] = f"train {label}"
            self._write_training(self._folder(trial["train"], trial["train"]), entry)
        trial["predict"] = f"predict {label}"
        self._write_predictions(self._folder(trial["predict"], trial["predict"]), entry, seed)
        return {**trial, "evaluate": self._evaluate(label, entry), "judges": self._judge(label, entry)}

    def _write_training(self, folder: Path, entry: Entry) -> None:
        write_json(folder / "outcome.json", {**to_json(OUTCOME), **entry.outcome})
        step = {"step": 5, "epoch": 0.5, "loss": 2.0, "learning_rate": 1e-4, "grad_norm": math.nan}
        sample = {"id": "v0", "prompt": "p", "answer": "a"}
        log = [
            {"type": "train", **step, "tokens_per_second": 400.0, "seconds": 4.0},
            {"type": "validation", "step": 10, "epoch": 1.0, "loss": 1.4, "tokens": 90, "samples": [sample]},
        ]
        write_jsonl(folder / "log.jsonl", log)

    def _write_predictions(self, folder: Path, entry: Entry, seed: int) -> None:
        generator = np.random.default_rng([entry.noise_seed, seed])
        rows = [self._prediction(i, entry, generator) for i in range(self.n)]
        write_jsonl(folder / "predictions.jsonl", rows)
        place = {"device": "cpu", "dtypes": {"weights": "float32"}, "tokenizer": entry.tokenizer}
        write_json(
            folder / "predict.json",
            {"seconds": 2.0, "scored_tokens": 70, "generated_tokens": 9, "examples": self.n, **place},
        )

    def _prediction(self, i: int, entry: Entry, generator: np.random.Generator) -> Prediction:
        example = self.examples[i]
        words = example.reference.split()
        kept = [w if generator.random() < entry.skill else generator.choice(WORDS) for w in words]
        tokens = len(words) + 1
        nll = tokens * (self.difficulty[i] - entry.skill + generator.normal(0, 0.05))
        sums = TokenSums(float(nll), tokens, len(example.reference), int(tokens * entry.skill))
        if i in entry.unanswered:
            return Prediction(example, Completion(None, error="too long"), None)
        return Prediction(
            example, Completion(" ".join(kept), len(kept), "stop"), sums if entry.scores_likelihood else None
        )

    def _evaluate(self, label: str, entry: Entry) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for metric, spec in self.specs.items():
            if metric == entry.broken_metric:
                found[metric] = {"failure": "no such tokenizer"}
                continue
            found[metric] = f"evaluate {label} {metric}"
            inputs = {"predictions": self.inputs[f"predict {label}"]}
            out = self._folder(found[metric], found[metric])
            evaluate.run({"evaluator": to_json(spec), "name": metric}, inputs, out, silent)
        return found

    def _judge(self, label: str, entry: Entry) -> dict[str, Any]:
        if entry.judged is None:
            return {}
        comparison = {"against": self.against, "seed": 0}
        if isinstance(entry.judged, str):
            return {"reference": [{**comparison, "step": {"failure": entry.judged}}]}
        name = f"judge {label} reference"
        folder = self._folder(name, name)
        verdicts = [(example.id, entry.judged(i)) for i, example in enumerate(self.examples)]
        lines = [
            Judgment(example_id, order, Verdict(choice, "because", "raw"))  # type: ignore[arg-type]
            for example_id, pair in verdicts
            if pair
            for order, choice in zip((True, False), pair, strict=True)
        ]
        write_jsonl(folder / "verdicts.jsonl", lines)
        signature = "judge:reference|margin:0.0|code:00000000"
        skipped = sum(pair is None for _, pair in verdicts)
        counts = {
            "examples": len(verdicts) - skipped, "skipped": skipped, "not_judged": 0, "identical": 0,
            "asked": len(lines) - 3, "from_cache": 3, "prompt_tokens": 700, "completion_tokens": 40,
            "unparsed": sum(line.verdict.choice == "unparsed" for line in lines), "faults": {},
            "cost_usd": 0.25, "adjusted": {},
        }  # fmt: skip
        receipt = {"name": "reference", "signature": signature, "symmetric": False, **counts}
        write_json(folder / "judge.json", receipt)
        return {"reference": [{**comparison, "step": name}]}

    def rank(self, out: str = "rank") -> dict[str, Any]:
        folder = self.folder / out
        folder.mkdir()
        rank.run(self.params, self.inputs, folder, silent)
        text = (folder / "results.json").read_text()
        results: dict[str, Any] = json.loads(
            text, parse_constant=lambda name: pytest.fail(f"not JSON: {name}")
        )
        return results

    def shown(self, out: str = "rank") -> list[dict[str, Any]]:
        return list(iter_json_lines(self.folder / out / "examples.jsonl"))


def by_name(results: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {candidate["name"]: candidate for candidate in results["candidates"]}


def base(skill: float = 0.2, **more: Any) -> Entry:
    return Entry(skill, trained=False, **more)


def always(first: str, second: str) -> Judged:
    return lambda _: (first, second)
