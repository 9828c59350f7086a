"""A plan: steps with their keys, in an order in which they can be done.

A step's key is a digest of its stage, the stage's version, its parameters and the keys of its inputs;
`runtime` is outside the key, because it cannot change a result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.plan.keys import Identities, step_key
from harness.records import to_json
from harness.store import Store
from harness.suite import Candidate, Suite
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
    though not without all. One that `fills_device` waits until it has one to itself. `opponent` is whom the
    trial is compared with in a judge's step; None: the reference answers.
    """

    name: str
    work: Work
    after: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None
    subject: str = ""
    viewed: Any = field(default=None, repr=False)
    spares: bool = False
    fills_device: bool = False
    opponent: Trial | None = None

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
    """Steps in an order in which they can be done; ranking.py makes the last, once the failures are known."""

    suite: Suite
    store: Store
    identities: Identities
    data_facts: tuple[str, ...] = ()
    """What was found in the datasets, a line each."""
    lacking: tuple[str, ...] = ()
    """Which keys of servers are to be set before a run, a line each."""
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
        fills_device: bool = False,
        opponent: Trial | None = None,
    ) -> str:
        """Add a step and return its name. `after`: input name -> name of an earlier step."""
        after = after or {}
        name = " ".join(filter(None, (stage, trial.label if trial else "", subject)))
        inputs = {as_name: self.steps[source].key for as_name, source in after.items()}
        viewed, whole = self.identities.view(params), to_json({**params, "runtime": runtime or {}})
        work = Work(step_key(stage, viewed, inputs), stage, whole, inputs)
        self.steps[name] = Step(name, work, after, trial, subject, viewed, spares, fills_device, opponent)
        return name

    @property
    def money(self) -> dict[str, Any]:
        """What a step that may ask a server needs: where replies are kept, and what the suite may spend.

        The account is the suite's name: as with its report, two suites of one name share it.
        """
        return {
            "ledger": str(self.store.root.parent / "ledger.sqlite"),
            "account": self.suite.name,
            "budget_usd": self.suite.budget_usd,
        }

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

    def of_stages(self, stages: Collection[str] | None = None) -> list[Step]:
        """The steps of these stages, or all of them."""
        return [step for step in self.steps.values() if stages is None or step.stage in stages]


def trials(candidate: Candidate) -> list[Trial]:
    """The trials of a candidate; base, which nothing random made, has one."""
    seeds = candidate.seeds[:1] if candidate.method is None else candidate.seeds
    return [Trial(candidate, seed) for seed in seeds]
