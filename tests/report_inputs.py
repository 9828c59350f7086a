"""A finished run, made up by formula but in the form of the rank stage: what the report's tests render."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from harness.json_files import dump_line
from harness.leaderboard import boards
from harness.leaderboard.receipts import SEED_FIELDS
from harness.leaderboard.verdict_lines import by_example
from harness.records import RESULTS_SCHEMA

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
JUDGES = [
    ("reference", "base", "reference", "judge:reference|margin:0.0"),
    ("gpt4", "base", "gpt4", "judge:gpt4|model:gpt-4o-2024-08-06|prompt:3f2a91c0|temperature:0"),
    ("local", "all", "local", "judge:local|model:small-judge"),
    ("people", "base", "human", "judge:human|labels:5d41402a"),
]
"""Name, against, plugin, signature."""
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
    """Write results.json, examples.jsonl and verdicts.jsonl, as the rank stage would, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _contents(tuple(tuned), examples, seed).items():
        (folder / name).write_text(content)
    return folder


@cache
def _contents(tuned: tuple[tuple[str, str, float, float], ...], n: int, seed: int) -> dict[str, str]:
    rng = random.Random(seed)
    names = ["base", *(name for name, *_ in tuned)]
    entries = [make_example(number, names, rng) for number in range(n)]
    lines = make_lines(entries, names, rng)
    results = make_results(tuned, n, lines, rng)
    for judge, against, *_ in JUDGES:
        shown = by_example(lines[judge], against)
        for entry in entries:
            entry["verdicts"][judge] = shown.get(entry["id"], {})
    return {
        "results.json": json.dumps(results, ensure_ascii=False),
        "examples.jsonl": "".join(map(dump_line, entries)),
        "verdicts.jsonl": "".join(dump_line(line) for judge in lines.values() for line in judge),
    }


def make_results(
    tuned: Sequence[tuple[str, str, float, float]], n: int, lines: dict[str, list[Json]], rng: random.Random
) -> Json:
    """The board, its judges' part, findings and warnings made by the stage's own functions."""
    ranked = [_tuned(place, *spec, n, rng) for place, spec in enumerate(tuned, start=1)]
    candidates = [_base(n), *ranked, _failed()]
    board = boards.complete(
        _board(candidates, [_judge(*judge, lines, candidates) for judge in JUDGES], n), lines
    )
    return {**board, "warnings": [*board["warnings"], "5 rows of train were too like a row of eval."]}


def _judge(
    name: str, against: str, plugin: str, signature: str, lines: dict[str, list[Json]], candidates: list[Json]
) -> Json:
    mine = lines[name]
    judged = {line[side] for line in mine for side in ("first", "second")} - {against}
    bought = name == "gpt4"
    return {
        "name": name, "against": against, "signature": signature, "symmetric": name == "people",
        "members": [], "people": name == "people", "plugin": {"name": plugin, "options": {}},
        "verdicts_of": {"people": "people", "reference": "likeness"}.get(name),
        "receipt": {
            "examples": sum(not line["control"] for line in mine) // 2,
            "skipped": 1, "not_judged": 0, "identical": 4,
            "asked": len(mine), "from_cache": 12, "unparsed": sum(m["choice"] == "unparsed" for m in mine),
            "prompt_tokens": 906_500 if bought else 0, "completion_tokens": 48_000 if bought else 0,
            "faults": {"empty": 3, "invalid": 16} if bought else {}, "adjusted": {},
            "cost_usd": 2.75 if bought else 0.0,
        },
        "by_candidate": {c["name"]: {"skipped": int(c["name"] == TUNED[0][0]), "not_judged": 0}
                         for c in candidates if c["name"] in judged},
    }  # fmt: skip


def make_lines(entries: Sequence[Json], names: Sequence[str], rng: random.Random) -> dict[str, list[Json]]:
    """Judge -> lines of verdicts.jsonl. `gpt4` flips for the second candidate on every seventh example."""
    base, *tuned = names
    fixed = [(name, base) for name in tuned]
    found: dict[str, list[Json]] = {
        "reference": list(_lines("reference", entries, fixed, rng)),
        "gpt4": list(_lines("gpt4", entries, fixed, rng)),
        "local": list(_lines("local", entries[::2], itertools.combinations(names[:6], 2), rng)),
        "people": list(_lines("people", entries[::3], fixed, rng)),
    }
    answered = [entry for entry in entries if entry["answers"][tuned[0]]["text"] is not None]
    for number, entry in enumerate(answered[:20]):
        for control in ("identical", "repeat"):
            first = "first" if number % 5 == 0 else "tie" if control == "identical" else "second"
            found["local"].append(_line("local", entry, (base, tuned[0]), first, control))
    return found


