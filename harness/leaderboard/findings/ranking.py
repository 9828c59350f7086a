"""Who leads by what ranks the board, who may be as good, and what it would take to tell neighbours apart."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from harness import format as fmt
from harness.judging.leading import more_prompts
from harness.leaderboard.findings import otherwise
from harness.leaderboard.findings.judges import preferred, why_refused
from harness.leaderboard.findings.words import (
    MOST_NAMES,
    OUTCOMES,
    are,
    difference,
    few,
    score,
    some,
    standings,
)
from harness.leaderboard.measurements import INSTEAD
from harness.leaderboard.standing import ranking_pairs
from harness.records import ALL
from harness.stats.multiplicity import NO_DIFFERENCE

Json = Mapping[str, Any]
NEIGHBOURS = 3
"""At most so many pairs of neighbours that cannot be told apart are listed; the page has them all."""
WORTH_SAYING = 1.05
"""A training that costs so many times less is called cheaper."""
PRACTICAL = 100_000
"""Where more prompts than this would be needed, their number is not given."""
CHEAPER = {"train_cost_usd": "cheaper", "train_seconds": "faster"}


def by_rank(results: Json) -> Iterator[str]:
    """The leader first: this sentence is shown alone above the board."""
    ranks_by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == ranks_by), None)
    judge = next((j for j in results["judges"] if j["name"] == ranks_by), None)
    if metric is not None:
        yield from _by_metric(metric, results)
    elif judge is not None:
        yield from _by_judge(judge, results)


def _by_metric(metric: Json, results: Json) -> Iterator[str]:
    base, *others = results["candidates"]
    ranked = [candidate for candidate in others if candidate["rank"]]
    apart = [c["name"] for c in others if "incomparable" in c["scores"].get(metric["name"], {})]
    if ranked:
        yield _leader(
            ranked, base, metric, " among equal tokenizers" if apart else "", _equals(ranked, results)
        )
        yield from _order(ranked, results, "ranked candidate" if apart else "candidate", metric["label"])
        yield from _beside_others(ranked, results, metric["unit"])
    else:
        yield f"No candidate can be ranked by {metric['label']}, as this board is to be."
    if apart:
        yield (
            f"{fmt.listed(apart)} {are(apart)} not ranked: {metric['label']} is per token, and another "
            f"tokenizer makes other tokens; {INSTEAD}."
        )
    compared = {c["name"]: c["differences"].get(metric["name"], {}) for c in ranked}
    if told := standings(compared, f"{base['name']} by {metric['label']}"):
        yield told


def _by_judge(judge: Json, results: Json) -> Iterator[str]:
    ranked = [candidate for candidate in results["candidates"][1:] if candidate["rank"]]
    if reason := why_refused(judge):
        yield f"No candidate is ranked, as this board is to be by the judge {judge['name']}: {reason}."
    elif not ranked:
        yield f"No candidate can be ranked by the judge {judge['name']}, as this board is to be."
    else:
        told = preferred(judge, {row["name"]: row["win_rates"][judge["name"]] for row in ranked})
        yield from _with_equals(told, ranked, results)
        rivals = "candidate" if judge["against"] == ALL else f"candidate compared with {judge['against']}"
        yield from _order(ranked, results, rivals, f"the judge {judge['name']}")
        yield from _beside_others(ranked, results, "%")


def _with_equals(told: Iterable[str], ranked: Sequence[Json], results: Json) -> Iterator[str]:
    """A judge's headline; it names nobody alone whom the judge cannot tell from another."""
    for sentence in told:
        if equals := _equals(ranked, results):
            leader = ranked[0]["name"]
            yield f"{sentence.removesuffix('.')}; {some(equals)} cannot be told apart from {leader}."
        else:
            yield sentence


def _alike(results: Json) -> set[frozenset[str]]:
    """Every two that what ranks cannot tell apart."""
    pairs = ranking_pairs(results)
    return {frozenset((pair["a"], pair["b"])) for pair in pairs if pair["verdict"] == NO_DIFFERENCE}


def _equals(ranked: Sequence[Json], results: Json) -> list[str]:
    """Who of the others cannot be told apart from the leader."""
    leader, *others = (row["name"] for row in ranked)
    alike = _alike(results)
    return [name for name in others if {leader, name} in alike]


def _order(ranked: Sequence[Json], results: Json, rivals: str, by: str) -> Iterator[str]:
    alike = _alike(results)
    told = {frozenset((pair["first"], pair["second"])) for pair in _level(results)}
    yield from _beside([candidate["name"] for candidate in ranked], alike, rivals, by, told)


def _beside_others(ranked: Sequence[Json], results: Json, unit: str) -> Iterator[str]:
    """What else sees the leader beside the next, which first is told if the two cannot be told apart."""
    parts = [otherwise.seen_by_others(ranked, results), _neighbours(results, unit)]
    if any(pair["first"] == ranked[0]["name"] for pair in _level(results)):
        parts.reverse()
    yield from itertools.chain(*parts)


