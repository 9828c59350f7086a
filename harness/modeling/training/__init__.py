"""Training one trial, from a TrainJob to a TrainOutcome and a model on disk.

loop.py             which step is next, the log, when to validate and to write a checkpoint; start here
setup.py            what is in place before the first step: a model prepared for its method, token rows
optimization.py     one optimizer step; with schedules.py and sampling_order.py
validation_loss.py  the loss on held-out rows, and a few answers
checkpoints.py      what a killed training goes on from
metering.py         what it costs
"""

from __future__ import annotations

from harness.modeling.artifacts import save
from harness.modeling.devices import device_name, dtype_name, pick_device
from harness.modeling.failures import memory_errors_explained, user_warnings
from harness.modeling.training.loop import TrainingLoop
from harness.modeling.training.metering import Meter, folder_bytes, parameter_counts
from harness.modeling.training.setup import TrainingSetup, set_up, weight_format
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob, TrainOutcome


def train(job: TrainJob) -> TrainOutcome:
    """Train, going on from a checkpoint in `job.out` if there is one, and write `model/` and `log.jsonl`.

    Checkpoints are deleted at the very end; whoever is ended between that and writing the outcome down
    trains again, to the same weights.

    Raises ModelError, DataError, TrainingDiverged, OutOfMemory; SystemExit after a SIGTERM.
    """
    settings = TrainingSettings(**job.training)
    device = pick_device()
    meter = Meter(device)
    with user_warnings() as warnings:
        job.progress(0, 1, "loading the model")
        fix = "choose a smaller base model, or qlora"
        with meter.phase("load"), memory_errors_explained("loading the model", fix):
            setup = set_up(job, settings, device)
        loop = TrainingLoop(job, settings, setup, meter)
        loop.run()
        with meter.phase("save"):
            save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    outcome = _outcome(job, settings, setup, loop, meter, warnings)
    loop.checkpoints.delete()
    return outcome


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
        device=device_name(setup.device),
        dtypes={
            "weights": weight_format(setup, job.method),
            "trainable": dtype_name(next(p.dtype for p in setup.model.parameters() if p.requires_grad)),
            "optimizer": loop.optimizer_dtype,
            "compute": dtype_name(setup.compute_dtype),
        },
        effective_batch_size=settings.effective_batch_size,
        final_train_loss=float(state.train_loss or 0.0),
        best_step=state.best_step,
        best_validation_loss=state.best_validation_loss,
        warnings=warnings,
    )
