"""A suite compiled into steps, each with the key of what it makes. Planning starts no work.

A step's key is a digest of its stage, the stage's version, its parameters and the keys of its inputs;
`runtime` is outside the key, because it cannot change a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness import format as fmt
from harness import registry
from harness.data.preflight import check_source
from harness.data.sources import SourceSpec
from harness.errors import PluginError
from harness.keys import Identities, step_key
from harness.records import to_json
from harness.store import Store
from harness.suite import Candidate, EvaluatorSpec, JudgeSpec, Suite
from harness.worker import Work


@dataclass(frozen=True)
class Trial:
    """A candidate with one seed."""

    candidate: Candidate
    seed: int

    @property
    def label(self) -> str:
        """How the trial is called in the names of its steps."""
        name = self.candidate.name
        return name if len(trials(self.candidate)) == 1 else f"{name}#{self.seed}"


@dataclass(frozen=True)
class Step:
    """A piece of work and its place in the plan.

    `after` maps the work's inputs to the names of the steps that make them. `trial` and `subject` say whose
    work it is: the trial's, and that of one evaluator, judge or point of a grid. `viewed` are the parameters
    as they count in the key. A step that `spares` does without those of its inputs that could not be made,
    though not without all.
    """

    name: str
    work: Work
    after: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    subject: str = ""
    viewed: Any = field(default=None, repr=False)
    spares: bool = False

    @property
    def key(self) -> str:
        return self.work.key

    @property
    def stage(self) -> str:
        return self.work.stage

    def is_lost(self, failures: Collection[str]) -> bool:
        """Whether the step cannot be done, these steps having failed."""
        lost = [name in failures for name in self.after.values()]
        return all(lost) and bool(lost) if self.spares else any(lost)


@dataclass
class Plan:
    """Steps in an order in which they can be done; ranking.py adds the last, once it is known what failed."""

    suite: Suite
    store: Store
    identities: Identities
    data_facts: tuple[str, ...] = ()
    """What was found in the datasets, a line each."""
    steps: dict[str, Step] = field(default_factory=dict)

    def add(
        self,
        stage: str,
        params: Mapping[str, Any],
        after: Mapping[str, str] | None = None,
        *,
        trial: Trial | None = None,
        subject: str = "",
        runtime: Mapping[str, Any] | None = None,
        spares: bool = False,
    ) -> str:
        """Add a step and return its name. `after`: input name -> name of an earlier step."""
        after = after or {}
        name = " ".join(filter(None, (stage, trial.label if trial else "", subject)))
        inputs = {as_name: self.steps[source].key for as_name, source in after.items()}
        viewed, whole = self.identities.view(params), to_json({**params, "runtime": runtime or {}})
        work = Work(step_key(stage, viewed, inputs), stage, whole, inputs)
        self.steps[name] = Step(name, work, after, trial, subject, viewed, spares)
        return name

    def do_without(self, failures: Collection[str]) -> None:
        """Key anew the steps that spare inputs which failed, and whatever builds on them.

        What a choice among fewer points gives is not what the choice among all would: it has its own key.
        """
        for name, step in self.steps.items():
            inputs = {
                as_name: self.steps[source].key
                for as_name, source in step.after.items()
                if not (step.spares and source in failures)
            }
            if inputs != step.work.inputs and not step.is_lost(failures):
                key = step_key(step.stage, step.viewed, inputs)
                self.steps[name] = replace(step, work=replace(step.work, key=key, inputs=inputs))

    def of(self, trial: Trial, stage: str) -> list[Step]:
        """A trial's steps of one stage."""
        return [step for step in self.steps.values() if step.trial == trial and step.stage == stage]

    def trained(self, trial: Trial) -> Step | None:
        """The step that leaves the trial's trained model: its training, or the choice among a grid's."""
        return next(iter(self.of(trial, "choose") or self.of(trial, "train")), None)

    def chosen(self, stages: Collection[str] | None = None) -> list[Step]:
        """The steps of these stages, or all of them."""
        return [step for step in self.steps.values() if stages is None or step.stage in stages]


