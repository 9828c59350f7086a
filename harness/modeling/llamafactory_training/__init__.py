"""Training one trial with LLaMA-Factory's command, on the torch loop's rows, labels, weights and adapters.

steps.py      which rows make up which step
handover.py   what the command is handed: rows, adapter, base, config; with arguments.py
command.py    the command as a child process; entry.py runs in its environment
journal.py    what it says of its steps, and its checkpoints
training_lines.py  our log of its steps, live
memory.py     what it held in memory
readback.py   our own validation and best weights from what it left
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

from harness.json_files import write_jsonl
from harness.modeling.artifacts import save
from harness.modeling.devices import pick_device, release_memory
from harness.modeling.failures import memory_errors_explained, user_warnings
from harness.modeling.llamafactory_training.command import Command
from harness.modeling.llamafactory_training.handover import hand_over
from harness.modeling.llamafactory_training.journal import CommandJournal
from harness.modeling.llamafactory_training.memory import memory_of
from harness.modeling.llamafactory_training.readback import (
    final_state,
    restore,
    validate,
)
from harness.modeling.llamafactory_training.steps import Steps, plan_steps, validation_steps
from harness.modeling.llamafactory_training.training_lines import LiveLog, TrainingLines
from harness.modeling.training import outcome_of
from harness.modeling.training.checkpoints import Checkpoints
from harness.modeling.training.loop import CHECKPOINTS
from harness.modeling.training.metering import Meter
from harness.modeling.training.setup import TrainingSetup, set_up
from harness.modeling.training.state import Finished, LoopState
from harness.modeling.training_settings import TrainingSettings
from harness.protocols import TrainJob, TrainOutcome

_CHECKPOINTS = 5
"""How many checkpoints a training should at least leave on its way; it has no clock to write them by."""


def train(job: TrainJob, settings: TrainingSettings, environment: Path) -> TrainOutcome:
    """Train with the LLaMA-Factory of a virtual environment, going on from its checkpoint if there is one.

    Raises ModelError, DataError, TrainingDiverged, OutOfMemory; StageError with the command's last word;
    SystemExit after a SIGTERM.
    """
    meter, folder = Meter(pick_device()), job.out / CHECKPOINTS
    with user_warnings() as warnings:
        setup = _set_up(job, settings, meter)
        steps = plan_steps(job, settings, setup.train)
        validated_at = validation_steps(settings, steps) if setup.validation else []
        live = LiveLog(job.out / "log.jsonl", settings, steps)
        journal = CommandJournal(folder, steps, validated_at, job.progress, live, meter.energy_joules)
        if journal.done:
            journal.catch_up()
        else:
            with meter.phase("load"):
                every = _checkpoint_interval(steps, validated_at)
                config = hand_over(job, settings, setup, steps, folder, checkpoint_interval=every)
            del setup  # the command wants the memory
            release_memory()
            _run(Command(environment, config), journal, meter)
            setup = _set_up(job, settings, meter)
        state = _read_back(job, settings, setup, steps, journal, validated_at, meter)
    done = Finished(state, steps.epoch(steps.total), _moments_in(settings.optim))
    outcome = outcome_of(job, settings, setup, done, meter, warnings)
    # Memory is the command's, who trains, and not that of this process, who validates.
    memory = memory_of(journal.lines())
    outcome = replace(outcome, **memory)
    Checkpoints(folder).delete()
    return outcome


def _moments_in(optimizer: str) -> str:
    """The dtype of the optimizer's moments; momentum is among what cannot be asked for."""
    if optimizer == "sgd":
        return "none"
    return "uint8" if "8bit" in optimizer else "float32"


def _set_up(job: TrainJob, settings: TrainingSettings, meter: Meter) -> TrainingSetup:
    job.progress(0, 1, "loading the model")
    fix = "choose a smaller base model, or qlora"
    with meter.phase("load"), memory_errors_explained("loading the model", fix):
        return set_up(job, settings, pick_device())


def _checkpoint_interval(steps: Steps, validated_at: list[int]) -> int:
    """Steps between two checkpoints: each validation needs one, and a kill should not cost all."""
    limit = math.ceil(steps.total / _CHECKPOINTS)
    apart = math.gcd(*validated_at[:-1])  # after the last step there always is one
    if apart == 0:
        return limit
    return next((apart // n for n in range(1, _CHECKPOINTS) if apart % n == 0 and apart // n <= limit), apart)


def _run(command: Command, journal: CommandJournal, meter: Meter) -> None:
    """Run the command; what comes before its first step is loading, what comes after its last is saving."""
    journal.start()
    started = time.monotonic()
    command.run(lambda: journal.look(command))
    ended = time.monotonic()
    began, last = command.began_training or started, journal.last_step_seen or started
    meter.seconds["load"] += began - started
    meter.seconds["save"] += ended - max(began, last)


def _read_back(
    job: TrainJob,
    settings: TrainingSettings,
    setup: TrainingSetup,
    steps: Steps,
    journal: CommandJournal,
    validated_at: list[int],
    meter: Meter,
) -> LoopState:
    """Write log.jsonl and model/."""
    lines = journal.lines()
    meter.carry_on({"train": lines[-1]["seconds"]}, 0, journal.earlier_joules)
    trained = TrainingLines(settings, steps, journal.gradient_norms()).of(lines)
    with meter.phase("validate"):
        validated = validate(setup, job, settings, steps, journal, validated_at)
    state = final_state(steps, trained, validated)
    with meter.phase("save"):
        best = state.best_step if settings.load_best_model_at_end else None
        restore(setup, job, journal.weights(best or steps.total))
        save(setup.model, setup.tokenizer, job.method, job.seed, job.out / "model")
    write_jsonl(job.out / "log.jsonl", sorted([*trained, *validated], key=lambda line: line["step"]))
    return state
