"""After a run: trackers that the suite names now are told of trainings that the store had before."""

from __future__ import annotations

from pathlib import Path

from harness.run import Run

WHOLE = frozenset({"cached", "made"})
"""What became of the steps whose artifact is there."""


def backfill_trackers(run: Run) -> tuple[Path | None, list[str]]:
    """Where trackers keep files, None where none is named, and what could not be told to them.

    What a training told while it was made is not told again.
    """
    store, where, unreported = run.plan.store, None, []
    for step in run.plan.steps.values():
        if step.stage != "train" or run.statuses.get(step.name) not in WHOLE:
            continue
        if not (step.trial and step.trial.candidate.training.get("report_to")):
            continue
        from harness.stages import train

        inputs = {name: store.open(key) for name, key in step.work.inputs.items()}
        where = Path(step.work.params["runtime"]["tracking"]["folder"])
        failed = train.report(step.work.params, inputs, store.open(step.key))
        unreported += [f"{step.name}: {reason}" for reason in failed]
    return where, unreported
