"""Mixed precision: what is computed in 16 bits, what stays in 32, and what a loss scale does."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_llama
from training_jobs import METHODS, make_job, train

from harness.errors import TrainingDiverged
from harness.json_files import iter_json_lines
from harness.modeling.training.optimization import Optimization
from harness.modeling.training.setup import set_up
from harness.modeling.training_settings import TrainingSettings
from harness.records import Method

CPU = torch.device("cpu")
Rows = list[dict[str, str]]
WHOLE_HEAD = Method("lora", {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]})


def losses_of(out: Path, kind: str = "train") -> list[float]:
    return [line["loss"] for line in iter_json_lines(out / "log.jsonl") if line["type"] == kind]


PRECISIONS: list[tuple[dict[str, Any], str]] = [
    ({}, "float32"),
    ({"bf16": False}, "float32"),
    ({"bf16": True}, "bfloat16"),
    ({"fp16": True}, "float16"),
]


@pytest.mark.parametrize(("precision", "compute"), PRECISIONS)
@pytest.mark.parametrize("method", ["full", "lora", "nf4"])
def test_trained_weights_and_moments_are_float32_whatever_computes(
    tmp_path: Path, tiny_llama: Path, rows: Rows, precision: dict[str, Any], compute: str, method: str
) -> None:
    outcome = train(make_job(tmp_path / "out", tiny_llama, rows, METHODS[method], max_steps=2, **precision))
    base = {"full": "float32", "lora": compute, "nf4": "nf4"}[method]
    assert outcome.dtypes == {
        "weights": base,
        "trainable": "float32",
        "optimizer": "float32",
        "compute": compute,
    }


@pytest.mark.parametrize(
    "method", [METHODS["full"], METHODS["lora"], WHOLE_HEAD], ids=["full", "lora", "head"]
)
def test_every_trainable_weight_can_be_unscaled(tmp_path: Path, rows: Rows, method: Method) -> None:
    """With weights in float16, GradScaler says "Attempting to unscale FP16 gradients"."""
    model = make_llama(tmp_path / "untied", layers=1, tied=False)
    job = make_job(tmp_path / "out", model, rows, method, fp16=True, max_steps=2)
    setup = set_up(job, TrainingSettings(**job.training), CPU)
    assert {p.dtype for p in setup.model.parameters() if p.requires_grad} == {torch.float32}
    train(job)


@pytest.mark.parametrize("precision", [{"bf16": True}, {"fp16": True}], ids=["bf16", "fp16"])
def test_training_in_16_bits_learns_what_32_bits_learn(
    tmp_path: Path, tiny_llama: Path, rows: Rows, precision: dict[str, Any]
) -> None:
    training = {"num_train_epochs": 6, "logging_steps": 1, "dataloader_drop_last": True}
    train(make_job(tmp_path / "32", tiny_llama, rows, METHODS["full"], **training))
    train(make_job(tmp_path / "16", tiny_llama, rows, METHODS["full"], **training, **precision))
    whole, half = losses_of(tmp_path / "32"), losses_of(tmp_path / "16")
    assert half == pytest.approx(whole, rel=0.01)
    assert half != whole
    assert half[-1] < half[0] - 0.3


@pytest.fixture
def half(tmp_path: Path, tiny_llama: Path, rows: Rows) -> tuple[Optimization, list[torch.nn.Parameter]]:
    """An optimization in float16, and the weights that it trains."""
    job = make_job(
        tmp_path / "out", tiny_llama, rows, METHODS["full"], fp16=True, lr_scheduler_type="constant"
    )
    settings = TrainingSettings(**job.training)
    setup = set_up(job, settings, CPU)
    return Optimization(setup, settings, total_steps=9), list(setup.model.parameters())


Half = tuple[Optimization, list[torch.nn.Parameter]]


def overflow(optimization: Optimization, weight: torch.nn.Parameter, above: float) -> None:
    """Make the gradient of a weight infinite where the loss scale is above a limit."""
    weight.register_hook(lambda gradient: gradient + (math.inf if optimization.loss_scale > above else 0))


def test_a_step_that_overflows_is_skipped_and_the_scale_halved(half: Half) -> None:
    optimization, weights = half
    overflow(optimization, weights[0], above=2.0**15)
    before = [weight.detach().clone() for weight in weights]
    report = optimization.step(0, np.arange(8))
    assert (report.gradient_norm, optimization.loss_scale) == (None, 2.0**15)
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))
    report = optimization.step(1, np.arange(8))
    assert report.gradient_norm is not None
    assert not any(torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def test_the_gradient_does_not_depend_on_the_scale(half: Half) -> None:
    optimization, weights = half
    before = [weight.detach().clone() for weight in weights]
    norms = []
    for scale in (2.0**4, 2.0**12):
        for weight, value in zip(weights, before, strict=True):
            weight.data.copy_(value)
        optimization.restore_scaler({**optimization.scaler_state(), "scale": scale})
        norms.append(optimization.step(0, np.arange(8)).gradient_norm)
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)


def test_a_gradient_that_overflows_at_every_scale_ends_the_trial(half: Half) -> None:
    optimization, weights = half
    overflow(optimization, weights[0], above=0.0)
    for step in range(17):
        assert optimization.step(step, np.arange(8)).gradient_norm is None
    with pytest.raises(
        TrainingDiverged, match=r"^step 18: .* overflows float16 .*; examples: row.*bf16: true"
    ):
        optimization.step(17, np.arange(8))


@pytest.mark.filterwarnings("default:.* steps were skipped")
def test_skipped_steps_are_told(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**60))
    job = make_job(
        tmp_path / "out", tiny_llama, rows, METHODS["full"], fp16=True, max_steps=3, logging_steps=1
    )
    outcome = train(job)
    assert [warning.partition(":")[0] for warning in outcome.warnings] == ["3 of 3 steps were skipped"]
    lines = [line for line in iter_json_lines(job.out / "log.jsonl") if line["type"] == "train"]
    assert [line["grad_norm"] for line in lines] == [None] * 3


def test_without_fp16_there_is_no_loss_scale(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    settings = TrainingSettings(**job.training)
    optimization = Optimization(set_up(job, settings, CPU), settings, total_steps=3)
    assert (optimization.scaler_state(), optimization.loss_scale) == ({}, 1.0)
