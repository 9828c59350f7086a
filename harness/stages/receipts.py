"""What a candidate was trained on and what it cost, read from what its trials left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.records import iter_json_lines, read_json

Json = dict[str, Any]

TRAINING_FIELDS = (
    "steps", "epochs", "tokens_seen", "tokens_supervised", "rows_used", "rows_truncated", "rows_dropped",
    "effective_batch_size", "final_train_loss", "best_step", "best_validation_loss", "dtypes",
)  # fmt: skip
CURVE_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second")
CONSTANT_FIELDS = ("memory_kind", "trainable_parameters", "total_parameters")


def folders(candidate: Mapping[str, Any], kind: str, inputs: Mapping[str, Path]) -> list[Path]:
    """What the `train` or `predict` stage made of a candidate's trials; those that failed left nothing."""
    return [inputs[trial[kind]] for trial in candidate["trials"] if trial[kind]]


def tokenizer(predicted: Sequence[Path]) -> str | None:
    """Digest of the tokenizer that a candidate answered with; None where its backend told none."""
    digest = read_json(predicted[0] / "predict.json").get("tokenizer") if predicted else None
    return None if digest is None else str(digest)


def training(trained: Sequence[Path]) -> Json | None:
    """How the first seed was trained: totals, the loss curve, validations; None where nothing was trained."""
    if not trained:
        return None
    outcome = read_json(trained[0] / "outcome.json")
    log = list(iter_json_lines(trained[0] / "log.jsonl"))
    return {
        **{field: outcome[field] for field in TRAINING_FIELDS},
        "curve": [{f: line.get(f) for f in CURVE_FIELDS} for line in log if line["type"] == "train"],
        "validation": [
            {"step": line["step"], "loss": line["loss"], "samples": line["samples"]}
            for line in log
            if line["type"] == "validation"
        ],
    }


def costs(trained: Sequence[Path], predicted: Sequence[Path]) -> Json:
    """What one trial costs: the mean over the seeds, of memory and size the largest; null where unknown.

    `train_seconds` is the time of the training steps alone, without loading, validating and saving.
    """
    outcomes = [read_json(folder / "outcome.json") for folder in trained]
    passes = [read_json(folder / "predict.json") for folder in predicted]
    seconds = [outcome["seconds"] for outcome in outcomes]
    phases = dict.fromkeys(phase for one in seconds for phase in one)
    device = next((one["device"] for one in [*outcomes, *passes] if one["device"]), None)
    return {
        "train_seconds": _over([one.get("train", sum(one.values())) for one in seconds], _mean),
        "seconds": {phase: _mean([one.get(phase, 0.0) for one in seconds]) for phase in phases},
        "tokens_per_second": _over([outcome["tokens_per_second"] for outcome in outcomes], _mean),
        "peak_memory_bytes": _over([outcome["peak_memory_bytes"] for outcome in outcomes], max),
        **{field: outcomes[0][field] if outcomes else None for field in CONSTANT_FIELDS},
        "artifact_bytes": _over([outcome["artifact_bytes"] for outcome in outcomes], max),
        "predict_seconds": _over([one["seconds"] for one in passes], _mean),
        "device": device,
    }


def badges(candidate: Mapping[str, Any], trained: Sequence[Path], predicted: Sequence[Path]) -> list[str]:
    """What must be alike before two rows may be compared, each in a word or two."""
    outcome = read_json(trained[0] / "outcome.json") if trained else None
    answered = read_json(predicted[0] / "predict.json") if predicted else {}
    dtypes = outcome["dtypes"] if outcome else answered.get("dtypes") or {}
    device = outcome["device"] if outcome else answered.get("device")
    found = [_dtype_badge(dtypes)]
    if outcome:
        found += [f"batch {outcome['effective_batch_size']:,}", f"{outcome['tokens_seen']:,} tokens"]
        for what in ("truncated", "dropped"):
            rows = outcome[f"rows_{what}"]
            found.append(f"{rows:,} row{'s' if rows != 1 else ''} {what}" if rows else "")
    found.append(device or "")
    seeds = len(candidate["trials"])
    found.append(f"{seeds} seeds" if seeds > 1 else "")
    return [badge for badge in found if badge]


def outcome_warnings(trained: Sequence[Path]) -> list[str]:
    """What training had to say, each once."""
    said = [str(text) for folder in trained for text in read_json(folder / "outcome.json")["warnings"]]
    return list(dict.fromkeys(said))


def _dtype_badge(dtypes: Mapping[str, str]) -> str:
    """`nf4 weights, bfloat16 compute`, or one word where both are the same."""
    weights, compute = dtypes.get("weights", ""), dtypes.get("compute", "")
    if not compute or compute == weights:
        return weights
    return f"{weights} weights, {compute} compute"


def _over(values: Sequence[float], summary: Callable[[Sequence[float]], float]) -> float | None:
    return summary(values) if values else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
