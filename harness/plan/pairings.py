"""Who is compared with whom, by which judge: the judge steps of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import Any, NamedTuple

from harness.errors import SuiteError
from harness.plan.steps import Plan, Trial, trials
from harness.suite import ALL, REFERENCE, Candidate, JudgeSpec, Suite


class Pairing(NamedTuple):
    """A trial and its opponent, None being the reference answers."""

    trial: Trial
    opponent: Trial | None

    @property
    def player(self) -> str:
        """What the opponent is called."""
        return self.opponent.candidate.name if self.opponent else REFERENCE

    def sampling(self, judge: JudgeSpec, share: int | None) -> dict[str, Any]:
        """The parameters by which the judge's prompts are drawn; `share` as `share_of` gives it."""
        params = {"opponent": self.player, "max_prompts": judge.max_prompts, "max_pairs": share}
        return params if share is None else {**params, "candidate": self.trial.candidate.name}


def add_judges(plan: Plan, identities: Mapping[str, str | None]) -> None:
    """Add a step for each pairing of each judge. `identities`: judge -> its own word on what it is."""
    judges = judges_of(plan.suite)
    found = {name: pairings(plan.suite, name) for name in judges}
    members_first = list(TopologicalSorter({j.name: j.members for j in judges.values()}).static_order())
    for candidate in plan.suite.candidates:
        for trial in trials(candidate):
            for name in members_first:
                for pairing in found[name]:
                    if pairing.trial == trial:
                        share = share_of(judges[name], len(found[name]))
                        _add_judge(plan, judges[name], pairing, identities[name], share)


def judges_of(suite: Suite) -> dict[str, JudgeSpec]:
    """The judges of all candidates by name, in the suite's order."""
    lists = [suite.judges, *(candidate.judges for candidate in suite.candidates)]
    return {judge.name: judge for judges in lists for judge in judges}


def pairings(suite: Suite, name: str) -> list[Pairing]:
    """All pairings of a judge.

    In a round robin a candidate meets those before it in the suite that have the judge too. Of an opponent
    with several seeds a trial meets the one of its own seed or, where there is none, the first.
    """
    found: list[Pairing] = []
    met: list[Candidate] = []
    for candidate in suite.candidates:
        judge = next((judge for judge in candidate.judges if judge.name == name), None)
        if judge is None:
            continue
        for trial in trials(candidate):
            if judge.against == ALL:
                found += [Pairing(trial, _rival(trial, other)) for other in met]
            elif judge.against == REFERENCE != candidate.name:
                found.append(Pairing(trial, None))
            elif judge.against != candidate.name:
                opponent = next(c for c in suite.candidates if c.name == judge.against)
                found.append(Pairing(trial, _rival(trial, opponent)))
        met.append(candidate)
    return found


def _rival(trial: Trial, opponent: Candidate) -> Trial:
    rivals = trials(opponent)
    return next((rival for rival in rivals if rival.seed == trial.seed), rivals[0])


def share_of(judge: JudgeSpec, count: int) -> int | None:
    """How many prompts each of a round robin's `count` pairings gets of `max_pairs`; None: all.

    SuiteError where that is less than one.
    """
    if judge.max_pairs is None:
        return None
    if judge.max_pairs < count:
        what = f"max_pairs is {judge.max_pairs}, and there are {count} pairs of trials to compare"
        raise SuiteError(what, where=f"{judge.where}: judges.{judge.name}", fix=f"allow at least {count}")
    return judge.max_pairs // count


def _add_judge(
    plan: Plan, judge: JudgeSpec, pairing: Pairing, identity: str | None, share: int | None
) -> None:
    trial, opponent = pairing
    params: dict[str, Any] = {
        "judge": judge.plugin,
        "identity": identity,
        "name": judge.name,
        **pairing.sampling(judge, share),
        "controls": judge.controls,
    }
    after = {"candidate": plan.of(trial, "predict")[0].name}
    if opponent is not None:
        after["opponent"] = plan.of(opponent, "predict")[0].name
    members = [_member(plan, name, pairing) for name in judge.members]
    after |= {f"member {index}": name for index, name in enumerate(members)}
    against = f" against {opponent.label if opponent else REFERENCE}" if judge.against == ALL else ""
    plan.add(
        "judge",
        params,
        after,
        trial=trial,
        subject=judge.name + against,
        runtime=plan.money,
        fills_device=judge.needs_device,
        opponent=opponent,
    )


def _member(plan: Plan, name: str, pairing: Pairing) -> str:
    """The step in which a panel's member compares the same pair."""
    steps = plan.of(pairing.trial, "judge")
    return next(
        step.name for step in steps if step.work.params["name"] == name and step.opponent == pairing.opponent
    )
