"""Training one trial, from a TrainJob to a TrainOutcome and a model on disk.

loop.py             which step is next, the log, when to validate and to write a checkpoint; start here
setup.py            what is in place before the first step: a model prepared for its method, token rows
optimization.py     one optimizer step; with optimizers.py, schedules.py, sampling_order.py, augmentation.py
validation_loss.py  the loss on held-out rows, and a few answers; validation_schedule.py says when
state.py            where the loop is, and its log
processes.py        several processes that train together
checkpoints.py      what a killed training goes on from
metering.py         what it costs; with energy.py and model_flops.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from harness.modeling.artifacts import save
from harness.modeling.devices import dtype_name
from harness.modeling.failures import memory_errors_explained, user_warnings
from harness.modeling.training.loop import TrainingLoop
from harness.modeling.training.metering import Meter, folder_bytes, parameter_counts
from harness.modeling.training.processes import join_processes, leave_processes
from harness.modeling.training.setup import TrainingSetup, set_up, weight_format
from harness.modeling.training.state import LoopState
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob, TrainOutcome


class Trained(Protocol):
    """What an outcome needs to know of the loop that trained, whichever it was."""

    @property
    def state(self) -> LoopState: ...
    @property
    def epochs(self) -> float: ...
    @property
    def optimizer_dtype(self) -> str: ...


def train(job: TrainJob) -> TrainOutcome:
    """Train, going on from a checkpoint in `job.out` if there is one, and write `model/` and `log.jsonl`.

    Checkpoints are deleted at the very end; whoever is ended between that and writing the outcome down
    trains again, to the same weights.

    Raises ModelError, DataError, TrainingDiverged, OutOfMemory; SystemExit after a SIGTERM.
    """
    processes, device = join_processes()
    settings = TrainingSettings(**job.training, num_processes=processes.count)
    meter = Meter(device, processes.count)
    with user_warnings() as warnings:
        job.progress(0, 1, "loading the model")
        fix = "choose a smaller base model, or qlora"
        with meter.phase("load"), memory_errors_explained("loading the model", fix):
            setup = set_up(job, settings, device, processes)
        meter.model_is_ready(setup.model, setup.compute_dtype)
        loop = TrainingLoop(job, settings, setup, meter)
        loop.run()
        if processes.first:
            with meter.phase("save"):
                save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    processes.wait()  # all of them measure what is saved
    outcome = outcome_of(job, settings, setup, loop, meter, warnings)
    if processes.first:
        loop.checkpoints.delete()
    leave_processes()
    return replace(outcome, micro_batch_size=loop.micro_batch_size)


def outcome_of(
    job: TrainJob,
    settings: TrainingSettings,
    setup: TrainingSetup,
    loop: Trained,
    meter: Meter,
    warnings: list[str],
) -> TrainOutcome:
    """What a finished training took and made, by our own meters."""
    state = loop.state
    trainable, total = parameter_counts(setup.model)
    return TrainOutcome(
        steps=state.step,
        epochs=loop.epochs,
        tokens_seen=state.tokens_seen,
        tokens_supervised=state.tokens_supervised,
        rows_used=setup.train.examples,
        rows_truncated=setup.train.truncated,
        rows_dropped=setup.train.dropped,
        trainable_parameters=trainable,
        total_parameters=total,
        artifact_bytes=folder_bytes(job.out / "model"),
        dtypes={
            "weights": weight_format(setup, job.method),
            "trainable": dtype_name(next(p.dtype for p in setup.model.parameters() if p.requires_grad)),
            "optimizer": loop.optimizer_dtype,
            "compute": dtype_name(setup.compute_dtype),
        },
        effective_batch_size=settings.effective_batch_size,
        micro_batch_size=settings.per_device_train_batch_size,
        final_train_loss=float(state.train_loss or 0.0),
        best_step=state.best_step,
        best_validation_loss=state.best_validation_loss,
        warnings=warnings,
        **meter.figures(state.tokens_seen),
    )