def _lines(
    judge: str, entries: Sequence[Json], pairs: Iterable[tuple[str, str]], rng: random.Random
) -> Iterator[Json]:
    """Better candidates win more often; the worst are often tied in one order, and hard to read for gpt4."""
    for a, b in pairs:
        strength, unread = _strength(a) - _strength(b), 0.13 if (judge, a) == ("gpt4", "last2") else 0.01
        for entry in entries:
            if any(entry["answers"][name]["text"] is None for name in (a, b)):
                continue
            own = random.Random(f"{entry['id']} {a} {b}") if rng.random() < 0.6 else rng
            wins = own.random() < 1 / (1 + math.exp(-strength))
            flips = (judge, a) == ("gpt4", TUNED[0][0]) and int(entry["id"][:4]) % 7 == 0
            tied = judge == "gpt4" and not flips and rng.random() < 0.9 - _strength(a) / 2
            orders = {(a, b): "first" if wins or flips else "second",
                      (b, a): "tie" if tied else "first" if flips or not wins else "second"}  # fmt: skip
            for (first, second), choice in orders.items():
                if judge != "people" or first == a:
                    read = judge != "gpt4" or flips or rng.random() >= unread
                    yield _line(judge, entry, (first, second), choice if read else "unparsed")


def _strength(name: str) -> float:
    place = {name: place for place, (name, *_) in enumerate(TUNED)}.get(name, len(TUNED))
    return 0.0 if name == "base" else 1.4 - 0.25 * place


def _line(judge: str, entry: Json, players: tuple[str, str], choice: str, control: str = "") -> Json:
    first, second = (len(entry["answers"][name]["text"]) for name in players)
    return {
        "judge": judge, "example_id": entry["id"], "seed": 0, "first": players[0], "second": players[1],
        "choice": choice, "preference": None, "fault": "invalid" if choice == "unparsed" else "",
        "control": control, "first_chars": first, "second_chars": second,
        "reason": "" if choice == "unparsed" else "It keeps to the question; " + entry["reference"][:60],
        "raw": f'{{"choice": "{choice}"}}',
    }  # fmt: skip


def _board(candidates: list[Json], judges: list[Json], n: int) -> Json:
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
        "environment": {
            "python": "3.13.5", "platform": "Linux x86_64", "cpu": "2 cores", "gpus": [],
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"}, "harness": "0.1.0",
        },
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
        "seeds": [0], "rank": None, "group": None, "search": None, "answers": _answers(n, 0),
        "scores": {name: _score(name, value, n) for name, value in BASE_VALUES.items()},
        "differences": {}, "win_rates": {}, "training": None,
        "costs": {"train_seconds": None, "seconds": {}, "tokens_per_second": None, "peak_memory_bytes": None,
                  "memory_kind": None, "trainable_parameters": 0, "total_parameters": 14_200_000,
                  "artifact_bytes": None, "predict_seconds": 21.4, "device": "cpu"},
        "badges": [], "warnings": [], "judge_warnings": [],
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
    return {
        "name": name, "status": "ok", "failure": None, "backend": "torch", "method": method,
        "model": "small-en", "recipe": _recipe(name, method), "seeds": [0],
        "rank": [1, 3] if place <= 3 else [place, place], "group": "aaabcdef"[min(place, 8) - 1],
        "search": None, "answers": _answers(n, 1 if place == 1 else 0),
        "scores": scores,
        "differences": {key: _difference(key, values[key] - BASE_VALUES[key], n) for key in known},
        "win_rates": {},
        "training": _training(worse, seconds, rng),
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
        "seeds": [0], "rank": None, "group": None, "search": None, "answers": None,
        "scores": {}, "differences": {}, "win_rates": {}, "training": None, "costs": {},
        "badges": [], "warnings": [], "judge_warnings": [],
    }  # fmt: skip


def _difference(name: str, value: float, n: int) -> Json:
    half = 0.08 * abs(value) + 0.002
    up = {key: up for key, _, _, up in METRICS}[name]
    return {"against": "base", "value": value, "low": value - half, "high": value + half, "n": n,
            "p_value": 0.0001, "p_adjusted": 0.0006,
            "verdict": "better" if (value > 0) is up else "worse"}  # fmt: skip


def _answers(n: int, missing: int) -> Json:
    return {"n": n, "missing": missing, "cut_off": n // 3, "distinct": n - missing, "prompt_tokens": 0,
            "generated_tokens": 90 * n, "cost_usd": None}  # fmt: skip


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
                 "verdict": ("a" if value < 0 else "b") if real else "cannot be told apart", "n": 120,
                 "smallest_effect": 0.7, "more_prompts": None if real else 640}
            )  # fmt: skip
    return pairs


def make_example(number: int, names: list[str], rng: random.Random) -> Json:
    """One line of examples.jsonl without verdicts; the second candidate has no answer to the sixth."""
    question = QUESTIONS[number % 4].format(THINGS[number % 10])

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS) for _ in range(count)).capitalize() + "."

    answers = {name: _answer(words(rng.randint(15, 60)), rng) for name in names}
    if number == 5:
        answers[names[1]] = {"text": None, "error": "no reply within 60 s", "finish_reason": "", "tokens": 0,
                             "scores": {}}  # fmt: skip
    return {
        "id": f"{number:04d}-{rng.getrandbits(32):08x}",
        "prompt": [{"role": "system", "content": "You are helpful."}, {"role": "user", "content": question}],
        "reference": words(30), "answers": answers, "verdicts": {},
    }  # fmt: skip


def _answer(text: str, rng: random.Random) -> Json:
    scores = {name: best * rng.uniform(0.7, 1.3) for name, best in BEST_VALUES.items()}
    return {"text": text, "error": None, "finish_reason": rng.choice(["stop", "stop", "length"]),
            "tokens": len(text) // 4, "scores": scores}  # fmt: skip
