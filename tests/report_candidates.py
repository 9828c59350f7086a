"""The candidates of a made-up run: rows of results.json by formula, about as good as their recipes."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

from report_examples import METRICS, UNMEASURED

from harness.leaderboard.distributions import lengths
from harness.leaderboard.receipts import SEED_FIELDS
from harness.stats.proportions import wilson
from harness.store import digest

Json = dict[str, Any]
TUNED = [
    ("qlora-r16", "qlora", 1.00, 96.0),
    ("lora-r16", "lora", 1.02, 71.0),
    ("full", "full", 1.06, 143.0),
    ("lora-r4", "lora", 1.22, 66.0),
    ("last2", "freeze", 1.55, 38.5),
]
BASE_VALUES = dict(zip((name for name, *_ in METRICS), (38.4, 1.61, 0.413, 2.1, 17.9, 0.008), strict=True))
BEST_VALUES = dict(zip((name for name, *_ in METRICS), (9.83, 1.007, 0.614, 19.4, 41.2, 0.183), strict=True))
BROKEN = ("last2", "exact_match")
"""A candidate, and the metric that failed for it."""
SECONDS = {"load": 1.2, "validate": 1.8}
SHARED_RECIPE = {
    "generation": {"max_new_tokens": 128},
    "prompting": {"template": "chat", "source": "", "max_length": 1024},
}
TOKENIZER = "6b1d" * 16


def values_of(worse: float) -> dict[str, float]:
    """About what the metrics of a candidate are."""
    return {
        key: BASE_VALUES[key] + (best - BASE_VALUES[key]) / worse**1.5 if up else best * worse
        for (key, _, _, up), best in zip(METRICS, BEST_VALUES.values(), strict=True)
    }


def _score(name: str, value: float, n: int, spread: float = 0.04) -> Json:
    half = spread * abs(value) + 0.004
    unscored = sum(place < n for place in UNMEASURED) if name == "bits_per_byte" else 0
    low, high, made = max(value - half, 0.0), value + 1.1 * half, "bootstrap"
    if name == "exact_match":
        (low, high), made = wilson(value * n, n), "wilson"
    return {"value": value, "low": low, "high": high, "n": n - unscored, "unscored": unscored,
            "interval": made, "per_seed": [value]}  # fmt: skip


def base_row(entries: Sequence[Json]) -> Json:
    n = len(entries)
    return {
        "name": "base", "status": "ok", "failure": None, "backend": "torch", "method": None,
        "model": "small-en", "model_revision": None,
        "recipe": {"method": {}, "training": {}, **SHARED_RECIPE}, "seeds": [0],
        "rank": None, "group": None, "search": None, "tokenizer": TOKENIZER,
        "answers": _answers("base", entries), "totals": {"seconds": 21.4, "cost_usd": None},
        "scores": {name: _score(name, value, n) for name, value in BASE_VALUES.items()},
        "differences": {}, "win_rates": {}, "training": None,
        "costs": {**dict.fromkeys(_costs("full", 1.0)), "seconds": {}, "predict_seconds": 21.4,
                  "device": "cpu"},
        "badges": [], "warnings": [], "judge_warnings": [],
    }  # fmt: skip


def tuned_row(
    place: int,
    name: str,
    method: str,
    worse: float,
    seconds: float,
    entries: Sequence[Json],
    rng: random.Random,
) -> Json:
    n, values = len(entries), values_of(worse)
    scores: Json = {key: _score(key, value, n) for key, value in values.items()}
    if name == BROKEN[0]:
        scores[BROKEN[1]] = {"missing": "ValueError: no answer ended within the limit"}
    known = [key for key, score in scores.items() if "value" in score]
    return {
        "name": name, "status": "ok", "failure": None, "backend": "torch", "method": method,
        "model": "small-en", "model_revision": None, "recipe": _recipe(name, method), "seeds": [0],
        "rank": [1, 3] if place <= 3 else [place, place], "group": "aaabcdef"[min(place, 8) - 1],
        "search": None, "tokenizer": TOKENIZER, "answers": _answers(name, entries),
        "totals": {"seconds": math.fsum(SECONDS.values()) + seconds + 24.0, "cost_usd": None},
        "scores": scores,
        "differences": {key: _difference(key, values[key] - BASE_VALUES[key], n) for key in known},
        "win_rates": {},
        "training": _training(name, worse, seconds, rng),
        "costs": _costs(method, seconds),
        "badges": ["float32", "batch 16", "310,000 tokens", "2 rows truncated", "cpu"],
        "warnings": ["validation loss was still falling at the end"] if method == "freeze" else [],
        "judge_warnings": [],
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
        "train_seconds": seconds, "seconds": {**SECONDS, "train": seconds},
        "train_device_hours": (math.fsum(SECONDS.values()) + seconds) / 3600,
        "tokens_per_second": 310_000 / seconds, "peak_memory_bytes": 612_000_000 + 2_000_000 * int(seconds),
        "memory_kind": "process RSS", "trainable_parameters": trainable, "total_parameters": 14_200_000,
        "base_memory_bytes": 540_000_000, "reserved_memory_bytes": None,
        "device_memory_bytes": 16_000_000_000, "energy_joules": None, "mfu": None, "process_count": 1,
        "train_cost_usd": None, "predict_cost_usd": None,
        "artifact_bytes": 4 * trainable, "predict_seconds": 24.0, "device": "cpu",
    }  # fmt: skip


def failed_row() -> Json:
    return {
        "name": "lora-wrong", "status": "failed",
        "failure": {"stage": "train", "message": "ModelError: target_modules: 'query_key' matches no module"},
        "backend": "torch", "method": "lora", "model": "small-en", "model_revision": None,
        "recipe": {"method": {"r": 16, "target_modules": ["query_key"]},
                   "training": {"learning_rate": 2e-4}, **SHARED_RECIPE},
        "seeds": [0], "rank": None, "group": None, "search": None, "answers": None, "tokenizer": None,
        "scores": {name: {"missing": "train failed"} for name, *_ in METRICS}, "differences": {},
        "win_rates": {}, "training": None, "totals": {"seconds": 0.0, "cost_usd": None},
        "costs": {**dict.fromkeys(_costs("full", 1.0)), "seconds": {}},
        "badges": [], "warnings": [], "judge_warnings": [],
    }  # fmt: skip


def _difference(name: str, value: float, n: int) -> Json:
    half = 0.08 * abs(value) + 0.002
    up = {key: up for key, _, _, up in METRICS}[name]
    return {"against": "base", "value": value, "low": value - half, "high": value + half, "n": n,
            "p_value": 0.0001, "p_adjusted": 0.0006,
            "verdict": "better" if (value > 0) is up else "worse"}  # fmt: skip


def _answers(name: str, entries: Sequence[Json]) -> Json:
    given = [entry["answers"][name] for entry in entries]
    texts = [answer["text"] for answer in given if answer["text"] is not None]
    return {"n": len(given), "missing": len(given) - len(texts),
            "cut_off": sum(answer["finish_reason"] == "length" for answer in given),
            "distinct": len(set(texts)), "sha256": digest([answer["text"] for answer in given]),
            "lengths": lengths(texts), "prompt_tokens": 0, "cost_usd": None,
            "generated_tokens": sum(answer["tokens"] for answer in given)}  # fmt: skip


def _training(name: str, worse: float, seconds: float, rng: random.Random) -> Json:
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
        "rows_truncated": 2, "rows_dropped": 0, "effective_batch_size": 16, "micro_batch_size": 16,
        "process_count": 1, "final_train_loss": loss(300),
        "best_step": 300, "best_validation_loss": loss(300) + 0.08,
        "dtypes": {"weights": "float32", "compute": "float32"}, "curve": curve, "validation": validation,
    }  # fmt: skip
    artifact = f"train-{digest(name)[:32]}"
    seeds = [{"seed": 0, "artifact": artifact, **{field: totals[field] for field in SEED_FIELDS}}]
    return {**totals, "per_seed": seeds}
