"""A finished run, made up by formula but in the form of the rank stage: what the report's tests render."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from report_candidates import BASE_VALUES, BROKEN, TUNED, base_row, failed_row, tuned_row, values_of
from report_examples import METRICS, evaluators, make_examples

from harness import registry
from harness.json_files import dump_line
from harness.leaderboard import boards
from harness.leaderboard.distributions import lengths, per_example
from harness.leaderboard.verdict_lines import by_example
from harness.records import RESULTS_SCHEMA
from harness.report import render
from harness.stats.multiplicity import ALPHA
from harness.stats.paired import FLIPS
from harness.stats.resampling import DRAWS

Json = dict[str, Any]
JUDGES = [
    ("reference", "base", "reference", "judge:reference|margin:0.0"),
    ("gpt4", "base", "gpt4", "judge:gpt4|model:gpt-4o-2024-08-06|prompt:3f2a91c0|temperature:0"),
    ("local", "all", "local", "judge:local|model:small-judge"),
    ("people", "base", "human", "judge:human|labels:5d41402a"),
]
"""Name, against, plugin, signature."""
LARGE: Json = {
    "examples": 1000,
    "tuned": tuple((f"lora-{i}", "lora", 1 + i / 20, 60.0 + i) for i in range(19)),
    "judges": tuple(JUDGES[:2]),
}
"""Arguments of `make_report_input`: 20 candidates with answers, 1,000 examples, two judges."""
SUITE_TEXT = "model: ../models/small-en\ndata: alpaca.json\njudges: [reference, gpt4]\nrank_by: perplexity\n"


def make_report_input(
    folder: Path,
    *,
    examples: int = 120,
    tuned: Sequence[tuple[str, str, float, float]] = TUNED,
    judges: Sequence[tuple[str, str, str, str]] = JUDGES,
    seed: int = 7,
) -> Path:
    """Write results.json, examples.jsonl and verdicts.jsonl, as the rank stage would, into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in _contents(tuple(tuned), tuple(judges), examples, seed).items():
        (folder / name).write_text(content)
    return folder


def changed(folder: Path, change: Callable[[Json], object]) -> Json:
    """The results of a folder, changed in place there too."""
    path = folder / "results.json"
    results: Json = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results, ensure_ascii=False))
    return results


def render_changed(folder: Path, change: Callable[[Json], object], examples: int = 4) -> Path:
    """The page of a small run whose results were changed."""
    changed(make_report_input(folder, examples=examples), change)
    return render(folder)


@cache
def _contents(
    tuned: tuple[tuple[str, str, float, float], ...],
    judges: tuple[tuple[str, str, str, str], ...],
    n: int,
    seed: int,
) -> dict[str, str]:
    rng = random.Random(seed)
    values = {"base": BASE_VALUES, **{name: values_of(worse) for name, _, worse, _ in tuned}}
    entries = make_examples(values, n, rng, [BROKEN])
    lines = make_lines(entries, list(values), rng, [name for name, *_ in judges])
    results = make_results(tuned, judges, entries, lines, rng)
    for judge, against, *_ in judges:
        shown = by_example(lines[judge], against)
        for entry in entries:
            entry["verdicts"][judge] = shown.get(entry["id"], {})
    return {
        "results.json": json.dumps(results, ensure_ascii=False),
        "examples.jsonl": "".join(map(dump_line, entries)),
        "verdicts.jsonl": "".join(dump_line(line) for judge in lines.values() for line in judge),
    }


def make_results(
    tuned: Sequence[tuple[str, str, float, float]],
    judges: Sequence[tuple[str, str, str, str]],
    entries: Sequence[Json],
    lines: dict[str, list[Json]],
    rng: random.Random,
) -> Json:
    """The board; what judges and single examples say, findings and warnings by the stage's functions."""
    ranked = [tuned_row(place, *spec, entries, rng) for place, spec in enumerate(tuned, start=1)]
    candidates = [base_row(entries), *ranked, failed_row()]
    board = _board(candidates, [_judge(*judge, lines, candidates) for judge in judges], entries)
    board = boards.complete(board, lines)
    return {**board, "warnings": [*board["warnings"], "5 rows of train were too like a row of eval."]}


