"""A suite compiled into steps. Planning starts no work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import format as fmt
from harness import registry
from harness.data.preflight import check_source
from harness.data.sources import SourceSpec
from harness.errors import PluginError
from harness.plan.keys import Identities
from harness.plan.pairings import add_judges, judges_of
from harness.plan.steps import Plan, Step, Trial, trials
from harness.store import Store
from harness.suite import EvaluatorSpec, Suite

__all__ = ["Plan", "Step", "Trial", "compile_plan", "trials"]


def compile_plan(suite: Suite, store: Store) -> Plan:
    """The plan of a suite; InputError where a model or a dataset is missing or a judge could not run."""
    plan = Plan(suite, store, Identities(store, suite.display_path))
    _require_engines(suite)
    identities = _preflight(suite)
    _add_prepare(plan)
    every = [trial for candidate in suite.candidates for trial in trials(candidate)]
    for trial in every:
        _add_trial(plan, trial)
        for evaluator in trial.candidate.evaluators:
            _add_evaluate(plan, trial, evaluator)
    add_judges(plan, identities)
    return plan


def _require_engines(suite: Suite) -> None:
    """PluginError for a backend that could not run here: its engine is not installed, or needs a GPU."""
    for candidate in suite.candidates:
        _ready(registry.create(candidate.backend), candidate.backend_where, suite)


def _preflight(suite: Suite) -> dict[str, str | None]:
    """What each judge says of its identity beyond its options.

    PluginError if a judge or an evaluator could not run.
    """
    for evaluator in {e.name: e for candidate in suite.candidates for e in candidate.evaluators}.values():
        _ready(registry.create(evaluator.plugin), f"{evaluator.where}: evaluators.{evaluator.name}", suite)
    judges = judges_of(suite)
    created = {name: registry.create(judge.plugin) for name, judge in judges.items()}
    for name, judge in created.items():
        _ready(judge, f"{judges[name].where}: judges.{name}", suite)
    return {name: _identity(judge) for name, judge in created.items()}


def _ready(plugin: Any, where: str, suite: Suite) -> None:
    """PluginError at its place in the suite if a plugin could not run, or would cost nobody knows what."""
    try:
        if hasattr(plugin, "preflight"):
            plugin.preflight()
        if suite.budget_usd is not None and hasattr(plugin, "server") and hasattr(plugin, "model"):
            plugin.server.require_price(plugin.model)
    except PluginError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise PluginError(what, where=where, fix=error.fix) from error


def _identity(plugin: Any) -> str | None:
    """What else than its options a plugin's results depend on."""
    identity: str | None = plugin.identity() if hasattr(plugin, "identity") else None
    return identity


def _named(plugin: Any) -> dict[str, str]:
    """The plugin's identity as a parameter, where it has one."""
    identity = _identity(plugin)
    return {} if identity is None else {"identity": identity}


def _add_prepare(plan: Plan) -> None:
    def pinned(split: Any) -> Any:
        return [plan.identities.source(source) for source in split] if isinstance(split, tuple) else split

    data = plan.suite.data
    params = {
        "sources": pinned(data.train),
        "validation": pinned(data.validation),
        "eval": pinned(data.eval),
        "overlap": data.overlap,
        "model": plan.identities.model(plan.suite.model),
        "prompting": plan.suite.prompting,
        "seed": plan.suite.seeds[0],
    }
    plan.add("prepare", params)
    if not plan.store.has(plan.steps["prepare"].key):
        plan.data_facts = tuple(_look_at(source) for source in _sources(plan.suite))


def _sources(suite: Suite) -> list[SourceSpec]:
    splits = (suite.data.train, suite.data.validation, suite.data.eval)
    return [source for split in splits if isinstance(split, tuple) for source in split]


