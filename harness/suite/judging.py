"""What a suite says of its judges: against whom, how often, and whose verdicts a panel combines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness import registry
from harness.protocols import trait
from harness.records import ALL, REFERENCE
from harness.suite.keys import JudgeKeys
from harness.suite.sections import Reader, Written
from harness.suite.selection import Chosen, read_prompts
from harness.suite.specs import JudgeSpec
from harness.validation import suggestion


def read_judge(reader: Reader, chosen: Chosen, candidates: Sequence[str], where: str) -> JudgeSpec:
    """The judge, held against one of `candidates`, the references or everyone."""
    options = chosen.options
    own = {key: value for key, value in options.value.items() if key in JudgeKeys.model_fields}
    keys = reader.section(JudgeKeys, Written(own, options.path))
    opponents = [*candidates, REFERENCE, ALL]
    if keys.against not in opponents:
        what = f"no candidate '{keys.against}'"
        fix = suggestion(keys.against, opponents)
        others = f"{REFERENCE} (the reference answers) and {ALL} (each with each)"
        listed = f"known are {', '.join(candidates)}, and beside them {others}"
        reader.fault(options.at("against"), what, fix if fix.startswith("did") else listed)
    if keys.max_pairs is not None and keys.against != ALL:
        what = "is for a round robin, and this judge compares with one opponent"
        reader.fault(options.at("max_pairs"), what, "write max_prompts, or against: all")
    judge = registry.create(chosen.spec)
    members = tuple(trait(judge, "members"))
    symmetric = bool(trait(judge, "symmetric"))
    if keys.controls and (members or symmetric):
        kind = "combines the verdicts of others" if members else "sees no order and has no noise"
        reader.fault(options.at("controls"), f"this judge {kind}", "leave it out")
    return JudgeSpec(
        chosen.name,
        chosen.spec,
        keys.against,
        keys.max_prompts,
        keys.max_pairs,
        keys.controls,
        members,
        symmetric,
        bool(trait(judge, "needs_device")),
        trait(judge, "verdicts_of"),
        read_prompts(reader, chosen),
        where,
    )


def with_members_opponents(judges: Sequence[JudgeSpec], chosen: Sequence[Chosen]) -> tuple[JudgeSpec, ...]:
    """The judges; one that combines others and says no `against` has theirs, where they have the same."""
    by_name = {judge.name: judge for judge in judges}
    unsaid = [each.name for each in chosen if "against" not in each.options.value]
    for _ in judges:  # panels of panels: each round takes what the round before brought
        for name in unsaid:
            opponents = {by_name[one].against for one in by_name[name].members if one in by_name}
            if len(opponents) == 1:
                by_name[name] = replace(by_name[name], against=opponents.pop())
    return tuple(by_name[judge.name] for judge in judges)


def check_panels(reader: Reader, judges: Mapping[str, JudgeSpec], chosen: Sequence[Chosen]) -> None:
    """Note what is wrong with the judges that combine others: their verdicts must be there to combine."""
    for each in chosen:
        panel = judges[each.name]
        for member in panel.members:
            if (fault := _unfit(panel, member, judges)) is not None:
                reader.fault(each.options.path, *fault)


def _unfit(panel: JudgeSpec, name: str, judges: Mapping[str, JudgeSpec]) -> tuple[str, str] | None:
    """Why a judge cannot be a member, and the remedy."""
    member = judges.get(name)
    if member is None:
        others = [other for other in judges if other != panel.name]
        return f"combines '{name}', which is no judge beside it", suggestion(name, others)
    for key in ("against", "max_prompts", "max_pairs"):
        mine, theirs = getattr(panel, key), getattr(member, key)
        if mine != theirs:
            what = f"has {key}: {_written(mine)}, its member '{name}' has {_written(theirs)}"
            return what, "compare the same pairs with both"
    if _leads_to(panel.name, member, judges, frozenset()):
        return f"combines '{name}', which combines '{panel.name}'", "leave one of them out of the other"
    return None


def _leads_to(wanted: str, judge: JudgeSpec, judges: Mapping[str, JudgeSpec], seen: frozenset[str]) -> bool:
    """Whether a judge is, or combines however far down, the wanted one."""
    if judge.name == wanted:
        return True
    members = [judges[name] for name in judge.members if name in judges and name not in seen]
    return any(_leads_to(wanted, member, judges, seen | {judge.name}) for member in members)


def _written(value: object) -> str:
    return "null" if value is None else str(value)
