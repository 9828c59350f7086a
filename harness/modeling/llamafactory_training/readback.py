"""From what the command left to our own validation and the weights that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from harness.modeling.llamafactory_training.journal import CommandJournal
from harness.modeling.llamafactory_training.steps import Steps
from harness.modeling.llamafactory_training.training_lines import Lines
from harness.modeling.loading import load_model
from harness.modeling.training.checkpoints import restore_weights
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training.state import LoopState
from harness.modeling.training.validation_loss import Validator
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.protocols import TrainJob
from harness.records import ModelRef


def restore(setup: TrainingSetup, job: TrainJob, folder: Path) -> None:
    """Put the weights that the command saved in `folder` into our own model, in place."""
    if job.method.name in ADAPTERS:
        set_peft_model_state_dict(setup.model, load_file(folder / "adapter_model.safetensors"))
        return
    saved = load_model(ModelRef(str(folder)), device=setup.device, dtype=torch.float32)
    restore_weights(setup.model, dict(saved.named_parameters()))


def validate(
    setup: TrainingSetup,
    job: TrainJob,
    settings: TrainingSettings,
    steps: Steps,
    journal: CommandJournal,
    at: Sequence[int],
) -> Lines:
    """The validation lines of the log: our own loss of the weights after each of the steps `at`.

    0 stands for the weights that `setup` comes with.
    """
    validator = Validator(setup, job.prompting, job.generation, settings.per_device_eval_batch_size)
    lines = []
    for step in at:
        job.progress(step, steps.total, "validating the checkpoints")
        if step:
            restore(setup, job, journal.weights(step))
        lines.append({"type": "validation", **validator.line(step, steps.epoch(step))})
    return lines


def final_state(steps: Steps, trained: Lines, validated: Lines) -> LoopState:
    """Where the training ended, and which validated weights were best, the first of equals."""
    best = min((line for line in validated if line["step"]), key=lambda line: line["loss"], default=None)
    every = range(1, steps.total + 1)
    return LoopState(
        step=steps.total,
        tokens_seen=sum(map(steps.tokens, every)),
        tokens_supervised=sum(map(steps.targets, every)),
        train_loss=trained[-1]["loss"],
        best_step=best["step"] if best else None,
        best_validation_loss=best["loss"] if best else None,
    )