def _look_at(source: SourceSpec) -> str:
    facts = check_source(source)
    rows = "rows not counted" if facts.rows is None else f"{facts.rows:,} rows"
    columns = f" ({', '.join(facts.columns)})" if facts.columns else ""
    return f"{source.label}: {rows}, {facts.format}{columns}"


def _add_trial(plan: Plan, trial: Trial) -> None:
    candidate = trial.candidate
    backend = registry.create(candidate.backend)
    shared = {
        "backend": candidate.backend,
        "model": plan.identities.model(candidate.model),
        "prompting": plan.suite.prompting,
        "generation": candidate.generation,
        "seed": trial.seed,
        **_named(backend),
    }
    after = {"data": "prepare"}
    if candidate.method is not None:
        launch = {"launch": candidate.launch} if candidate.launch else {}
        after = {**after, "trained": _add_training(plan, trial, {**shared, **launch})}
    runtime = {"batch_size": candidate.training["per_device_eval_batch_size"], **plan.money}
    # What answers without a model of ours, a server or a file, leaves the device to others.
    on_device = not hasattr(backend, "answer")
    plan.add("predict", shared, after, trial=trial, runtime=runtime, fills_device=on_device)


def _add_training(plan: Plan, trial: Trial, shared: Mapping[str, Any]) -> str:
    """The name of the step that leaves the trained model.

    A grid is searched with the first seed; the others are trained by the recipe that was chosen.
    """
    candidate, data = trial.candidate, {"data": "prepare"}
    if not candidate.grid:
        recipe = {"method": candidate.method, "training": candidate.training}
        return _add_train(plan, trial, {**shared, **recipe}, data)
    if trial.seed == candidate.seeds[0]:
        return _add_search(plan, trial, shared)
    points = [{"method": point.method, "training": point.training} for point in candidate.grid]
    chosen = plan.of(trials(candidate)[0], "choose")[0].name
    after = {**data, "chosen": chosen}
    return _add_train(plan, trial, {**shared, "points": points}, after)


def _add_train(
    plan: Plan, trial: Trial, params: Mapping[str, Any], after: Mapping[str, str], subject: str = ""
) -> str:
    runtime = _tracking(plan, trial, subject)
    return plan.add("train", params, after, trial=trial, subject=subject, runtime=runtime, fills_device=True)


def _tracking(plan: Plan, trial: Trial, subject: str = "") -> dict[str, Any]:
    """What a training is called in a tracker, and where trackers keep files: beside the store, for all."""
    seed = trial.label.removeprefix(trial.candidate.name)
    name = (trial.candidate.training.get("run_name") or trial.candidate.name) + seed
    where = str(plan.store.root.parent / "tracking")
    return {"tracking": {"folder": where, "project": plan.suite.name, "name": f"{name} {subject}".strip()}}


def _add_search(plan: Plan, trial: Trial, shared: Mapping[str, Any]) -> str:
    """A training for each point of the grid, and the choice among them, whose name is returned."""
    grid = trial.candidate.grid
    trained: dict[str, str] = {}
    for index, point in enumerate(grid):
        recipe = {"method": point.method, "training": point.training}
        subject = f"{index + 1}/{len(grid)} {fmt.settings(point.settings)}"
        trained[f"point {index}"] = _add_train(
            plan, trial, {**shared, **recipe}, {"data": "prepare"}, subject
        )
    points = [
        {"settings": point.settings, "keeps_best": point.training.get("load_best_model_at_end", True)}
        for point in grid
    ]
    return plan.add("choose", {"points": points}, trained, trial=trial, spares=True)


def _add_evaluate(plan: Plan, trial: Trial, evaluator: EvaluatorSpec) -> None:
    own = _named(registry.create(evaluator.plugin))
    params = {"evaluator": evaluator.plugin, "name": evaluator.name, **own}
    (predicted,) = plan.of(trial, "predict")
    after = {"predictions": predicted.name}
    plan.add("evaluate", params, after, trial=trial, subject=evaluator.name, runtime=plan.money)
