"""Training a trial. What a checkpoint is and how to go on from one is the backend's affair."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.json_files import read_json, write_json
from harness.leaderboard.search import CHOSEN
from harness.protocols import Progress, TrainJob, TrainOutcome
from harness.records import Method, ModelRef, PluginSpec, Prompting, from_json
from harness.stages.train.launching import train_launched
from harness.suite.settings import READ_BY_HARNESS
from harness.tracking import Follower, TrackedRun

VERSION = 2


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write outcome.json; the backend writes model/ and log.jsonl, and clears away what it resumes from.

    `points` instead of a method and training: the recipe is that of the point which `chosen` names.
    """
    validation = inputs["data"] / "validation.jsonl"
    recipe = _recipe(params, inputs)
    job = TrainJob(
        model=from_json(ModelRef, params["model"]),
        method=from_json(Method, recipe["method"]),
        training={key: value for key, value in recipe["training"].items() if key not in READ_BY_HARNESS},
        prompting=from_json(Prompting, params["prompting"]),
        generation=params["generation"],
        seed=params["seed"],
        train=inputs["data"] / "train.jsonl",
        validation=validation if validation.exists() else None,
        out=out,
        launch=params.get("launch", {}),
        progress=progress,
    )
    spec = from_json(PluginSpec, params["backend"])
    with _follower(params, recipe, out) as follower:
        outcome = train_launched(spec, job) if job.launch else registry.create(spec).train(job)
        unreported = follower.finish(outcome)
    write_json(out / "outcome.json", replace(outcome, warnings=[*outcome.warnings, *unreported]))


def report(params: Mapping[str, Any], inputs: Mapping[str, Path], artifact: Path) -> list[str]:
    """Tell the trackers of a training that was done before they were named; what could not be told."""
    with _follower(params, _recipe(params, inputs), artifact) as follower:
        return follower.finish(from_json(TrainOutcome, read_json(artifact / "outcome.json")))


def _recipe(params: Mapping[str, Any], inputs: Mapping[str, Path]) -> Mapping[str, Any]:
    """What holds `method` and `training`: the parameters, or the point of a grid that was chosen."""
    if "chosen" not in inputs:
        return params
    point: Mapping[str, Any] = params["points"][read_json(inputs["chosen"] / CHOSEN)["index"]]
    return point


def _follower(params: Mapping[str, Any], recipe: Mapping[str, Any], out: Path) -> Follower:
    """What carries the log to the trackers that the recipe names, if any."""
    training, where = recipe["training"], params["runtime"].get("tracking", {})
    if not training.get("report_to"):
        return Follower((), TrackedRun("", "", out, {}), out, "")
    named = {key: value for key, value in training.items() if key not in READ_BY_HARNESS}
    told = {key: params[key] for key in ("model", "prompting", "seed")}
    run = TrackedRun(
        project=training["project"] or where["project"],
        name=where["name"],
        folder=Path(where["folder"]),
        recipe={**told, "method": recipe["method"], "training": named},
    )
    return Follower(training["report_to"], run, out / "log.jsonl", out.name.removesuffix(".partial"))
