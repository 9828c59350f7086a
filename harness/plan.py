"""A suite compiled into steps, each with the key of what it makes. Planning starts no work.

A step's key is a digest of its stage, the stage's version, its parameters and the keys of its inputs;
`runtime` is outside the key, because it cannot change a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.preflight import check_source
from harness.data.sources import SourceSpec
from harness.errors import PluginError
from harness.keys import Identities, step_key
from harness.records import ModelRef, to_json
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
        return self.candidate.name if len(self.candidate.seeds) == 1 else f"{self.candidate.name}#{self.seed}"


@dataclass(frozen=True)
class Step:
    """A piece of work and its place in the plan: a unique name, and the names of the steps it needs."""

    name: str
    work: Work
    after: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.work.key

    @property
    def stage(self) -> str:
        return self.work.stage


@dataclass
class Plan:
    """Steps in an order in which they can be done; `rank` is made once it is known what failed."""

    suite: Suite
    store: Store
    identities: Identities
    data_facts: tuple[str, ...] = ()
    """What was found in the datasets, a line each."""
    steps: dict[str, Step] = field(default_factory=dict)

    def add(
        self,
        name: str,
        params: Mapping[str, Any],
        after: Mapping[str, str] | None = None,
        runtime: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a step; its stage is the name's first word. `after`: input name -> name of an earlier step."""
        stage, after = name.split()[0], after or {}
        inputs = {as_name: self.steps[source].key for as_name, source in after.items()}
        key = step_key(stage, self.identities.view(params), inputs)
        whole = to_json({**params, "runtime": runtime or {}})
        self.steps[name] = Step(name, Work(key, stage, whole, inputs), tuple(after.values()))

    def chosen(self, stages: Collection[str] | None = None) -> list[Step]:
        """The steps of these stages, or all of them."""
        return [step for step in self.steps.values() if stages is None or step.stage in stages]

    def rank(self, failures: Mapping[str, str]) -> Step:
        """The last step, over whatever the others made. `failures`: step name -> what went wrong."""
        inputs = {
            "data" if name == "prepare" else name: step.key
            for name, step in self.steps.items()
            if name not in failures
        }
        params = _rank_params(self, failures)
        key = step_key("rank", self.identities.view(params), inputs)
        return Step("rank", Work(key, "rank", to_json(params), inputs))


def trials(candidate: Candidate) -> list[Trial]:
    """The trials of a candidate; base, which nothing random made, has one."""
    seeds = candidate.seeds[:1] if candidate.method is None else candidate.seeds
    return [Trial(candidate, seed) for seed in seeds]


def compile_plan(suite: Suite, store: Store) -> Plan:
    """The plan of a suite; InputError where a model or a dataset is missing or a judge could not run."""
    plan = Plan(suite, store, Identities(store, suite.display_path))
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
        train = f"train {trial.label}"
        plan.add(train, {**shared, "method": candidate.method, "training": candidate.training}, after)
        after = {**after, "trained": train}
    runtime = {"batch_size": candidate.training["per_device_eval_batch_size"]}
    plan.add(f"predict {trial.label}", shared, after, runtime)


def _add_evaluate(plan: Plan, trial: Trial, evaluator: EvaluatorSpec) -> None:
    params = {"evaluator": evaluator.plugin, "name": evaluator.name}
    plan.add(f"evaluate {trial.label} {evaluator.name}", params, {"predictions": f"predict {trial.label}"})


def _add_judge(plan: Plan, trial: Trial, judge: JudgeSpec, identity: Any) -> None:
    opponent = next(c for c in plan.suite.candidates if c.name == judge.against)
    rivals = trials(opponent)
    rival = next((r for r in rivals if r.seed == trial.seed), rivals[0])
    plan.add(
        f"judge {trial.label} {judge.name}",
        {
            "judge": judge.plugin,
            "identity": identity,
            "name": judge.name,
            "max_prompts": judge.max_prompts,
        },
        {"candidate": f"predict {trial.label}", "opponent": f"predict {rival.label}"},
        {"cache": str(plan.store.root.parent / "verdicts.sqlite")},
    )


def _rank_params(plan: Plan, failures: Mapping[str, str]) -> dict[str, Any]:
    suite = plan.suite
    return {
        "suite": {
            "name": suite.name,
            "description": suite.description,
            "text": suite.text,
            "overrides": suite.overrides,
            "rank_by": suite.rank_by,
        },
        "candidates": [_ranked(plan, candidate, failures) for candidate in suite.candidates],
        "metrics": [{"name": e.name, "evaluator": e.plugin} for e in _unique(suite, "evaluators")],
        "judges": [{"name": j.name, "against": j.against} for j in _unique(suite, "judges")],
    }


def _unique(suite: Suite, kind: str) -> list[Any]:
    """The evaluators or judges of all candidates, in the suite's order, each name once."""
    found = {spec.name: spec for spec in getattr(suite, kind)}
    for candidate in suite.candidates:
        for spec in getattr(candidate, kind):
            found.setdefault(spec.name, spec)
    return list(found.values())


def _ranked(plan: Plan, candidate: Candidate, failures: Mapping[str, str]) -> dict[str, Any]:
    """What the rank stage is told of a candidate."""
    trained = candidate.method is not None
    return {
        "name": candidate.name,
        "backend": candidate.backend.name,
        "method": candidate.method.name if candidate.method else None,
        "model": _shown(candidate.model, plan.suite.folder),
        "recipe": {
            "method": candidate.method.options if candidate.method else {},
            "training": candidate.training if trained else {},
            "generation": candidate.generation,
            "prompting": plan.suite.prompting,
        },
        "seeds": [trial.seed for trial in trials(candidate)],
        "trials": [_ranked_trial(plan, trial, failures) for trial in trials(candidate)],
    }


def _shown(model: ModelRef, folder: Path) -> str:
    """A local model below the suite's folder, or its own name: a report that is sent on tells no paths."""
    path = Path(model.name_or_path)
    if not path.is_absolute():
        return model.name_or_path
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _ranked_trial(plan: Plan, trial: Trial, failures: Mapping[str, str]) -> dict[str, Any]:
    def outcomes(stage: str) -> dict[str, Any]:
        prefix = f"{stage} {trial.label} "
        mine = [name for name in plan.steps if name.startswith(prefix)]
        return {
            name.removeprefix(prefix): {"failure": failures[name]} if name in failures else name
            for name in mine
        }

    train, predict = f"train {trial.label}", f"predict {trial.label}"
    failed = next((name for name in (train, predict) if name in failures), None)
    return {
        "seed": trial.seed,
        "failure": {"stage": failed.split()[0], "message": failures[failed]} if failed else None,
        "train": train if train in plan.steps and train not in failures else None,
        "predict": predict if predict not in failures else None,
        "evaluate": outcomes("evaluate"),
        "judges": outcomes("judge"),
    }
