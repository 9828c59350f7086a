"""Training jobs for the tests; run as a script, this file trains the job in a JSON file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.json_files import write_jsonl
from harness.modeling.training_settings import KEYS
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Example, Message, Method, ModelRef, Prompting, from_json, to_json
from harness.suite.settings import Training

LORA = {"r": 4, "target_modules": "all-linear"}
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
METHODS = {
    "full": Method("full"),
    "freeze": Method("freeze", {"last_layers": 1}),
    "lora": Method("lora", LORA),
    "nf4": Method("qlora", {"lora": LORA, "quantization": NF4}),
    "int8": Method("qlora", {"lora": LORA, "quantization": {"load_in_8bit": True}}),
}
EVERY_METHOD = METHODS | {
    "first_frozen": Method("freeze", {"first_frozen": 1, "embeddings": True, "head": True}),
    "dora": Method("dora", LORA),
    "rslora": Method("rslora", LORA),
    "pissa": Method("pissa", LORA),
    "ia3": Method("ia3"),
    "prompt_tuning": Method("prompt_tuning", {"num_virtual_tokens": 5, "prompt_tuning_init": "SAMPLE_VOCAB"}),
    "fp4": Method("qlora", {"lora": LORA, "quantization": NF4 | {"bnb_4bit_quant_type": "fp4"}}),
    "nf4-dora": Method("qlora", {"lora": LORA | {"use_dora": True}, "quantization": NF4}),
}


def examples(rows: list[dict[str, str]]) -> list[Example]:
    """Alpaca rows as the data stage hands them over; rows of unequal length."""
    return [
        Example(
            f"row{i}", (Message("user", f"{row['instruction']} {row['input']}"),), row["output"] * (1 + i % 3)
        )
        for i, row in enumerate(rows)
    ]


def training_defaults() -> dict[str, Any]:
    """What a suite that says nothing of training tells a backend, but for the learning rate."""
    return {key: value for key, value in Training().model_dump().items() if key in KEYS}


def make_job(out: Path, model: Path, rows: list[dict[str, str]], method: Method, **training: Any) -> TrainJob:
    """A job over 19 rows, 5 more for validation, with its data files beside `out`."""
    out.mkdir(parents=True, exist_ok=True)
    train, validation = out.parent / "train.jsonl", out.parent / "validation.jsonl"
    write_jsonl(train, examples(rows)[:19])
    write_jsonl(validation, examples(rows)[19:])
    return TrainJob(
        model=ModelRef(str(model)),
        method=method,
        training={**training_defaults(), "learning_rate": 1e-3, "validation_samples": 1, **training},
        prompting=Prompting(max_length=128),
        generation={"max_new_tokens": 4},
        seed=0,
        train=train,
        validation=validation,
        out=out,
    )


def train(job: TrainJob) -> TrainOutcome:
    """Train on one thread, so that sums are added in one order."""
    import torch

    from harness.backends.torch import Torch

    torch.set_num_threads(1)
    return Torch().train(job)


def require_best_weights(trained: Callable[..., tuple[TrainOutcome, str]]) -> tuple[TrainOutcome, str]:
    """That the weights of an early best step are kept: outcome and digest of a training with such a step.

    `trained(name, **training)` trains where the best step is an early one, and returns outcome and digest.
    """
    best, kept = trained("best")
    last, replaced = trained("last", load_best_model_at_end=False)
    assert best.best_step == last.best_step
    assert 0 < (best.best_step or 0) < best.steps == last.steps
    _, stopped_there = trained("short", max_steps=best.best_step)
    assert kept == stopped_there != replaced
    return best, kept


def weights_digest(out: Path) -> str:
    """A digest of the trained weights in a job's folder."""
    (file,) = (out / "model").glob("*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def job_to_file(job: TrainJob, path: Path) -> Path:
    """The job as a JSON file that this script trains."""
    fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(job) if f.name != "progress"}
    path.write_text(json.dumps(to_json(fields)))
    return path


def job_from_file(path: Path) -> TrainJob:
    """The job that `job_to_file` wrote."""
    fields = json.loads(path.read_text())
    kinds = {"model": ModelRef, "method": Method, "prompting": Prompting}
    records = {name: from_json(kind, fields[name]) for name, kind in kinds.items()}
    paths = {name: Path(fields[name]) for name in ("train", "validation", "out")}
    return TrainJob(**{**fields, **records, **paths})


if __name__ == "__main__":
    train(job_from_file(Path(sys.argv[1])))
