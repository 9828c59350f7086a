"""A training that is killed and started again ends with the very weights of one that was not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from training_jobs import METHODS, job_to_file, make_job, train, weights_digest

from harness.json_files import iter_json_lines, read_json
from harness.modeling import random_state
from harness.modeling.training.checkpoints import Checkpoints, restore_weights, trainable_weights
from harness.modeling.training.state import TrainingLog
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Method

Rows = list[dict[str, str]]
SCRIPT = Path(__file__).with_name("training_jobs.py")
DROPOUT = Method("lora", {"r": 4, "lora_dropout": 0.3, "target_modules": "all-linear"})
TRAINING = {
    "num_train_epochs": 40,
    "logging_steps": 3,
    "eval_strategy": "steps",
    "eval_steps": 4,
    "save_steps": 5,
}
TIMINGS = {"seconds", "tokens_per_second"}

CASES = [
    pytest.param(METHODS["full"], {}, (17, 40), id="full-twice"),
    pytest.param(DROPOUT, {}, (17,), id="lora-dropout"),
    pytest.param(METHODS["full"], {"optim": "adamw_8bit"}, (17,), id="full-8bit"),
    pytest.param(METHODS["nf4"], {"optim": "adamw_torch_fused", "warmup_steps": 50}, (17,), id="nf4-fused"),
    pytest.param(
        DROPOUT,
        {"fp16": True, "token_mask_probability": 0.1, "neftune_noise_alpha": 5.0, "dropout": 0.1},
        (17,),
        id="lora-augmented-fp16",
    ),
]


def start(job: TrainJob) -> subprocess.Popen[str]:
    file = job_to_file(job, job.out.with_suffix(".json"))
    environment = {**os.environ, "PYTHONPATH": str(SCRIPT.parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, file], env=environment, stderr=subprocess.PIPE, text=True
    )


def logged(out: Path) -> list[dict[str, Any]]:
    path = out / "log.jsonl"
    return list(iter_json_lines(path, torn_tail=True)) if path.exists() else []


def signal_after(process: subprocess.Popen[str], out: Path, step: int, number: signal.Signals) -> None:
    """Send a signal as soon as the log has reached a step, and wait for the end."""
    deadline = time.monotonic() + 60
    while not any(line["step"] >= step for line in logged(out)):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate(timeout=60)


def untimed(out: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in logged(out)]


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.* steps were skipped")
@pytest.mark.parametrize(("method", "training", "kills"), CASES)
def test_killed_and_resumed_is_bit_identical(
    tmp_path: Path,
    tiny_llama: Path,
    rows: Rows,
    method: Method,
    training: dict[str, Any],
    kills: tuple[int, ...],
) -> None:
    undisturbed = make_job(tmp_path / "undisturbed", tiny_llama, rows, method, **TRAINING, **training)
    expected = train(undisturbed)
    job = replace(undisturbed, out=tmp_path / "killed")
    job.out.mkdir()
    for step in kills:
        process = start(job)
        signal_after(process, job.out, step, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        assert step <= logged(job.out)[-1]["step"] < 120
        assert not (job.out / "model").exists()
    resumed = train(job)
    assert weights_digest(job.out) == weights_digest(undisturbed.out)
    assert untimed(job.out) == untimed(undisturbed.out)
    for name in ("steps", "tokens_seen", "tokens_supervised", "final_train_loss", "best_step"):
        assert getattr(resumed, name) == getattr(expected, name), name
    assert resumed.best_validation_loss == expected.best_validation_loss


@pytest.mark.slow
def test_sigterm_finishes_the_step_and_leaves_a_checkpoint(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    training = {**TRAINING, "save_steps": None, "logging_steps": 1}
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], **training)
    process = start(job)
    signal_after(process, job.out, 7, signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    (checkpoint,) = (job.out / "checkpoints").glob("step-*")
    last = logged(job.out)[-1]["step"]
    assert int(checkpoint.name.removeprefix("step-")) == last
    assert 7 <= last < 120
    outcome = train(job)
    assert [line["step"] for line in logged(job.out) if line["type"] == "train"] == list(range(1, 121))
    undisturbed = replace(job, out=tmp_path / "undisturbed")
    undisturbed.out.mkdir()
    assert train(undisturbed).final_train_loss == outcome.final_train_loss
    assert weights_digest(job.out) == weights_digest(undisturbed.out)


class KilledError(BaseException):
    """Ends a training in this process, at a chosen step."""


def end_at(step: int) -> Any:
    def progress(done: int, total: int, note: str = "") -> None:
        if total and done == step:
            raise KilledError

    return progress


@pytest.mark.parametrize("step", [1, 5, 6, 9, 12])
def test_resumed_at_any_step(tmp_path: Path, tiny_llama: Path, rows: Rows, step: int) -> None:
    """Before the first checkpoint, right after one, between two, behind a best, and at the last step."""
    training = {"num_train_epochs": 4, "logging_steps": 4, "eval_strategy": "epoch", "save_steps": 5}
    undisturbed = make_job(tmp_path / "undisturbed", tiny_llama, rows, DROPOUT, **training)
    expected = train(undisturbed)
    job = replace(undisturbed, out=tmp_path / "ended", progress=end_at(step))
    job.out.mkdir()
    with pytest.raises(KilledError):
        train(job)
    torch.rand(3), np.random.rand(3)  # a new process does not have the generators of the old one
    resumed = train(replace(job, progress=undisturbed.progress))
    assert weights_digest(job.out) == weights_digest(undisturbed.out)
    assert untimed(job.out) == untimed(undisturbed.out)
    assert resumed.tokens_seen == expected.tokens_seen
    assert resumed.seconds["train"] > 0


SETTINGS = {
    **{
        name: {"optim": name, "optim_args": arguments}
        for name, arguments in {
            "adam": None,
            "adafactor": None,
            "adadelta": {"rho": 0.8},
            "rmsprop": {"momentum": 0.5, "centered": True},
            "sgd": {"momentum": 0.9},
        }.items()
    },
    "masked": {"token_mask_probability": 0.2, "padding_quantile": 0.7},
    "noise": {"neftune_noise_alpha": 20.0},
    "dropout": {"dropout": 0.2, "activation_checkpointing": True},
    "bf16": {"bf16": True},
    "schedule": {"lr_scheduler_type": "polynomial", "warmup_epochs": 1.5, "max_grad_norm": 0},
    "validation": {"eval_epochs": 0.5, "eval_on_start": True},
}


def ended_and_resumed(undisturbed: TrainJob, step: int) -> TrainOutcome:
    """Ended at a step, and trained to the end in a process whose generators are elsewhere."""
    job = replace(undisturbed, out=undisturbed.out.with_name("ended"), progress=end_at(step))
    job.out.mkdir()
    with pytest.raises(KilledError):
        train(job)
    torch.rand(3), np.random.rand(3)
    return train(replace(job, progress=undisturbed.progress))


@pytest.mark.filterwarnings("default:padding_quantile cut")
@pytest.mark.parametrize(("name", "step"), [*((name, 6) for name in SETTINGS), ("validation", 2)])
def test_every_setting_resumes_bit_by_bit(
    tmp_path: Path, tiny_llama: Path, rows: Rows, name: str, step: int
) -> None:
    """Ended between two checkpoints, and once before the first."""
    training = {"num_train_epochs": 3, "logging_steps": 2, "save_steps": 4, **SETTINGS[name]}
    job = make_job(tmp_path / "undisturbed", tiny_llama, rows, METHODS["full"], **training)
    expected = train(job)
    resumed = ended_and_resumed(job, step)
    ended = job.out.with_name("ended")
    assert weights_digest(ended) == weights_digest(job.out)
    assert untimed(ended) == untimed(job.out)
    assert resumed.tokens_supervised == expected.tokens_supervised


@pytest.mark.filterwarnings("default:.* steps were skipped")
def test_the_loss_scale_of_float16_goes_on_where_it_was(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts so high that steps are skipped; begun anew, it would skip as many again."""
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**36))
    training = {"num_train_epochs": 10, "logging_steps": 1, "save_steps": 5, "fp16": True}
    job = make_job(tmp_path / "undisturbed", tiny_llama, rows, METHODS["full"], **training)
    (skipped,) = train(job).warnings
    assert 5 < int(skipped.split()[0]) < 25
    assert tuple(ended_and_resumed(job, 7).warnings) == (skipped,)
    ended = job.out.with_name("ended")
    assert weights_digest(ended) == weights_digest(job.out)
    assert untimed(ended) == untimed(job.out)


