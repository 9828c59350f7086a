"""A suite compiled into steps. Planning starts no work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness import registry
from harness.data.preflight import check_source
from harness.data.sources import SourceSpec
from harness.errors import NoKeyError, PluginError
from harness.plan.asking import blaming, identity
from harness.plan.keys import Identities
from harness.plan.pairings import add_judges, judges_of
from harness.plan.steps import Plan, Step, Trial, trials
from harness.protocols import Answerer, AsksModel, AsksServer, Preflight, answerable
from harness.records import PluginSpec
from harness.store import Store
from harness.suite import EvaluatorSpec, Suite

__all__ = ["Plan", "Step", "Trial", "compile_plan", "trials"]


def compile_plan(suite: Suite, store: Store, *, preflight: bool = True, keyless: bool = False) -> Plan:
    """The plan of a suite; InputError where a model or a dataset is missing or a plugin could not run.

    Without `preflight` nobody is asked whether it could run, nor what it costs: enough to look keys up.
    `keyless`: a server's key that is not set is told in the plan's `lacking`, for a plan asks nobody.
    """
    plan = Plan(suite, store, Identities(store, suite.display_path))
    if preflight:
        plan.lacking = tuple(_preflight(suite, keyless=keyless))
    _add_prepare(plan)
    every = [trial for candidate in suite.candidates for trial in trials(candidate)]
    for trial in every:
        _add_trial(plan, trial)
        for evaluator in trial.candidate.evaluators:
            _add_evaluate(plan, trial, evaluator)
    add_judges(plan, _identities(suite))
    return plan


def _preflight(suite: Suite, *, keyless: bool) -> Iterator[str]:
    """PluginError for a backend, an evaluator or a judge that could not run here: no engine, GPU or key.

    Where it may be `keyless`, the lines that say whose key is not set.
    """
    for plugin, where in _plugins(suite):
        try:
            _ready(plugin, where, suite, keyless=keyless)
        except NoKeyError as error:
            if not keyless:
                raise
            yield str(error)


def _plugins(suite: Suite) -> Iterator[tuple[Any, str]]:
    """Every backend, evaluator and judge, and where the suite names it."""
    for candidate in suite.candidates:
        yield registry.create(candidate.backend), candidate.backend_where
    for evaluator in {e.name: e for candidate in suite.candidates for e in candidate.evaluators}.values():
        yield registry.create(evaluator.plugin), f"{evaluator.where}: evaluators.{evaluator.name}"
    for name, judge in judges_of(suite).items():
        yield registry.create(judge.plugin), f"{judge.where}: judges.{name}"


def _ready(plugin: Any, where: str, suite: Suite, *, keyless: bool) -> None:
    """PluginError at its place in the suite if a plugin could not run, or would cost nobody knows what."""
    try:
        asked, no_key = answerable(plugin), None
        if isinstance(asked, Preflight):
            with blaming("the plugin", "preflight"):
                try:
                    asked.preflight()
                except NoKeyError as error:
                    if not keyless:
                        raise
                    no_key = error
        if suite.budget_usd is not None and isinstance(plugin, AsksServer):
            _require_price(plugin)
        if no_key is not None:
            raise no_key
    except PluginError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        kind = NoKeyError if isinstance(error, NoKeyError) else PluginError
        raise kind(what, where=where, fix=error.fix) from error


def _require_price(plugin: AsksServer) -> None:
    if not isinstance(plugin, AsksModel):
        what = "budget_usd cannot be held: the plugin has a server, but no `model` whose price could be known"
        raise PluginError(what, fix="name the model's option model, or add such a property")
    plugin.server.require_price(plugin.model)


def _identities(suite: Suite) -> dict[str, str | None]:
    """Judge -> what else than its options its verdicts depend on."""
    judges = judges_of(suite)
    return {name: identity(judge.plugin, f"{judge.where}: judges.{name}") for name, judge in judges.items()}


def _named(spec: PluginSpec) -> dict[str, str]:
    """The plugin's identity as a parameter, where it has one."""
    own = identity(spec)
    return {} if own is None else {"identity": own}


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
        **_named(candidate.backend),
    }
    after = {"data": "prepare"}
    if candidate.method is not None:
        launch = {"launch": candidate.launch} if candidate.launch else {}
        after = {**after, "trained": _add_training(plan, trial, {**shared, **launch})}
    runtime = {"batch_size": candidate.training["per_device_eval_batch_size"], **plan.money}
    # What answers without a model of ours, a server or a file, leaves the device to others.
    on_device = not isinstance(backend, Answerer)
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
    params = {"evaluator": evaluator.plugin, "name": evaluator.name, **_named(evaluator.plugin)}
    (predicted,) = plan.of(trial, "predict")
    after = {"predictions": predicted.name}
    plan.add("evaluate", params, after, trial=trial, subject=evaluator.name, runtime=plan.money)
