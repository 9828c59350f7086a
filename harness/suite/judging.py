"""What a suite says of its judges: against whom, how often, and whose verdicts a panel combines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness import registry
from harness.suite.keys import JudgeKeys
from harness.suite.sections import Reader, Written
from harness.suite.selection import Chosen
from harness.suite.specs import ALL, REFERENCE, JudgeSpec
from harness.validation import suggestion


def read_judge(reader: Reader, chosen: Chosen, candidates: Sequence[str], where: str) -> JudgeSpec:
    """The judge, held against one of `candidates`, the references or everyone."""
    options = chosen.options
    own = {key: value for key, value in options.value.items() if key in JudgeKeys.model_fields}
    keys = reader.section(JudgeKeys, Written(own, options.path))
    opponents = [*candidates, REFERENCE, ALL]
    if keys.against not in opponents:
        what = f"no candidate '{keys.against}'"
        reader.fault(options.at("against"), what, suggestion(keys.against, opponents))
    if keys.max_pairs is not None and keys.against != ALL:
        what = "is for a round robin, and this judge compares with one opponent"
        reader.fault(options.at("max_pairs"), what, "write max_prompts, or against: all")
    judge = registry.create(chosen.spec)
    members = tuple(getattr(judge, "members", ()))
    symmetric = bool(getattr(judge, "symmetric", False))
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
        where,
    )


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