@pytest.mark.parametrize("step", [2, 5, 6])
def test_patience_is_kept_over_a_resume(tmp_path: Path, tiny_llama: Path, rows: Rows, step: int) -> None:
    """Before the best, behind it, and at the very step at which training stops early."""
    training = {
        "num_train_epochs": 9,
        "learning_rate": 0.05,
        "lr_scheduler_type": "constant",
        "eval_strategy": "steps",
        "eval_steps": 1,
        "early_stopping_patience": 2,
        "logging_steps": 4,
        "save_steps": 1,
    }
    job = make_job(tmp_path / "undisturbed", tiny_llama, rows, METHODS["full"], **training)
    expected = train(job)
    assert step <= expected.steps < 27
    resumed = ended_and_resumed(job, step)
    assert (resumed.steps, resumed.epochs, resumed.best_step) == (
        expected.steps,
        expected.epochs,
        expected.best_step,
    )
    ended = job.out.with_name("ended")
    assert weights_digest(ended) == weights_digest(job.out)
    assert untimed(ended) == untimed(job.out)


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    training = {"num_train_epochs": 3, "save_steps": 4, "eval_strategy": "no"}
    undisturbed = make_job(tmp_path / "undisturbed", tiny_llama, rows, METHODS["full"], **training)
    train(undisturbed)
    job = replace(undisturbed, out=tmp_path / "torn", progress=end_at(6))
    job.out.mkdir()
    with pytest.raises(KilledError):
        train(job)
    torn = job.out / "checkpoints" / "step-00000006.partial"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"half a file")
    with (job.out / "log.jsonl").open("a") as log:
        log.write('{"type": "train", "st')
    train(replace(job, progress=undisturbed.progress))
    assert not torn.exists()
    assert weights_digest(job.out) == weights_digest(undisturbed.out)
    assert untimed(job.out) == untimed(undisturbed.out)


