"""Training one trial with TRL's SFTTrainer on the rows, labels, weights and adapters of the torch loop.

rows.py       the canonical rows as a dataset, packed by TRL where asked for
arguments.py  the suite's settings as SFTConfig
trainer.py    SFTTrainer with our order of rows
journal.py    log, counts, validation, best weights, checkpoints
zero.py       what is different under DeepSpeed, whose ZeRO divides the model
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from harness.errors import ModelError, first_line
from harness.modeling.artifacts import save
from harness.modeling.devices import release_memory
from harness.modeling.failures import memory_errors_explained, user_warnings
from harness.modeling.isolation import require_isolation
from harness.modeling.loading import within_positions
from harness.modeling.training import outcome_of
from harness.modeling.training.augmentation import noisy_embeddings
from harness.modeling.training.metering import Meter
from harness.modeling.training.optimizers import state_dtype
from harness.modeling.training.processes import join_processes, leave_processes
from harness.modeling.training.sampling_order import Indices, epoch_windows, steps_per_epoch
from harness.modeling.training.setup import ModelMaker, TrainingSetup, set_up, weights_dtype
from harness.modeling.training.state import Finished
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.trl_settings import torch_settings
from harness.modeling.trl_training.arguments import sft_config
from harness.modeling.trl_training.journal import Journal
from harness.modeling.trl_training.rows import TrainerRows, trainer_rows
from harness.modeling.trl_training.trainer import Order, Trainer
from harness.modeling.trl_training.zero import (
    ZeroJournal,
    ZeroTrainer,
    model_on_the_host,
    require_devices,
    zero_environment,
)
from harness.protocols import TrainJob, TrainOutcome
from harness.stopping import stop_requests

_MEANS_NOTHING = (
    "There were missing keys in the checkpoint model loaded: ['lm_head.weight']",
    "Gradient accumulation steps mismatch: GradientAccumulationPlugin has 1",
)
"""A resume of tied embeddings is said to lack the head, which no checkpoint of theirs has; and accelerate is
told of no accumulation under DeepSpeed, for Trainer does it."""
_FIX_MEMORY = "halve per_device_train_batch_size and double gradient_accumulation_steps"


def train(job: TrainJob, make_model: ModelMaker | None = None) -> TrainOutcome:
    """Train, going on from a checkpoint in `job.out` if there is one, and write `model/` and `log.jsonl`.

    `make_model` loads and prepares the model in another way than the torch loop's.
    Raises ModelError, DataError, TrainingDiverged, OutOfMemory; SystemExit after a SIGTERM.
    """
    with zero_environment(job.training.get("deepspeed")):
        return _train_here(job, make_model)


def _train_here(job: TrainJob, make_model: ModelMaker | None) -> TrainOutcome:
    processes, device = join_processes()
    settings = replace(torch_settings(job.training), num_processes=processes.count)
    if divided := bool(job.training.get("deepspeed")):
        require_devices(processes, device)
        make_model = model_on_the_host
    meter = Meter(device, processes.count)
    with user_warnings() as warnings, _logged_warnings(warnings):
        job.progress(0, 1, "loading the model")
        with meter.phase("load"), memory_errors_explained("loading the model", "choose a smaller base model"):
            setup = set_up(job, settings, device, processes, make_model)
        _require_precision(setup)
        meter.model_is_ready(setup.model, setup.compute_dtype)
        if divided and device.type == "cuda":
            meter.base_memory_bytes = None  # it is on the host yet
        done, journal = _train(job, settings, setup, meter)
        if divided:
            with meter.phase("save"):
                setup = _whole(job, settings, replace(setup, model=None), journal)
        if processes.first:
            with meter.phase("save"):
                save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    outcome = outcome_of(job, settings, setup, done, meter, warnings)
    if processes.first:
        journal.delete_checkpoints()
    if not divided:
        leave_processes()
    return outcome


def _require_precision(setup: TrainingSetup) -> None:
    """ModelError for float16 on a CPU, where accelerate computes in float32 without a word."""
    if setup.compute_dtype == torch.float16 and setup.device.type == "cpu":
        fix = "set bf16: true, or backend: torch"
        raise ModelError("trl cannot train with fp16 on a CPU", where="training.fp16", fix=fix)


def _whole(
    job: TrainJob, settings: TrainingSettings, setup: TrainingSetup, journal: Journal
) -> TrainingSetup:
    """The setup with a model that is loaded afresh, and in it the weights that were trained."""
    assert isinstance(journal, ZeroJournal)
    release_memory()  # what DeepSpeed held of the other
    dtype = weights_dtype(job.method, setup.compute_dtype)
    model = model_on_the_host(job, settings, setup.tokenizer, setup.device, dtype)
    journal.put_into(model)
    return replace(setup, model=model)


def _train(
    job: TrainJob, settings: TrainingSettings, setup: TrainingSetup, meter: Meter
) -> tuple[Finished, Journal]:
    rows = _rows(job, setup)
    windows = _windows(job, settings, rows)
    with stop_requests() as stop_requested:
        kind = ZeroJournal if job.training.get("deepspeed") else Journal
        journal = kind(job, settings, setup, rows, meter, windows, stop_requested)
        config = sft_config(
            settings,
            job.training,
            setup,
            total_steps=journal.total_steps,
            steps_per_epoch=journal.steps_per_epoch,
            seed=job.seed,
            output=journal.folder,
        )
        make = ZeroTrainer if job.training.get("deepspeed") else Trainer
        trainer = _trainer(make, setup, rows, config, Order(windows), journal)
        checkpoint = journal.resume()
        # Trainer's own NEFTune makes the noise of a row depend on the padding of its batch.
        noise = noisy_embeddings(setup.model, settings.neftune_noise_alpha)
        with memory_errors_explained("training", _FIX_MEMORY), noise:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    journal.finish()
    done = Finished(journal.state, journal.epochs, state_dtype(trainer.stepped))
    trainer.close()
    return done, journal


def _rows(job: TrainJob, setup: TrainingSetup) -> TrainerRows:
    """The rows as TRL takes them. Raises ModelError where packed rows would leak into one another."""
    packing = job.training["packing"]
    capacity = within_positions(job.prompting, setup.model.config).max_length
    if packing or job.training["padding_free"]:
        here = next(setup.model.parameters()).device  # the host, under DeepSpeed
        require_isolation(setup.model, setup.train.encoded, capacity, here)
    return trainer_rows(setup.train.encoded, capacity if packing else None)


def _windows(job: TrainJob, settings: TrainingSettings, rows: TrainerRows) -> Callable[[int], list[Indices]]:
    """The steps of an epoch, in the order of the torch loop but for a partial window, which comes last.

    Trainer cuts one sequence of rows into steps and so can have no smaller one in its middle. Raises
    DataError where there are fewer rows than one step needs.
    """
    steps_per_epoch(len(rows.names), settings, job.train.name)
    lengths = rows.lengths

    @lru_cache(maxsize=1)
    def windows(epoch: int) -> list[Indices]:
        size = settings.effective_batch_size
        found = epoch_windows(
            lengths,
            size,
            strategy=settings.train_sampling_strategy,
            seed=job.seed,
            epoch=epoch,
            drop_last=settings.dataloader_drop_last,
        )
        return sorted(found, key=lambda window: len(window) < size)

    return windows


def _trainer(make: type[Trainer], *parts: Any) -> Trainer:
    """The trainer; what TRL refuses to train becomes one line."""
    try:
        return make(*parts)
    except ValueError as error:
        raise ModelError(f"trl: {first_line(error)}", fix="choose backend: torch") from error


@contextmanager
def _logged_warnings(collected: list[str]) -> Iterator[None]:
    """Add what TRL, transformers' Trainer and accelerate log as warnings, each text once."""

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if text not in collected and not any(said in text for said in _MEANS_NOTHING):
                collected.append(text)

    handler = Collect(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("trl", "transformers.trainer", "accelerate")]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
