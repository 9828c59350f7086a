"""When a training validates, which validation is the best, and when it stops early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_jobs import METHODS, make_job, train, training_defaults
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import EarlyStoppingCallback

from harness.json_files import iter_json_lines
from harness.modeling.artifacts import load_trained
from harness.modeling.training.state import LoopState
from harness.modeling.training.validation_schedule import ValidationSchedule
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob

Rows = list[dict[str, str]]


def schedule(steps_per_epoch: int, total_steps: int, **training: Any) -> ValidationSchedule:
    settings = TrainingSettings(**{**training_defaults(), "learning_rate": 1e-3, **training})
    return ValidationSchedule(settings, steps_per_epoch, total_steps)


DUE = [
    # steps per epoch, steps, keys, the steps behind which there is a validation
    (10, 25, {}, [10, 20, 25]),
    (10, 20, {"eval_epochs": 0.5}, [5, 10, 15, 20]),
    (10, 20, {"eval_epochs": 2}, [20]),
    (10, 20, {"eval_epochs": 0.3}, [3, 6, 9, 12, 15, 18, 20]),
    (10, 10, {"eval_epochs": 0.1}, list(range(1, 11))),  # in binary, 3 * 0.1 * 10 is more than 3
    (3, 6, {"eval_epochs": 0.4}, [2, 3, 4, 5, 6]),  # each 1.2 steps
    (4, 4, {"eval_epochs": 0.1}, [1, 2, 3, 4]),  # oftener than there are steps
    (10, 7, {}, [7]),
    (10, 20, {"eval_strategy": "steps", "eval_steps": 8}, [8, 16, 20]),
    (10, 20, {"eval_strategy": "steps", "eval_steps": 0.25}, [5, 10, 15, 20]),
]


@pytest.mark.parametrize(("steps_per_epoch", "total", "keys", "expected"), DUE)
def test_validations_are_due(
    steps_per_epoch: int, total: int, keys: dict[str, Any], expected: list[int]
) -> None:
    plan = schedule(steps_per_epoch, total, **keys)
    assert [step for step in range(1, total + 1) if plan.is_due(step)] == expected


def stops_at(losses: list[float], patience: int, threshold: float) -> tuple[int | None, int | None]:
    """(validation after which training is over, validation that is the best)."""
    plan = schedule(1, 10**6, early_stopping_patience=patience, early_stopping_threshold=threshold)
    state = LoopState()
    for state.step, loss in enumerate(losses, start=1):
        state.note_validation(loss, threshold)
        if plan.is_over(state):
            return state.step, state.best_step
    return None, state.best_step


def transformers_stops_at(
    losses: list[float], patience: int, threshold: float, folder: Path
) -> tuple[int | None, int | None]:
    """The same by EarlyStoppingCallback, and by Trainer's rule for the best metric."""
    arguments = TrainingArguments(
        output_dir=str(folder), metric_for_best_model="loss", greater_is_better=False, use_cpu=True
    )
    callback = EarlyStoppingCallback(patience, threshold)
    state, control, best = TrainerState(), TrainerControl(), None
    for step, loss in enumerate(losses, start=1):
        callback.on_evaluate(arguments, state, control, {"eval_loss": loss})
        if state.best_metric is None or loss < state.best_metric:
            state.best_metric, best = loss, step
        if control.should_training_stop:
            return step, best
    return None, best


def test_early_stopping_is_that_of_transformers(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    outcomes = set()
    for _ in range(300):
        losses = np.round(3 - np.cumsum(generator.normal(0.02, 0.1, size=12)), 2).tolist()
        patience, threshold = int(generator.integers(1, 4)), float(generator.choice([0.0, 0.05, 0.2]))
        ours = stops_at(losses, patience, threshold)
        assert ours == transformers_stops_at(losses, patience, threshold, tmp_path), (losses, patience)
        outcomes.add(ours)
    assert len(outcomes) > 20


def test_without_patience_nothing_stops_early() -> None:
    plan, state = schedule(1, 50), LoopState()
    for state.step in range(1, 50):
        state.note_validation(float(state.step), 0.0)
        assert not plan.is_over(state)


def lines_of(job: TrainJob, kind: str) -> list[dict[str, Any]]:
    return [line for line in iter_json_lines(job.out / "log.jsonl") if line["type"] == kind]


RISING = {"learning_rate": 0.05, "lr_scheduler_type": "constant", "logging_steps": 4, "num_train_epochs": 9}


def test_a_training_that_stops_early_tells_the_truth(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    """At this learning rate the loss soon rises: the best weights come back, the counts are those done."""
    job = make_job(
        tmp_path / "out",
        tiny_llama,
        rows,
        METHODS["full"],
        **RISING,
        early_stopping_patience=2,
        eval_epochs=1 / 3,
    )
    outcome = train(job)
    validations = lines_of(job, "validation")
    losses = [line["loss"] for line in validations]
    best = losses.index(min(losses))
    assert (len(losses), best + 2) == (outcome.steps, len(losses) - 1)
    assert outcome.steps < 27
    assert outcome.epochs == pytest.approx(outcome.steps / 3)
    assert (outcome.best_step, outcome.best_validation_loss) == (best + 1, losses[best])
    assert lines_of(job, "train")[-1]["step"] == outcome.steps  # the last, partial interval is logged too
    assert outcome.final_train_loss == lines_of(job, "train")[-1]["loss"]
    shorter = make_job(
        tmp_path / "short", tiny_llama, rows, METHODS["full"], **{**RISING, "max_steps": best + 1}
    )
    train(shorter)
    device = torch.device("cpu")
    ours, theirs = (load_trained(job.model, out / "model", device)[0] for out in (job.out, shorter.out))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_validation_before_the_first_step_is_logged_and_never_the_best(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    training = {"learning_rate": 1.0, "lr_scheduler_type": "constant", "max_steps": 2}
    job = make_job(tmp_path / "out", tiny_llama, rows, METHODS["full"], **training, eval_on_start=True)
    outcome = train(job)
    first, last = lines_of(job, "validation")
    assert (first["step"], first["epoch"], first["samples"][0]["id"]) == (0, 0.0, "row19")
    assert first["loss"] < last["loss"]
    assert (outcome.best_step, outcome.best_validation_loss) == (2, last["loss"])
    plain = make_job(tmp_path / "plain", tiny_llama, rows, METHODS["full"], **training)
    assert train(plain).final_train_loss == outcome.final_train_loss  # it changes nothing of the training