def _judge(
    name: str, against: str, plugin: str, signature: str, lines: dict[str, list[Json]], candidates: list[Json]
) -> Json:
    mine = lines[name]
    judged = {line[side] for line in mine for side in ("first", "second")} - {against}
    bought = name == "gpt4"
    return {
        "name": name, "against": against, "signature": signature, "symmetric": name == "people",
        "prompts": _prompts(plugin), "members": [],
        "people": name == "people", "plugin": {"name": plugin, "options": {}},
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


@cache
def _prompts(plugin: str) -> dict[str, str]:
    """What the bundled judge of that name sends."""
    if plugin not in ("gpt4", "local"):
        return {}
    options = {"model": "someone/small-judge"} if plugin == "local" else {}
    made = registry.create(registry.make_spec(registry.find("judge", plugin), options))
    return dict(made.prompts)


def make_lines(
    entries: Sequence[Json], names: Sequence[str], rng: random.Random, judges: Sequence[str]
) -> dict[str, list[Json]]:
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
    return {name: found[name] for name in judges}


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
        "control": control, "settled": False, "symmetric": judge == "people",
        "first_chars": first, "second_chars": second,
        "reason": "" if choice == "unparsed" else "It keeps to the question; " + entry["reference"][:60],
        "raw": f'{{"choice": "{choice}"}}',
    }  # fmt: skip


def _board(candidates: list[Json], judges: list[Json], entries: Sequence[Json]) -> Json:
    n, apart = len(entries), _apart(candidates, entries)
    return {
        "schema": RESULTS_SCHEMA,
        "suite": {
            "name": "instruction-tuning",
            "description": "Which way of fine-tuning a small model is worth its cost?",
            "text": SUITE_TEXT,
            "rank_by": "perplexity",
            "overrides": ["training.num_train_epochs=3"],
            "budget_usd": 10.0,
            "price_per_gpu_hour": None,
        },
        "data": {
            "sources": [
                {"path": "/home/someone/data/alpaca.json", "format": "alpaca",
                 "columns": {"instruction": "instruction", "input": "input", "output": "output"},
                 "part": "train", "rows": 999, "unusable": 3,
                 "reasons": {"empty answer": {"rows": 3, "first": "alpaca.json, row 17"}}}
            ],
            "rows": {"train": 836, "validation": 42, "eval": n},
            "overlap": {"action": "remove", "exact": 1, "near": 4, "validation": {"exact": 0, "near": 0},
                        "pairs": [{"kind": "near", "similarity": 0.91, "train": "Write a haiku about rain!",
                                   "held_out": "Write a haiku about rain."}]},
            "train_duplicates": 2, "eval_dropped_too_long": 0, "too_long": {"train": 2},
            "longest": {"train": 912, "eval": 611}, "max_length": 1024, "eval_repeats": 0,
            "eval_sha256": "9f2b" * 16, "eval_tokens": 55 * n,
            "reference_lengths": lengths(entry["reference"] for entry in entries),
        },
        "metrics": [
            {"name": name, "label": label, "unit": unit, "higher_is_better": up,
             "signature": f"{name}|version:1", "prompts": {}, "receipt": None,
             "plugin": {"name": name, "options": dict(evaluators()[name][0].options)},
             "difference_edges": apart[name][0]}
            for name, label, unit, up in METRICS
        ],
        "statistics": {"bootstrap_draws": DRAWS, "sign_flips": FLIPS, "alpha": ALPHA},
        "judges": judges,
        "candidates": [
            {**row, "per_example": {m: found[row["name"]] for m, (_, found) in apart.items()
                                    if row["name"] in found}}
            for row in candidates
        ],
        "pairs": _pairs(candidates),
        "charges": _charges(judges),
        "environment": {
            "python": "3.13.5", "platform": "Linux x86_64", "cpu": "2 cores", "gpus": [],
            "packages": {"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"}, "harness": "0.1.0",
        },
    }  # fmt: skip


def _apart(candidates: Sequence[Json], entries: Sequence[Json]) -> dict[str, Any]:
    """Metric -> what `per_example` makes of the scores of all examples."""
    found = {}
    for metric, _, _, up in METRICS:
        names = ["base", *(row["name"] for row in candidates if metric in row["differences"])]
        columns = {n: [e["answers"][n]["scores"][metric] for e in entries] for n in names}
        found[metric] = per_example(columns, "base", higher_is_better=up)
    return found


def _charges(judges: Sequence[Json]) -> Json:
    keys = ("prompt_tokens", "completion_tokens", "cost_usd")
    rows = [
        {"kind": "judge", "name": judge["name"], **{key: judge["receipt"][key] for key in keys}}
        for judge in judges
        if judge["receipt"]["cost_usd"]
    ]
    return {"rows": rows, "cost_usd": math.fsum(row["cost_usd"] for row in rows), "unknown": 0}


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
