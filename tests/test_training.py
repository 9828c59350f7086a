"""The loop around the steps: validation, log, outcome, failures, and the stage that runs it."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_jobs import METHODS, examples, make_job, require_best_weights, train, weights_digest

from harness import registry
from harness.backends.torch import Torch
from harness.errors import DataError, OutOfMemory, TrainingDiverged
from harness.json_files import iter_json_lines, read_json, write_jsonl
from harness.modeling.failures import memory_errors_explained, user_warnings
from harness.modeling.training.loop import TrainingLoop
from harness.modeling.training.metering import Meter
from harness.modeling.training.optimization import Optimization
from harness.modeling.training.sampling_order import epoch_windows
from harness.modeling.training.setup import TrainingSetup, set_up
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainOutcome
from harness.records import Method, from_json, to_json
from harness.stages import train as train_stage
from harness.stopping import stop_requests

CPU = torch.device("cpu")
Rows = list[dict[str, str]]


def log_of(out: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in iter_json_lines(out / "log.jsonl") if line["type"] == kind]


def test_the_log_and_the_outcome_tell_what_happened(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    seen: list[tuple[int, int, str]] = []
    training = {"num_train_epochs": 2, "logging_steps": 2, "max_grad_norm": 0.01, "eval_strategy": "steps"}
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], **training, eval_steps=4)
    object.__setattr__(job, "progress", lambda done, total, note="": seen.append((done, total, note)))
    outcome = train(job)
    lines = log_of(job.out, "train")
    assert [line["step"] for line in lines] == [2, 4, 6]
    assert [line["epoch"] for line in lines] == [0.6667, 1.3333, 2.0]
    assert all(line["grad_norm"] > 0.01 for line in lines)  # the norm before clipping
    assert lines[-1]["loss"] == outcome.final_train_loss
    checks = log_of(job.out, "validation")
    assert [line["step"] for line in checks] == [4, 6]
    assert outcome.best_validation_loss == min(line["loss"] for line in checks)
    assert checks[0]["samples"][0]["id"] == "row19"
    assert isinstance(checks[0]["samples"][0]["answer"], str)
    assert (outcome.steps, outcome.epochs, outcome.rows_used, outcome.rows_dropped) == (6, 2.0, 19, 0)
    assert outcome.tokens_per_second > 0
    assert outcome.dtypes == dict.fromkeys(("weights", "trainable", "optimizer", "compute"), "float32")
    assert outcome.trainable_parameters == outcome.total_parameters
    assert (outcome.device, outcome.memory_kind) == ("cpu", "process RSS")
    assert seen[-1][:2] == (6, 6)
    assert "tokens/s" in seen[-1][2]
    assert from_json(TrainOutcome, to_json(outcome)) == outcome


def test_the_log_averages_by_token_since_its_last_line(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    def lines(logging_steps: int) -> list[dict[str, Any]]:
        out = tmp_path / str(logging_steps)
        job = make_job(out, tiny_llama, rows, METHODS["full"], max_steps=3, logging_steps=logging_steps)
        train(job)
        return log_of(out, "train")

    single, (whole,) = lines(1), lines(3)
    job = make_job(tmp_path / "again", tiny_llama, rows, METHODS["full"])
    data = set_up(job, TrainingSettings(**job.training), CPU).train
    windows = epoch_windows(data.lengths, 8, strategy="group_by_length", seed=0, epoch=0, drop_last=False)
    targets = [sum(data.targets[index] for index in window) for window in windows]
    expected = np.average([line["loss"] for line in single], weights=targets)
    assert whole["loss"] == pytest.approx(expected, rel=1e-9)
    assert np.mean([line["loss"] for line in single]) != pytest.approx(expected, rel=1e-6)


def test_the_best_weights_are_put_back(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """Held-out answers unlike all others grow less likely with training, so an early step is the best."""
    training = {"num_train_epochs": 3, "lr_scheduler_type": "constant", "warmup_steps": 0}
    validation = {"eval_strategy": "steps", "eval_steps": 1}

    def trained(name: str, **more: Any) -> tuple[TrainOutcome, str]:
        job = make_job(
            tmp_path / name, tiny_llama, rows, METHODS["full"], **{**training, **validation, **more}
        )
        unlike = [replace(example, reference="QXZ 0987") for example in examples(rows)[19:]]
        write_jsonl(job.validation or job.out, unlike)
        return train(job), weights_digest(job.out)

    require_best_weights(trained)


def test_the_seed_makes_the_weights_and_validation_does_not(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    method = Method("lora", {"r": 4, "lora_dropout": 0.2, "target_modules": "all-linear"})
    variants = {
        "first": ({}, 0),
        "again": ({}, 0),
        "validated": ({"eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": False}, 0),
        "other": ({}, 1),
    }
    digests = {}
    for name, (training, seed) in variants.items():
        given = {"eval_strategy": "no", "num_train_epochs": 1, **training}
        job = replace(make_job(tmp_path / name, tiny_llama, rows, method, **given), seed=seed)
        train(job)
        digests[name] = weights_digest(job.out)
    assert digests["first"] == digests["again"] == digests["validated"] != digests["other"]


def test_a_loss_that_is_not_a_number_stops_before_the_weights(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"])
    settings = TrainingSettings(**job.training)
    setup = set_up(job, settings, CPU)
    with torch.no_grad():
        setup.model.model.norm.weight[0] = math.nan
    before = setup.model.model.layers[0].mlp.up_proj.weight.clone()
    with pytest.raises(TrainingDiverged, match=r"^step 3: loss is nan; examples: row0, row1; lower learning"):
        Optimization(setup, settings, total_steps=9).step(2, np.array([0, 1]))
    assert torch.equal(before, setup.model.model.layers[0].mlp.up_proj.weight)


def test_too_high_a_rate_is_named(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = make_job(
        tmp_path / "out", tiny_llama, rows, METHODS["full"], learning_rate=1e30, eval_strategy="no"
    )
    with pytest.raises(
        TrainingDiverged, match=r"^step \d+: .* is (nan|inf); examples: row\d+, .*learning_rate"
    ):
        train(job)


def allocate_too_much() -> None:
    torch.empty(1 << 60, dtype=torch.uint8)


def raise_on_the_device() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("exhaust", [allocate_too_much, raise_on_the_device])
def test_no_memory_left_is_one_error_with_a_fix(exhaust: Callable[[], None]) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"^step 4: out of memory; halve it$"),
        memory_errors_explained("step 4", "halve it"),
    ):
        exhaust()


def exhausted_above(rows: int) -> Callable[..., None]:
    """A hook before a forward pass that fills the memory of a batch of more than so many rows."""

    def hook(_model: Any, _arguments: Any, inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[0] > rows:
            allocate_too_much()

    return hook


@pytest.mark.filterwarnings("ignore:memory ran out")
def test_where_memory_runs_out_the_micro_batch_is_halved_and_the_step_is_the_same(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    trained = {}
    for name, batch in {"small": 2, "large": 8}.items():
        shape = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": 8 // batch}
        job = make_job(tmp_path / name, tiny_llama, rows, METHODS["full"], eval_strategy="no", **shape)
        settings = TrainingSettings(**job.training)
        setup = set_up(job, settings, CPU)
        setup.model.register_forward_pre_hook(exhausted_above(3), with_kwargs=True)
        loop = TrainingLoop(job, settings, setup, Meter(CPU))
        loop.run()
        assert loop.micro_batch_size == 2
        trained[name] = setup.model.model.layers[0].mlp.up_proj.weight
    torch.testing.assert_close(trained["large"], trained["small"], rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("always:memory ran out")
def test_the_outcome_says_that_the_micro_batch_was_halved(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["lora"], num_train_epochs=1)

    def small_memory(*arguments: Any) -> TrainingSetup:
        setup = set_up(*arguments)
        setup.model.register_forward_pre_hook(exhausted_above(4), with_kwargs=True)
        return setup

    monkeypatch.setattr("harness.modeling.training.set_up", small_memory)
    monkeypatch.setattr("harness.modeling.training.validation_loss.Validator.loss", lambda _: (1.0, 1))
    outcome = train(job)
    assert (outcome.micro_batch_size, outcome.effective_batch_size) == (4, 8)
    what = "memory ran out: micro batches of 4 rows instead of 8; the effective batch is as asked for"
    assert what in outcome.warnings


def test_a_single_row_that_does_not_fit_ends_the_trial(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], eval_strategy="no")
    settings = TrainingSettings(**job.training)
    setup = set_up(job, settings, CPU)
    setup.model.register_forward_pre_hook(exhausted_above(0), with_kwargs=True)
    with pytest.raises(OutOfMemory, match=r"^step 1: out of memory; .*activation_checkpointing"):
        TrainingLoop(job, settings, setup, Meter(CPU)).run()


def test_other_errors_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_errors_explained("step 4", "halve it"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


@pytest.mark.parametrize(
    ("count", "training", "fix"),
    [(5, {"dataloader_drop_last": True}, "dataloader_drop_last: false"), (0, {}, "raise max_length")],
)
def test_too_few_rows_make_no_step(
    tmp_path: Path, tiny_llama: Path, rows: Rows, count: int, training: dict[str, Any], fix: str
) -> None:
    job = make_job(
        tmp_path / "out", tiny_llama, rows[:count], METHODS["full"], eval_strategy="no", **training
    )
    with pytest.raises(DataError, match=f"^train.jsonl: .*{fix}"):
        train(job)


def test_a_stop_request_is_noted_and_the_handler_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_requests() as stop_requested:
        assert not stop_requested()
        signal.raise_signal(signal.SIGTERM)
        assert stop_requested()
    assert signal.getsignal(signal.SIGTERM) is before


def test_only_warnings_for_the_user_are_collected() -> None:
    import warnings

    with pytest.raises(FutureWarning), user_warnings() as collected:  # noqa: PT012
        warnings.filterwarnings("default", category=UserWarning)
        for _ in range(2):
            warnings.warn("mind this", stacklevel=1)
        warnings.warn("an internal affair", FutureWarning, stacklevel=1)
    assert collected == ["mind this"]


@pytest.mark.parametrize("validated", [True, False])
def test_the_stage_leaves_a_model_a_log_and_an_outcome(
    tmp_path: Path, tiny_llama: Path, rows: Rows, validated: bool
) -> None:
    job = make_job(tmp_path / "data" / "unused", tiny_llama, rows, METHODS["lora"])
    if not validated:
        (tmp_path / "data" / "validation.jsonl").unlink()
    params = {
        "backend": registry.make_spec(registry.find("backend", "torch"), {}),
        "model": job.model,
        "method": job.method,
        "training": {**job.training, "num_train_epochs": 1, "save_steps": 1},
        "prompting": job.prompting,
        "generation": job.generation,
        "seed": 0,
        "runtime": {},
    }
    out = tmp_path / "out"
    out.mkdir()
    train_stage.run(to_json(params), {"data": tmp_path / "data"}, out, lambda done, total, note="": None)
    assert sorted(path.name for path in out.iterdir()) == ["log.jsonl", "model", "outcome.json"]
    outcome = from_json(TrainOutcome, read_json(out / "outcome.json"))
    assert outcome.steps == 3
    assert (outcome.best_step is not None) == validated
    language_model = Torch().load(job.model, out, job.prompting)
    (sums,) = language_model.score([(examples(rows)[0].prompt, rows[0]["output"])])
    assert sums is not None
    assert sums.tokens > 0
