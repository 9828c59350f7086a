"""What the figures of a board say, in plain sentences, each made from the results and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from harness.stages.comparisons import NO_DIFFERENCE

Json = Mapping[str, Any]
MESSAGE_LENGTH = 200
OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: "not to be told apart from"}


def findings(results: Json) -> list[str]:
    """Who leads and by how much, what cannot be told apart, what the judges say, what failed."""
    return [*_by_metric(results), *_by_judges(results), *_failures(results), *_scope(results)]


def _by_metric(results: Json) -> Iterator[str]:
    metric = next((m for m in results["metrics"] if m["name"] == results["suite"]["rank_by"]), None)
    if metric is None:
        return
    base, *others = results["candidates"]
    ranked = [candidate for candidate in others if candidate["rank"]]
    if not ranked:
        yield f"No candidate has a score for {metric['label']}, by which this board is ranked."
        return
    yield _leader(ranked[0], base, metric)
    pairs = [pair for pair in results["pairs"] if pair["metric"] == metric["name"]]
    alike = {frozenset((pair["a"], pair["b"])) for pair in pairs if pair["verdict"] == NO_DIFFERENCE}
    yield from _beside([candidate["name"] for candidate in ranked], alike)
    compared = {c["name"]: c["differences"].get(metric["name"], {}) for c in ranked}
    yield from _standings(compared, f"{base['name']} by {metric['label']}")


def _leader(leader: Json, base: Json, metric: Json) -> str:
    name, unit = metric["name"], metric["unit"]
    score, difference = leader["scores"][name], leader["differences"].get(name, {})
    way = "higher" if metric["higher_is_better"] else "lower"
    head = (
        f"{leader['name']} has the best {metric['label']} ({way} is better): "
        f"{figure(score['value'], unit)} {_interval(score, unit)}, n = {score['n']:,}."
    )
    if "value" not in difference:
        return head
    signed = {end: _signed(difference[end], unit) for end in ("value", "low", "high")}
    return (
        f"{head} That is {OUTCOMES[difference['verdict']]} {base['name']}'s "
        f"{figure(base['scores'][name]['value'], unit)}: difference {signed['value']} "
        f"[{signed['low']}, {signed['high']}], n = {difference['n']:,}, {p_value(difference['p_adjusted'])}."
    )


def _beside(names: Sequence[str], alike: Set[frozenset[str]]) -> Iterator[str]:
    """Who may be as good as the leader, and which of the others cannot be told apart from one another."""
    leader, *others = names
    equals = [name for name in others if {leader, name} in alike]
    if equals:
        yield f"{_listed(equals)} cannot be told apart from {leader}: the order among them may be chance."
    elif others:
        yield f"{leader} is ahead of every other candidate."
    groups = _groups([name for name in others if name not in equals], alike)
    if groups:
        yield f"These cannot be told apart: {'; '.join(map(_listed, groups))}."


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


def _standings(compared: Mapping[str, Json], opponent: str) -> Iterator[str]:
    """Which candidates are better than an opponent, which worse, and of which neither is shown."""
    parts = []
    for verdict, words in OUTCOMES.items():
        names = [name for name, figures in compared.items() if figures.get("verdict") == verdict]
        if names:
            parts.append(f"{_listed(names)} {'is' if len(names) == 1 else 'are'} {words} {opponent}")
    if parts:
        smallest = min(figures["n"] for figures in compared.values() if "n" in figures)
        yield f"{'; '.join(parts)} (paired, n ≥ {smallest:,}, p < 0.05 after Holm's correction)."


def _by_judges(results: Json) -> Iterator[str]:
    for judge in results["judges"]:
        rates = {
            candidate["name"]: candidate["win_rates"][judge["name"]]
            for candidate in results["candidates"]
            if "rules" in candidate["win_rates"].get(judge["name"], {})
        }
        if rates:
            yield _preferred(judge, rates)
            yield from _standings(rates, f"{judge['against']} by {judge['name']}")


def _preferred(judge: Json, rates: Mapping[str, Json]) -> str:
    name = max(rates, key=lambda candidate: rates[candidate]["rules"]["average"]["value"])
    rate, average = rates[name], rates[name]["rules"]["average"]
    reference = "judge:reference" in judge["signature"].split("|")
    measures = " (likeness to the reference answer by chrF, not quality)" if reference else ""
    return (
        f"Judge {judge['name']}{measures} most prefers {name}: it wins {figure(average['value'], '%')} "
        f"{_interval(average, '%')} against {judge['against']}, n = {average['n']:,}; "
        f"{figure(rate['consistency'], '%')} of {rate['pairs']:,} pairs are judged alike in both orders."
    )


def _failures(results: Json) -> Iterator[str]:
    for candidate in results["candidates"]:
        if candidate["failure"]:
            message = " ".join(candidate["failure"]["message"].split())
            cut = message if len(message) <= MESSAGE_LENGTH else message[: MESSAGE_LENGTH - 1] + "…"
            yield f"{candidate['name']} failed in {candidate['failure']['stage']}: {cut}"


def _scope(results: Json) -> Iterator[str]:
    trained = [len(c["seeds"]) for c in results["candidates"] if c["training"]]
    if trained and max(trained) == 1:
        yield (
            "Intervals are 95%, over the eval examples; each candidate was trained with one seed, so they do "
            "not hold what another seed would change."
        )


def figure(value: float | None, unit: str, *, points: bool = False) -> str:
    """A value as text: fractions with the unit % times 100 (`points`: of a difference), else 3 digits."""
    if value is None:
        return "n/a"
    if unit == "%":
        return f"{100 * value:.1f}" + (" points" if points else "%")
    digits = 2 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(digits, 0), 6)}f}"


def p_value(value: float | None) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    if value is None:
        return "p undefined"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _signed(value: float | None, unit: str) -> str:
    if value is None:
        return "n/a"
    sign = "−" if value < 0 else "+"
    return sign + figure(abs(value), unit, points=True)


def _interval(score: Json, unit: str) -> str:
    return f"[{figure(score['low'], unit)}, {figure(score['high'], unit)}]"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