def _leader(ranked: Sequence[Json], base: Json, metric: Json, among: str, equals: Sequence[str]) -> str:
    """Who has the best figure, from whom this one cannot be told apart, and what it is beside base's."""
    leader, name, unit = ranked[0], metric["name"], metric["unit"]
    mine, apart = leader["scores"][name], leader["differences"].get(name, {})
    sign, way = (1, "higher") if metric["higher_is_better"] else (-1, "lower")
    behind = "value" in apart and sign * apart["value"] < 0
    # Base is not ranked, and no headline may call a figure the best that base's is better than.
    beside = f", after {base['name']}'s" if behind else ""
    level = [row["name"] for row in ranked if row["scores"][name]["value"] == mine["value"]]
    who = f"{few(level, level, 'at the top')} {'has' if len(level) == 1 else 'have'}"
    rivals = [rival for rival in equals if rival not in level]
    but = f", but cannot be told apart from {some(rivals)}" if rivals else ""
    head = (
        f"{who} the best {metric['label']}{among}{beside} ({way} is better){but}: "
        f"{fmt.with_interval(mine, unit)}, n = {fmt.count(mine['n'])}."
    )
    if "value" not in apart:
        return head
    value, low, high = (apart[key] for key in ("value", "low", "high"))
    span = fmt.difference_interval(value, low, high, unit)
    theirs = score(base["scores"][name], unit)
    return (
        f"{head} That is {OUTCOMES[apart['verdict']]} {base['name']}'s {theirs}: difference "
        f"{fmt.difference(value, unit, low, high)} [{span}], n = {fmt.count(apart['n'])}, "
        f"{_p_after_correction(apart)}{_of_one_seed(leader, apart)}."
    )


def _of_one_seed(leader: Json, apart: Json) -> str:
    """A test over examples does not hold what another training by the same recipe would change."""
    once = leader["training"] and len(leader["seeds"]) == 1 and apart["verdict"] != NO_DIFFERENCE
    return "; trained with one seed" if once else ""


def _p_after_correction(apart: Json) -> str:
    """The interval before it is that of one comparison: where correction matters, the sentence says so."""
    corrected = fmt.p_value(apart["p_adjusted"])
    if not corrected:
        return "p undefined"
    return corrected if corrected == fmt.p_value(apart["p_value"]) else f"{corrected} after correction"


def _beside(
    names: Sequence[str], alike: Set[frozenset[str]], rivals: str, by: str, told: Set[frozenset[str]]
) -> Iterator[str]:
    """Who may be as good as the leader, and which of the others cannot be told apart from one another.

    Two are spoken of as neighbours, those in `told` with figures; here are the groups of three and more.
    """
    leader, *others = names
    equals = [name for name in others if {leader, name} in alike]
    if len(equals) == 1 and {leader, *equals} in told:
        pass
    elif equals:
        told_of = few(equals, others, "others")
        yield f"{told_of} cannot be told apart from {leader}: the order among them may be chance."
    elif others:
        yield f"{leader} is ahead of every other {rivals} by {by}."
    groups = [g for g in _groups([n for n in others if n not in equals], alike) if len(g) > 2]
    if groups:
        yield f"These cannot be told apart: {'; '.join(map(_run, groups))}."


def _run(names: Sequence[str]) -> str:
    """Some that follow each other in the order."""
    if len(names) <= MOST_NAMES:
        return fmt.listed(names)
    return f"{names[0]} to {names[-1]} ({fmt.count(len(names))} in order of rank)"


def _groups(names: Sequence[str], alike: Set[frozenset[str]]) -> list[list[str]]:
    """The longest runs of the order in which no two can be told apart; runs may overlap."""
    found: list[list[str]] = []
    reached = 0
    for start in range(len(names)):
        end = start + 1
        while end < len(names) and all({name, names[end]} in alike for name in names[start:end]):
            end += 1
        if end - start > 1 and end > reached:
            found.append(list(names[start:end]))
            reached = end
    return found


def _neighbours(results: Json, unit: str) -> Iterator[str]:
    """Neighbours that cannot be told apart: how large the difference may be, and what settles the choice."""
    for pair in _level(results):
        cheaper = pair["cheaper"]
        saving = (
            f"; {cheaper['name']} trained {fmt.number(cheaper['times'], 2)} times {CHEAPER[cheaper['by']]}"
            if cheaper and cheaper["times"] >= WORTH_SAYING
            else ""
        )
        names = f"{pair['first']} and {pair['second']}"
        told = f"{difference(pair, unit)}{_in_spite_of(pair)}"
        yield f"{names} cannot be told apart ({told}){saving}.{_needed(pair)}"


def _level(results: Json) -> list[Json]:
    """The first few neighbours that cannot be told apart."""
    level = [pair for pair in results["neighbours"] if pair["verdict"] == NO_DIFFERENCE]
    return [pair for pair in level[:NEIGHBOURS] if pair["low"] is not None]


def _in_spite_of(pair: Json) -> str:
    """Why two cannot be told apart whose interval, that of one comparison, leaves 0 out."""
    if not pair["low"] * pair["high"] > 0:
        return ""
    corrected = fmt.p_value(pair["p_adjusted"])
    return f", {corrected} after correction" if corrected else ""


def _needed(pair: Json) -> str:
    more = pair["more_prompts"]
    if more is None:
        return ""
    if more > PRACTICAL:
        return f" More than {fmt.count(PRACTICAL)} more prompts would be needed."
    return f" {more_prompts(more).capitalize()} would be needed, if that is the true difference."
