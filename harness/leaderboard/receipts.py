"""What a candidate was trained on and what it cost, read from what its trials left."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from harness.json_files import iter_json_lines, read_json

Json = dict[str, Any]

TRAINING_FIELDS = (
    "steps", "epochs", "tokens_seen", "tokens_supervised", "rows_used", "rows_truncated", "rows_dropped",
    "effective_batch_size", "micro_batch_size", "process_count", "final_train_loss", "best_step",
    "best_validation_loss", "dtypes",
)  # fmt: skip
SEED_FIELDS = (
    "steps", "epochs", "tokens_seen", "tokens_supervised", "final_train_loss", "best_step",
    "best_validation_loss",
)  # fmt: skip
CURVE_FIELDS = ("step", "epoch", "loss", "learning_rate", "grad_norm", "tokens_per_second")
CONSTANT_FIELDS = ("memory_kind", "trainable_parameters", "total_parameters", "process_count")
LARGEST_FIELDS = (
    "peak_memory_bytes", "base_memory_bytes", "reserved_memory_bytes", "device_memory_bytes",
    "artifact_bytes",
)  # fmt: skip
MEAN_FIELDS = ("tokens_per_second", "energy_joules", "mfu")
SECONDS_IN_AN_HOUR = 3600


def folders(candidate: Mapping[str, Any], kind: str, inputs: Mapping[str, Path]) -> list[Path]:
    """What the `train` or `predict` stage made of a candidate's trials; those that failed left nothing."""
    return [inputs[trial[kind]] for trial in candidate["trials"] if trial[kind]]


def without_folders(options: Mapping[str, Any]) -> Json:
    """Options without files of this machine: a report is sent to others, who have none of them."""

    def is_file(value: Any) -> bool:
        if isinstance(value, list | Mapping):
            return any(map(is_file, value.values() if isinstance(value, Mapping) else value))
        return isinstance(value, str) and PurePath(value).is_absolute()

    return {key: value for key, value in options.items() if not is_file(value)}


def tokenizer(predicted: Sequence[Path]) -> str | None:
    """Digest of the tokenizer that a candidate answered with; None where its backend names none."""
    digest = read_json(predicted[0] / "predict.json").get("tokenizer") if predicted else None
    return None if digest is None else str(digest)


def scored_tokens(predicted: Sequence[Path]) -> int | None:
    """Tokens of the references that the likelihoods are taken over; None where nothing was scored."""
    return read_json(predicted[0] / "predict.json")["scored_tokens"] or None if predicted else None


def scores(predicted: Sequence[Path]) -> bool:
    """Whether the backend scores references, or answered none of the prompts so that it is unknown."""
    told = read_json(predicted[0] / "predict.json") if predicted else {}
    return bool(told.get("scores", True) or told["failed"] == told["examples"])


def training(trained: Sequence[Path], seeds: Sequence[int], artifacts: Sequence[str]) -> Json | None:
    """How a candidate was trained; None where nothing was.

    Totals, loss curve and validations are the first seed's; `per_seed` has what may differ between seeds.
    `artifacts` are the store's keys of what was trained.
    """
    if not trained:
        return None
    outcomes = [read_json(folder / "outcome.json") for folder in trained]
    outcome = outcomes[0]
    log = list(iter_json_lines(trained[0] / "log.jsonl"))
    return {
        **{field: outcome[field] for field in TRAINING_FIELDS},
        "per_seed": [
            {"seed": seed, "artifact": artifact, **{field: one[field] for field in SEED_FIELDS}}
            for seed, artifact, one in zip(seeds, artifacts, outcomes, strict=True)
        ],
        "curve": [{f: line.get(f) for f in CURVE_FIELDS} for line in log if line["type"] == "train"],
        "validation": [
            {"step": line["step"], "loss": line["loss"], "samples": line.get("samples", [])}
            for line in log
            if line["type"] == "validation"
        ],
    }