def test_a_checkpoint_is_safetensors_and_json_and_the_only_one(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    training = {"num_train_epochs": 4, "save_steps": 2, "eval_strategy": "steps", "eval_steps": 3}
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], optim="adamw_8bit", **training)
    with pytest.raises(KilledError):
        train(replace(job, progress=end_at(9)))
    files = sorted(str(p.relative_to(job.out / "checkpoints")) for p in job.out.glob("checkpoints/**/*.*"))
    assert files == [
        "best-00000006.safetensors",
        "step-00000008/state.json",
        "step-00000008/state.safetensors",
        "step-00000008/weights.safetensors",
    ]
    assert read_json(job.out / "checkpoints/step-00000008/state.json")["numbers"]["step"] == 8


def test_the_best_weights_that_a_checkpoint_names_survive_a_better_one(tmp_path: Path) -> None:
    """After a crash the run goes back to the checkpoint, and may not find the better one again."""
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save_best(3, model)
    best = trainable_weights(model)["weight"].clone()
    checkpoints.save(4, model, optimizer, {"best_step": 3})
    with torch.no_grad():
        model.weight.add_(1.0)
    checkpoints.save_best(5, model)
    checkpoints.restore_best(3, model)
    assert torch.equal(model.weight, best)
    checkpoints.save(6, model, optimizer, {"best_step": 5})
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "best-00000005.safetensors",
        "step-00000006",
    ]


def test_all_generators_go_on_where_they_were() -> None:
    import random

    def draw() -> list[float]:
        return [
            random.random(),
            random.gauss(0, 1),
            np.random.rand(),
            np.random.randn(),
            torch.rand(()).item(),
        ]

    random_state.seed_everything(7)
    draw()
    tensors, values = random_state.capture()
    expected = draw()
    random_state.restore(tensors, json.loads(json.dumps(values)))
    assert draw() == expected


def test_weights_go_back_in_place(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    kept = {name: tensor.clone() for name, tensor in trainable_weights(model).items()}
    assert kept.keys() == {"weight"}
    before = model.weight
    with torch.no_grad():
        model.weight.add_(1.0)
    restore_weights(model, kept)
    assert model.weight is before
    assert torch.equal(model.weight, kept["weight"])


def test_the_log_is_cut_behind_a_step(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path / "log.jsonl")
    for step in (1, 2, 3):
        log.append("train", step=step)
    log.cut_after(2)
    log.append("validation", step=2)
    assert [(line["type"], line["step"]) for line in logged(tmp_path)] == [
        ("train", 1),
        ("train", 2),
        ("validation", 2),
    ]


def test_an_interrupted_training_kept_its_time(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], num_train_epochs=2, save_steps=5)
    with pytest.raises(KilledError):
        train(replace(job, progress=end_at(6)))
    numbers = read_json(job.out / "checkpoints/step-00000005/state.json")["numbers"]
    assert load_file(job.out / "checkpoints/step-00000005/weights.safetensors")
    outcome = train(job)
    for phase, seconds in numbers["seconds"].items():
        assert outcome.seconds[phase] >= seconds
    assert numbers["seconds"]["train"] > 0
    assert outcome.peak_memory_bytes >= numbers["peak_memory_bytes"] > 0


def test_ended_while_it_cleared_its_checkpoints_away(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """The outcome is not written down yet, and half a checkpoint is left."""
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], num_train_epochs=2, save_steps=5)
    first = train(job)
    assert sorted(path.name for path in job.out.iterdir()) == ["log.jsonl", "model"]
    digest, log = weights_digest(job.out), untimed(job.out)
    left = job.out / "checkpoints.deleted" / "step-00000005"
    left.mkdir(parents=True)
    (left / "state.json").write_text("{}")
    again = train(job)
    assert sorted(path.name for path in job.out.iterdir()) == ["log.jsonl", "model"]
    assert (weights_digest(job.out), untimed(job.out)) == (digest, log)
    assert (again.steps, again.final_train_loss) == (first.steps, first.final_train_loss)
