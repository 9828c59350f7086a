"""Before anything is trained: recipes that cannot work are refused, with all their faults at once.

Minutes into a run is late to learn that a target module matches nothing. The checks need torch, so a
worker makes them, once for all candidates that are about to be trained; a run that trains nothing is not
held up.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import worker
from harness.errors import InputError
from harness.json_files import read_json
from harness.modeling.probes.results import FAULTS
from harness.modeling.training_settings import KEYS
from harness.plan import Plan, Step
from harness.store import canonical
from harness.suite.settings import Training
from harness.worker import Work

if TYPE_CHECKING:
    from harness.run import Listener

CHECKS = "harness.modeling.probes.gate"
NAME = "recipes"
"""What the check is called while it runs."""


def refuse_the_unworkable(plan: Plan, executor: Executor, listener: Listener, steps: Iterable[Step]) -> None:
    """InputError, a line a fault, if a recipe that a step among `steps` is about to train cannot work."""
    recipes = recipes_of(step for step in steps if not plan.store.has(step.key))
    if not recipes:
        return
    step, started = Step(NAME, Work("", NAME, {}, {})), time.monotonic()
    listener.started(step)
    faults = _faults(plan, executor, recipes)
    if faults:
        where = f"{plan.suite.display_path}: candidates"
        raise InputError("\n".join(f"{where}.{name}: {fault}" for name, fault in faults))
    listener.ended(step, "made", time.monotonic() - started, "")


def _faults(plan: Plan, executor: Executor, recipes: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Pairs of a candidate and what is wrong with it, found by a worker."""
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        inputs = {"data": plan.store.open(plan.steps["prepare"].key)}
        executor.submit(worker.make_aside, CHECKS, {"recipes": recipes}, inputs, Path(folder)).result()
        faults: list[tuple[str, str]] = read_json(Path(folder) / FAULTS)
        return faults


def recipes_of(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """What the steps would train, as the probes are told of it, one of those that differ by seed alone."""
    recipes: dict[str, dict[str, Any]] = {}
    for step in steps:
        # A later seed of a grid trains what is chosen yet: one of the points, which the first seed tries.
        if step.stage == "train" and "points" not in step.work.params:
            recipe = _recipe(step)
            recipes.setdefault(canonical({**recipe, "seed": None}), recipe)
    return list(recipes.values())


def _recipe(step: Step) -> dict[str, Any]:
    """A step's recipe; keys of the torch loop that its backend does not have are at their defaults."""
    params = step.work.params
    candidate = step.trial.candidate.name if step.trial else step.name
    defaults = {key: value for key, value in Training().model_dump().items() if key in KEYS}
    same = {key: params[key] for key in ("model", "method", "generation", "prompting", "seed")}
    return {
        "name": f"{candidate} ({step.subject})" if step.subject else candidate,
        "backend": params["backend"]["name"],
        "training": {**defaults, **params["training"]},
        **same,
    }
