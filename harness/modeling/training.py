"""Training one trial, from a TrainJob to a TrainOutcome and a model on disk."""

from __future__ import annotations

import torch

from harness.modeling.artifacts import save
from harness.modeling.loading import pick_device
from harness.modeling.metering import Meter, folder_bytes, parameter_counts
from harness.modeling.training_failures import memory_errors_explained, user_warnings
from harness.modeling.training_loop import TrainingLoop
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.training_setup import TrainingSetup, set_up, weight_format
from harness.protocols import TrainJob, TrainOutcome


def train(job: TrainJob) -> TrainOutcome:
    """Train, going on from a checkpoint in `job.out` if there is one, and write `model/` and `log.jsonl`.

    Raises ModelError, DataError, TrainingDiverged, OutOfMemory; SystemExit after a SIGTERM.
    """
    settings = TrainingSettings.from_mapping(job.training, job.method.name)
    device = pick_device()
    meter = Meter(device)
    with user_warnings() as warnings:
        job.progress(0, 1, "loading the model")
        fix = "fix: choose a smaller base model, or qlora"
        with meter.phase("load"), memory_errors_explained("loading the model", fix):
            setup = set_up(job, settings, device)
        loop = TrainingLoop(job, settings, setup, meter)
        loop.run()
        with meter.phase("save"):
            save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    return _outcome(job, settings, setup, loop, meter, warnings)


def _outcome(
    job: TrainJob,
    settings: TrainingSettings,
    setup: TrainingSetup,
    loop: TrainingLoop,
    meter: Meter,
    warnings: list[str],
) -> TrainOutcome:
    state = loop.state
    trainable, total = parameter_counts(setup.model)
    return TrainOutcome(
        steps=state.step,
        epochs=loop.epochs,
        tokens_seen=state.tokens_seen,
        tokens_supervised=state.tokens_supervised,
        rows_used=len(setup.train),
        rows_truncated=setup.train.truncated,
        rows_dropped=setup.train.dropped,
        trainable_parameters=trainable,
        total_parameters=total,
        artifact_bytes=folder_bytes(job.out / "model"),
        seconds=dict(meter.seconds),
        tokens_per_second=state.tokens_seen / meter.seconds["train"],
        peak_memory_bytes=meter.peak_memory_bytes(),
        memory_kind=meter.memory_kind,
        device=_device_name(setup.device),
        dtypes={
            "weights": weight_format(setup, job.method),
            "trainable": _name(next(p.dtype for p in setup.model.parameters() if p.requires_grad)),
            "optimizer": loop.optimizer_dtype,
            "compute": _name(setup.compute_dtype),
        },
        effective_batch_size=settings.effective_batch_size,
        final_train_loss=float(state.train_loss or 0.0),
        best_step=state.best_step,
        best_validation_loss=state.best_validation_loss,
        warnings=warnings,
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