def costs(
    trained: Sequence[Path], predicted: Sequence[Path], price_per_gpu_hour: float | None = None
) -> Json:
    """What one trial costs: the mean over the seeds, of memory and size the largest; null where unknown.

    `train_seconds` is the time of the training steps alone, without loading, validating and saving;
    `train_device_hours` and a cost in US dollars are of all the time, on all devices. The price is a GPU's,
    so what a CPU did has none; servers have theirs.
    """
    outcomes = [read_json(folder / "outcome.json") for folder in trained]
    passes = [read_json(folder / "predict.json") for folder in predicted]
    seconds = [outcome["seconds"] for outcome in outcomes]
    phases = dict.fromkeys(phase for one in seconds for phase in one)
    device = next((one["device"] for one in [*outcomes, *passes] if one["device"]), None)
    return {
        "train_seconds": _over([one.get("train", sum(one.values())) for one in seconds], _mean),
        "seconds": {phase: _mean([one.get(phase, 0.0) for one in seconds]) for phase in phases},
        **{field: _over([outcome[field] for outcome in outcomes], _mean) for field in MEAN_FIELDS},
        **{field: _over([outcome[field] for outcome in outcomes], max) for field in LARGEST_FIELDS},
        **{field: outcomes[0][field] if outcomes else None for field in CONSTANT_FIELDS},
        "train_device_hours": _over([device_hours(one) for one in outcomes], _mean),
        "predict_seconds": _over([one["seconds"] for one in passes], _mean),
        "device": device,
        "train_cost_usd": _over([cost(one, price_per_gpu_hour) for one in outcomes], _mean),
        "predict_cost_usd": _over([cost(one, price_per_gpu_hour) for one in passes], _mean),
    }


def cost(receipt: Json, price_per_gpu_hour: float | None) -> float | None:
    """US dollars for a training or a pass over the eval set; None without a price or on a CPU.

    What a server charged for answers is a cost of its own, whoever paid it and whenever.
    """
    if receipt.get("cost_usd") is not None:
        return float(receipt["cost_usd"])
    if price_per_gpu_hour is None or receipt["device"] in (None, "cpu"):
        return None
    return device_hours(receipt) * price_per_gpu_hour


def device_hours(receipt: Json) -> float:
    """Hours of devices: the whole time, times the processes, each of which has a device to itself."""
    return seconds(receipt) * int(receipt.get("process_count", 1)) / SECONDS_IN_AN_HOUR


def seconds(receipt: Json) -> float:
    """The whole time of a training, by phases, or of a pass over the eval set."""
    spent = receipt["seconds"]
    return math.fsum(spent.values()) if isinstance(spent, Mapping) else float(spent)


def badges(candidate: Mapping[str, Any], trained: Sequence[Path], predicted: Sequence[Path]) -> list[str]:
    """What must be alike before two rows may be compared, each in a word or two."""
    outcome = read_json(trained[0] / "outcome.json") if trained else None
    answered = read_json(predicted[0] / "predict.json") if predicted else {}
    dtypes = outcome["dtypes"] if outcome else answered.get("dtypes") or {}
    device = outcome["device"] if outcome else answered.get("device")
    found = [_dtype_badge(dtypes)]
    if outcome:
        packed = bool(candidate["recipe"]["training"].get("packing"))
        batch = f"batch {outcome['effective_batch_size']:,}{' packed rows' if packed else ''}"
        found += [batch, _token_badge([read_json(folder / "outcome.json") for folder in trained])]
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


def _token_badge(outcomes: Sequence[Json]) -> str:
    """Tokens seen; from the least to the most, where seeds differ."""
    seen = sorted({outcome["tokens_seen"] for outcome in outcomes})
    return f"{seen[0]:,} tokens" if len(seen) == 1 else f"{seen[0]:,} – {seen[-1]:,} tokens"


def _dtype_badge(dtypes: Mapping[str, str]) -> str:
    """`nf4 weights, bfloat16 compute`, or one word where both are the same."""
    weights, compute = dtypes.get("weights", ""), dtypes.get("compute", "")
    if not compute or compute == weights:
        return weights
    return f"{weights} weights, {compute} compute"


def _over(values: Sequence[float | None], summary: Callable[[Sequence[float]], float]) -> float | None:
    """None where one of the seeds does not know it."""
    known = [value for value in values if value is not None]
    return summary(known) if known and len(known) == len(values) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
