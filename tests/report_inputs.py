"""A finished run, made up by formula but in the form of the rank stage: what the report's tests render."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.records import RESULTS_SCHEMA
from harness.stages.receipts import SEED_FIELDS

Json = dict[str, Any]
METRICS = [
    ("perplexity", "perplexity", "", False),
    ("bits_per_byte", "bits per byte", "bits/byte", False),
    ("token_accuracy", "token accuracy", "%", True),
    ("bleu", "BLEU", "", True),
    ("chrf", "chrF", "", True),
    ("exact_match", "exact match", "%", True),
]
TUNED = [
    ("qlora-r16", "qlora", 1.00, 96.0),
    ("lora-r16", "lora", 1.02, 71.0),
    ("full", "full", 1.06, 143.0),
    ("lora-r4", "lora", 1.22, 66.0),
    ("last2", "freeze", 1.55, 38.5),
]
BASE_VALUES = dict(zip((name for name, *_ in METRICS), (38.4, 1.61, 0.413, 2.1, 17.9, 0.008), strict=True))
BEST_VALUES = dict(zip((name for name, *_ in METRICS), (9.83, 1.007, 0.614, 19.4, 41.2, 0.183), strict=True))
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
SHARED_RECIPE = {
    "generation": {"max_new_tokens": 128},
    "prompting": {"template": "chat", "source": "", "max_length": 1024},
}
SUITE_TEXT = "model: ../models/small-en\ndata: alpaca.json\njudges: [reference, gpt4]\nrank_by: perplexity\n"


def make_report_input(
    folder: Path,
    *,
    examples: int = 120,
    tuned: Sequence[tuple[str, str, float, float]] = TUNED,
    seed: int = 7,
) -> Path:
    """Write results.json and examples.jsonl, as the rank stage would, into `folder`."""
    rng = random.Random(seed)
    results = make_results(tuned, examples, rng)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results, ensure_ascii=False))
    names = ["base", *(name for name, *_ in tuned)]
    with (folder / "examples.jsonl").open("w") as file:
        for number in range(examples):
            file.write(json.dumps(make_example(number, names, rng), ensure_ascii=False) + "\n")
    return folder


def make_results(tuned: Sequence[tuple[str, str, float, float]], n: int, rng: random.Random) -> Json:
    ranked = [_tuned(place, *spec, n, rng) for place, spec in enumerate(tuned, start=1)]
    candidates = [_base(n), *ranked, _failed()]
    judges = [
        {"name": "reference", "against": "base", "signature": "metric:chrf|margin:0.0"},
        {"name": "gpt4", "against": "base", "signature": "model:gpt-4o|prompt:3f2a91c0|temperature:0"},
    ]
    return {
        "schema": RESULTS_SCHEMA,
        "suite": {
            "name": "instruction-tuning",
            "description": "Which way of fine-tuning a small model is worth its cost?",
            "text": SUITE_TEXT,
            "rank_by": "perplexity",
            "overrides": ["training.num_train_epochs=3"],
        },
        "data": {
            "sources": [
                {"path": "/home/someone/data/alpaca.json", "format": "alpaca",
                 "columns": {"instruction": "instruction", "input": "input", "output": "output"},
                 "part": "train", "rows": 999, "unusable": 3,
                 "reasons": {"empty answer": {"rows": 3, "first": 17}}}
            ],
            "rows": {"train": 836, "validation": 42, "eval": n},
            "overlap": {"action": "remove", "exact": 1, "near": 4, "validation": {"exact": 0, "near": 0},
                        "pairs": [{"kind": "near", "similarity": 0.91, "train": "Write a haiku about rain!",
                                   "held_out": "Write a haiku about rain."}]},
            "train_duplicates": 2, "eval_dropped_too_long": 0, "eval_sha256": "9f2b" * 16,
            "longest": {"train": 912, "eval": 611},
        },
        "metrics": [
            {"name": name, "label": label, "unit": unit, "higher_is_better": up,
             "signature": f"{name}|version:1"}
            for name, label, unit, up in METRICS
        ],
        "judges": judges,
        "candidates": candidates,
        "pairs": _pairs(candidates),
        "findings": [
            "qlora-r16, lora-r16 and full lead by perplexity and cannot be told apart.",
            "Every tuned candidate is better than base: perplexity falls from 38.4 to between 9.83 and 15.2.",
            "last2 trained fastest (38.5 s) and is worse than the leaders.",
        ],
        "environment": {
            "python": "3.13.5", "platform": "Linux x86_64", "cpu": "2 cores", "gpus": [],
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"}, "harness": "0.1.0",
        },
        "warnings": ["5 rows of train were too like a row of eval and were removed."],
    }  # fmt: skip


def _score(name: str, value: float, n: int, spread: float = 0.04) -> Json:
    half = spread * abs(value) + 0.004
    unscored = 2 if name == "bits_per_byte" else 0
    return {"value": value, "low": max(value - half, 0.0), "high": value + 1.1 * half, "n": n - unscored,
            "unscored": unscored, "per_seed": [value]}  # fmt: skip


def _base(n: int) -> Json:
    return {
        "name": "base", "status": "ok", "failure": None, "backend": "torch", "method": None,
        "model": "small-en", "recipe": {"method": {}, "training": {}, **SHARED_RECIPE},
        "seeds": [0], "rank": None,
        "scores": {name: _score(name, value, n) for name, value in BASE_VALUES.items()},
        "differences": {}, "win_rates": {}, "training": None,
        "costs": {"train_seconds": None, "seconds": {}, "tokens_per_second": None, "peak_memory_bytes": None,
                  "memory_kind": None, "trainable_parameters": 0, "total_parameters": 14_200_000,
                  "artifact_bytes": None, "predict_seconds": 21.4, "device": "cpu"},
        "badges": [], "warnings": [],
    }  # fmt: skip


def _tuned(
    place: int, name: str, method: str, worse: float, seconds: float, n: int, rng: random.Random
) -> Json:
    values = {
        key: BASE_VALUES[key] + (best - BASE_VALUES[key]) / worse**1.5 if up else best * worse
        for (key, _, _, up), best in zip(METRICS, BEST_VALUES.values(), strict=True)
    }
    scores: Json = {key: _score(key, value, n) for key, value in values.items()}
    if name == "last2":
        scores["exact_match"] = {"missing": "ValueError: no answer ended within the limit"}
    known = [key for key, score in scores.items() if "value" in score]
    consistency, unparsed = 0.78 - 0.05 * place, 0.02 if place < 5 else 0.13
    return {
        "name": name, "status": "ok", "failure": None, "backend": "torch", "method": method,
        "model": "small-en", "recipe": _recipe(name, method), "seeds": [0],
        "rank": [1, 3] if place <= 3 else [place, place],
        "scores": scores,
        "differences": {key: _difference(key, values[key] - BASE_VALUES[key], n) for key in known},
        "win_rates": {"reference": _win_rate(max(0.86 - 0.06 * place, 0.1), 0.93, 0.0, n),
                      "gpt4": _win_rate(max(0.74 - 0.05 * place, 0.1), max(consistency, 0.1), unparsed, n)},
        "training": _training(worse, seconds, rng),
        "costs": _costs(method, seconds),
        "badges": ["float32", "batch 16", "310,000 tokens", "2 rows truncated", "cpu"],
        "warnings": ["validation loss was still falling at the end"] if method == "freeze" else [],
    }  # fmt: skip


def _recipe(name: str, method: str) -> Json:
    adapters = method in ("lora", "qlora")
    return {
        "method": {"r": 16 if "16" in name else 4, "lora_alpha": 32} if adapters else {},
        "training": {
            "learning_rate": 2e-4 if adapters else 2e-5,
            "num_train_epochs": 3,
            "optim": "adamw_torch",
        },
        **SHARED_RECIPE,
    }


def _costs(method: str, seconds: float) -> Json:
    trainable = {"lora": 320_000, "qlora": 320_000, "freeze": 3_100_000, "full": 14_200_000}[method]
    return {
        "train_seconds": seconds, "seconds": {"load": 1.2, "train": seconds, "validate": 1.8},
        "tokens_per_second": 310_000 / seconds, "peak_memory_bytes": 612_000_000 + 2_000_000 * int(seconds),
        "memory_kind": "process RSS", "trainable_parameters": trainable, "total_parameters": 14_200_000,
        "base_memory_bytes": 540_000_000, "reserved_memory_bytes": None,
        "device_memory_bytes": 16_000_000_000, "energy_joules": None, "mfu": None, "process_count": 1,
        "train_cost_usd": None, "predict_cost_usd": None,
        "artifact_bytes": 4 * trainable, "predict_seconds": 24.0, "device": "cpu",
    }  # fmt: skip


def _failed() -> Json:
    return {
        "name": "lora-wrong", "status": "failed",
        "failure": {"stage": "train", "message": "ModelError: target_modules: 'query_key' matches no module"},
        "backend": "torch", "method": "lora", "model": "small-en",
        "recipe": {"method": {"r": 16, "target_modules": ["query_key"]}, "training": {"learning_rate": 2e-4}},
        "seeds": [0], "rank": None,
        "scores": {}, "differences": {}, "win_rates": {}, "training": None, "costs": {},
        "badges": [], "warnings": [],
    }  # fmt: skip


def _difference(name: str, value: float, n: int) -> Json:
    half = 0.08 * abs(value) + 0.002
    up = {key: up for key, _, _, up in METRICS}[name]
    return {"against": "base", "value": value, "low": value - half, "high": value + half, "n": n,
            "p_value": 0.0001, "p_adjusted": 0.0006,
            "verdict": "better" if (value > 0) is up else "worse"}  # fmt: skip


def _win_rate(value: float, consistency: float, unparsed: float, n: int) -> Json:
    def rate(v: float, kept: int) -> Json:
        return {"value": v, "low": max(v - 0.08, 0.0), "high": min(v + 0.08, 1.0), "n": kept}

    rest = 1 - consistency
    return {
        "against": "base", "n": n,
        "rules": {"average": rate(value, n), "tie_on_disagreement": rate(0.5 + (value - 0.5) * 0.8, n),
                  "consistent_only": rate(min(value + 0.04, 1), int(n * consistency))},
        "consistency": consistency, "flips_to_first": rest * 0.6, "flips_to_second": rest * 0.1,
        "win_tie": rest * 0.3,
        "position_p_value": 0.0004, "pairs": n, "incomplete": 0, "skipped": 0,
        "unparsed": unparsed, "unparsed_candidate_first": unparsed * 1.5,
        "unparsed_opponent_first": unparsed * 0.5,
        "p_value": 0.004, "p_adjusted": 0.012 if value > 0.58 else 0.21,
        "verdict": "better" if value > 0.58 else "cannot be told apart", "cost_usd": None, "from_cache": 0,
        "prompt_tokens": 181_300, "completion_tokens": 9_600,
    }  # fmt: skip


def _training(worse: float, seconds: float, rng: random.Random) -> Json:
    def loss(step: int) -> float:
        return 1.9 * worse + 2.2 * math.exp(-step / 60)

    curve = [
        {"step": s, "epoch": s / 100, "loss": loss(s) + rng.gauss(0, 0.06), "learning_rate": 2e-4,
         "grad_norm": 1.0, "tokens_per_second": 310_000 / seconds}
        for s in range(1, 301)
    ]  # fmt: skip
    validation = [
        {"step": s, "loss": loss(s) + 0.08,
         "samples": [{"id": "v1", "prompt": "Name a colour of the sky.", "answer": f"Blue, at step {s}."}]}
        for s in (100, 200, 300)
    ]  # fmt: skip
    totals = {
        "steps": 300, "epochs": 3.0, "tokens_seen": 310_000, "tokens_supervised": 214_000, "rows_used": 836,
        "rows_truncated": 2, "rows_dropped": 0, "effective_batch_size": 16, "final_train_loss": loss(300),
        "best_step": 300, "best_validation_loss": loss(300) + 0.08,
        "dtypes": {"weights": "float32", "compute": "float32"}, "curve": curve, "validation": validation,
    }  # fmt: skip
    return {**totals, "per_seed": [{"seed": 0, **{field: totals[field] for field in SEED_FIELDS}}]}


def _pairs(candidates: list[Json]) -> list[Json]:
    known = [c for c in candidates if c["status"] == "ok"]
    pairs = []
    for i, a in enumerate(known):
        for b in known[i + 1 :]:
            value = a["scores"]["perplexity"]["value"] - b["scores"]["perplexity"]["value"]
            real = abs(value) > 1
            pairs.append(
                {"metric": "perplexity", "a": a["name"], "b": b["name"], "value": value, "low": value - 0.5,
                 "high": value + 0.5, "p_value": 0.001 if real else 0.4, "p_adjusted": 0.004 if real else 0.8,
                 "verdict": ("a" if value < 0 else "b") if real else "cannot be told apart", "n": 120}
            )  # fmt: skip
    return pairs


def make_example(number: int, names: list[str], rng: random.Random) -> Json:
    """One line of examples.jsonl; every seventh makes the judge gpt4 flip for the second candidate."""
    question = QUESTIONS[number % 4].format(THINGS[number % 10])

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(count)).capitalize() + "."

    answers = {name: _answer(words(rng.randint(15, 60)), rng) for name in names}
    if number == 5:
        answers[names[1]] = {"text": None, "error": "no reply within 60 s", "finish_reason": "", "tokens": 0,
                             "scores": {}}  # fmt: skip
    flips = {names[1]} if number % 7 == 0 else set()
    verdicts = {
        "reference": {
            name: _orders(rng.random() < 0.8, False, "chrF 41.2 against 17.3") for name in names[1:]
        },
        "gpt4": {
            name: _orders(rng.random() < 0.7, name in flips, "It keeps to the question; " + words(12))
            for name in names[1:]
        },
    }
    return {
        "id": f"{number:04d}-{rng.getrandbits(32):08x}",
        "prompt": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": question}],
        "reference": words(30), "answers": answers, "verdicts": verdicts,
    }  # fmt: skip


def _answer(text: str, rng: random.Random) -> Json:
    scores = {name: best * rng.uniform(0.7, 1.3) for name, best in BEST_VALUES.items()}
    return {"text": text, "error": None, "finish_reason": rng.choice(["stop", "stop", "length"]),
            "tokens": len(text) // 4, "scores": scores}  # fmt: skip


def _orders(wins: bool, flips: bool, reason: str) -> list[Json]:
    first = "first" if wins or flips else "second"
    second = "first" if flips or not wins else "second"
    return [
        {"candidate_first": True, "choice": first, "reason": reason, "raw": "{}"},
        {"candidate_first": False, "choice": second, "reason": reason, "raw": "{}"},
    ]
