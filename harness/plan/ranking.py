"""The plan's last step, over whatever the others made: the rank stage's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry
from harness.plan.keys import step_key
from harness.plan.steps import Plan, Step, Trial, trials
from harness.protocols import trait
from harness.records import ModelRef, to_json
from harness.suite import Candidate, Suite
from harness.worker import Work


def rank_step(plan: Plan, failures: Mapping[str, str]) -> Step:
    """The step that makes the board. `failures`: step name -> what went wrong."""
    inputs = {
        "data" if name == "prepare" else name: step.key
        for name, step in plan.steps.items()
        if name not in failures
    }
    params = _rank_params(plan, failures)
    key = step_key("rank", plan.identities.view(params), inputs)
    return Step("rank", Work(key, "rank", to_json(params), inputs))


def _rank_params(plan: Plan, failures: Mapping[str, str]) -> dict[str, Any]:
    suite = plan.suite
    return {
        "suite": {
            "name": suite.name,
            "description": suite.description,
            "text": suite.text,
            "overrides": suite.overrides,
            "rank_by": suite.rank_by,
            "budget_usd": suite.budget_usd,
            "price_per_gpu_hour": suite.price_per_gpu_hour,
        },
        "candidates": [_ranked(plan, candidate, failures) for candidate in suite.candidates],
        "metrics": [
            {"name": e.name, "evaluator": e.plugin, "prompts": e.prompts}
            for e in _unique(suite, "evaluators")
        ],
        "judges": [
            {
                "name": j.name,
                "against": j.against,
                "members": j.members,
                "symmetric": j.symmetric,
                "verdicts_of": j.verdicts_of,
                "prompts": j.prompts,
                "plugin": j.plugin,
            }
            for j in _unique(suite, "judges")
        ],
    }


def _unique(suite: Suite, kind: str) -> list[Any]:
    """The evaluators or judges of all candidates, in the suite's order, each name once."""
    found = {spec.name: spec for spec in getattr(suite, kind)}
    for candidate in suite.candidates:
        for spec in getattr(candidate, kind):
            found.setdefault(spec.name, spec)
    return list(found.values())


def _ranked(plan: Plan, candidate: Candidate, failures: Mapping[str, str]) -> dict[str, Any]:
    """The rank stage's parameters for a candidate."""
    trained = candidate.method is not None
    return {
        "name": candidate.name,
        "backend": candidate.backend.name,
        "method": candidate.method.name if candidate.method else None,
        "model": _answers_of(candidate) or _shown(candidate.model, plan.suite.folder),
        "model_revision": None if _answers_of(candidate) else plan.identities.model(candidate.model).revision,
        "recipe": {
            "method": candidate.method.options if candidate.method else {},
            "training": candidate.training if trained else {},
            "generation": candidate.generation,
            "prompting": plan.suite.prompting,
        },
        "seeds": [trial.seed for trial in trials(candidate)],
        "trials": [_ranked_trial(plan, trial, failures) for trial in trials(candidate)],
        "grid": _ranked_grid(plan, candidate, failures),
        "price_per_gpu_hour": plan.suite.price_per_gpu_hour,
    }


def _answers_of(candidate: Candidate) -> str | None:
    """Whose answers they are, where the backend stands in for a model that we do not run."""
    found: str | None = trait(registry.create(candidate.backend), "answers_of")
    return found


def _shown(model: ModelRef, folder: Path) -> str:
    """A local model below the suite's folder, or its own name: a report that is sent on shows no paths."""
    path = Path(model.name_or_path)
    if not path.is_absolute():
        return model.name_or_path
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _ranked_trial(plan: Plan, trial: Trial, failures: Mapping[str, str]) -> dict[str, Any]:
    trained, (predicted,) = plan.trained(trial), plan.of(trial, "predict")
    steps = [step for step in (trained, predicted) if step is not None]
    failed = next((step for step in steps if step.name in failures), None)
    return {
        "seed": trial.seed,
        "failure": {"stage": failed.stage, "message": failures[failed.name]} if failed else None,
        "train": trained.name if trained and trained.name not in failures else None,
        "predict": predicted.name if predicted.name not in failures else None,
        "evaluate": {step.subject: _outcome(step, failures) for step in plan.of(trial, "evaluate")},
        "judges": _ranked_comparisons(plan, trial, failures),
    }


def _ranked_comparisons(plan: Plan, trial: Trial, failures: Mapping[str, str]) -> dict[str, list[Any]]:
    """Judge -> its comparisons of the trial with others, the trial being the candidate."""
    found: dict[str, list[Any]] = {}
    for step in plan.of(trial, "judge"):
        params = step.work.params
        comparison = {
            "against": params["opponent"],
            "seed": step.opponent.seed if step.opponent else None,
            "step": _outcome(step, failures),
        }
        found.setdefault(params["name"], []).append(comparison)
    return found


def _outcome(step: Step, failures: Mapping[str, str]) -> Any:
    """The name of a step that was done, or why it was not."""
    return {"failure": failures[step.name]} if step.name in failures else step.name


def _ranked_grid(plan: Plan, candidate: Candidate, failures: Mapping[str, str]) -> dict[str, Any] | None:
    """The rank stage's parameters for a search: its points, and the step that chose, if there is one."""
    if not candidate.grid:
        return None
    first = trials(candidate)[0]
    (choice,) = plan.of(first, "choose")
    trained = [_outcome(step, failures) for step in plan.of(first, "train")]
    points = [
        {"settings": p.settings, "method": p.method, "training": p.training, "train": outcome}
        for p, outcome in zip(candidate.grid, trained, strict=True)
    ]
    return {"choose": None if choice.name in failures else choice.name, "points": points}