def trials(candidate: Candidate) -> list[Trial]:
    """The trials of a candidate; base, which nothing random made, has one."""
    seeds = candidate.seeds[:1] if candidate.method is None else candidate.seeds
    return [Trial(candidate, seed) for seed in seeds]


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
    for trial in every:
        for judge in trial.candidate.judges:
            if judge.against != trial.candidate.name:
                _add_judge(plan, trial, judge, identities[judge.name])
    return plan


def _require_engines(suite: Suite) -> None:
    """PluginError for a backend that could not run here: its engine is not installed, or needs a GPU."""
    for candidate in suite.candidates:
        backend = registry.create(candidate.backend)
        try:
            if hasattr(backend, "preflight"):
                backend.preflight()
        except PluginError as error:
            raise PluginError(error.what, where=candidate.backend_where, fix=error.fix) from error


def _preflight(suite: Suite) -> dict[str, Any]:
    """What each judge says of its identity beyond its options; PluginError if one could not run."""
    specs = {judge.name: judge for candidate in suite.candidates for judge in candidate.judges}
    identities = {}
    for name, spec in specs.items():
        judge = registry.create(spec.plugin)
        try:
            if hasattr(judge, "preflight"):
                judge.preflight()
        except PluginError as error:
            raise PluginError(error.what, where=f"{spec.where}: judges.{name}", fix=error.fix) from error
        identities[name] = judge.identity() if hasattr(judge, "identity") else None
    return identities


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
    shared = {
        "backend": candidate.backend,
        "model": plan.identities.model(candidate.model),
        "prompting": plan.suite.prompting,
        "generation": candidate.generation,
        "seed": trial.seed,
    }
    after = {"data": "prepare"}
    if candidate.method is not None:
        launch = {"launch": candidate.launch} if candidate.launch else {}
        after = {**after, "trained": _add_training(plan, trial, {**shared, **launch})}
    runtime = {"batch_size": candidate.training["per_device_eval_batch_size"]}
    plan.add("predict", shared, after, trial=trial, runtime=runtime)


def _add_training(plan: Plan, trial: Trial, shared: Mapping[str, Any]) -> str:
    """The name of the step that leaves the trained model.

    A grid is searched with the first seed; the others are trained by the recipe that was chosen.
    """
    candidate, data = trial.candidate, {"data": "prepare"}
    if not candidate.grid:
        recipe = {"method": candidate.method, "training": candidate.training}
        return plan.add("train", {**shared, **recipe}, data, trial=trial, runtime=_tracking(plan, trial))
    if trial.seed == candidate.seeds[0]:
        return _add_search(plan, trial, shared)
    points = [{"method": point.method, "training": point.training} for point in candidate.grid]
    chosen = plan.of(trials(candidate)[0], "choose")[0].name
    after = {**data, "chosen": chosen}
    return plan.add("train", {**shared, "points": points}, after, trial=trial, runtime=_tracking(plan, trial))


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
        trained[f"point {index}"] = plan.add(
            "train",
            {**shared, **recipe},
            {"data": "prepare"},
            trial=trial,
            subject=subject,
            runtime=_tracking(plan, trial, subject),
        )
    points = [
        {"settings": point.settings, "keeps_best": point.training.get("load_best_model_at_end", True)}
        for point in grid
    ]
    return plan.add("choose", {"points": points}, trained, trial=trial, spares=True)


def _add_evaluate(plan: Plan, trial: Trial, evaluator: EvaluatorSpec) -> None:
    params = {"evaluator": evaluator.plugin, "name": evaluator.name}
    (predicted,) = plan.of(trial, "predict")
    plan.add("evaluate", params, {"predictions": predicted.name}, trial=trial, subject=evaluator.name)


def _add_judge(plan: Plan, trial: Trial, judge: JudgeSpec, identity: Any) -> None:
    opponent = next(c for c in plan.suite.candidates if c.name == judge.against)
    rivals = trials(opponent)
    rival = next((r for r in rivals if r.seed == trial.seed), rivals[0])
    (predicted,), (opposed,) = plan.of(trial, "predict"), plan.of(rival, "predict")
    plan.add(
        "judge",
        {
            "judge": judge.plugin,
            "identity": identity,
            "name": judge.name,
            "max_prompts": judge.max_prompts,
        },
        {"candidate": predicted.name, "opponent": opposed.name},
        trial=trial,
        subject=judge.name,
        runtime={"cache": str(plan.store.root.parent / "verdicts.sqlite")},
    )
