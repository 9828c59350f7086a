"""Training: what each candidate saw, where it ended, and how its answers changed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.report.text import shorten

Json = Mapping[str, Any]
_SAMPLE_LIMIT = 4_000


def training_rows(results: Json) -> list[dict[str, Any]]:
    """One row per trained trial: what it saw, what was cut or dropped, where it ended."""
    trained = [(i, c) for i, c in enumerate(results["candidates"]) if c["training"]]
    return [
        {"index": i, "name": _trial_name(c, one)} | _training_row({**c["training"], **one})
        for i, c in trained
        for one in c["training"]["per_seed"]
    ]


def _trial_name(candidate: Json, one: Json) -> str:
    several = len(candidate["training"]["per_seed"]) > 1
    return f"{candidate['name']}, seed {one['seed']}" if several else str(candidate["name"])


def _training_row(training: Json) -> dict[str, Any]:
    """{"cells": {heading: [(what, how much)]}}: the figures of one training, those of a kind together."""
    best = training.get("best_validation_loss")
    cells = {
        "length": [
            ("steps", fmt.count(training.get("steps"))),
            ("epochs", fmt.number(training.get("epochs"))),
            ("effective batch", _batch(training)),
        ],
        "tokens": [
            ("seen", fmt.count(training.get("tokens_seen"))),
            ("supervised", fmt.count(training.get("tokens_supervised"))),
        ],
        "rows": [
            ("used", fmt.count(training.get("rows_used"))),
            ("truncated", fmt.count(training.get("rows_truncated"))),
            ("dropped", fmt.count(training.get("rows_dropped"))),
        ],
        "loss": [
            ("training, last logged", fmt.number(training.get("final_train_loss"))),
            ("validation, best", fmt.known(fmt.number, best)),
            ("at step", fmt.NONE if best is None else fmt.count(training.get("best_step"))),
        ],
        "dtypes": list((training.get("dtypes") or {}).items()),
    }
    return {"cells": cells}


def _batch(training: Json) -> str:
    """Rows behind a step, and how many of them went through the model at a time, where that is fewer."""
    rows, at_a_time = training.get("effective_batch_size"), training.get("micro_batch_size")
    if rows is None or at_a_time is None or at_a_time >= rows:
        return fmt.count(rows)
    return f"{fmt.count(rows)}, {fmt.count(at_a_time)} at a time"


def sampled_answers(results: Json) -> list[dict[str, Any]]:
    """Per candidate, the prompts sampled at validations with the answers in the order of training."""
    found = []
    for candidate in results["candidates"]:
        prompts: dict[str, dict[str, Any]] = {}
        for entry in (candidate["training"] or {}).get("validation") or []:
            for sample in entry.get("samples") or []:
                new = {"prompt": _text_of(sample["prompt"]), "answers": []}
                prompts.setdefault(sample["id"], new)["answers"].append(_sampled(entry, sample))
        if prompts:
            found.append({"name": candidate["name"], "prompts": list(prompts.values())})
    return found


def _sampled(entry: Json, sample: Json) -> dict[str, str]:
    text = shorten(sample["answer"] or "", _SAMPLE_LIMIT)
    return {"step": fmt.count(entry["step"]), "loss": fmt.number(entry.get("loss")), "text": text}


def _text_of(prompt: str | Sequence[Json]) -> str:
    text = prompt if isinstance(prompt, str) else "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt)
    return shorten(text, _SAMPLE_LIMIT)
