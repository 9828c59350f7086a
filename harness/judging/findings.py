"""What an analysis of verdicts says, in plain sentences, each made from the figures it cites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.pairs import ALPHA, FIELD, NO_DIFFERENCE
from harness.judging.panels import EVEN

Json = Mapping[str, Any]
_MOST = 5
"""Pairs that a sentence names, or sentences on pairs."""


def findings(analysis: Json) -> list[str]:
    """Who leads, who cannot be told apart and what it would take, and how far the judge is to be trusted."""
    return [
        *_refusal(analysis),
        *_standing(analysis),
        *_neighbours(analysis),
        *_rules(analysis),
        *_position(analysis),
        *_unparsed(analysis),
        *_length(analysis),
        *_controls(analysis),
    ]


def ranked(analysis: Json) -> list[str]:
    """The players that were rated, best first: by ability where there is one, else by win rate."""
    if analysis["abilities"]:
        order = [row["player"] for row in analysis["abilities"]]
        return [name for name in order if name in analysis["rates"]]
    rated = {name: rate["rules"]["average"]["value"] for name, rate in analysis["rates"].items()}
    return sorted((name for name in rated if rated[name] is not None), key=lambda name: -rated[name])


def interval(estimate: Json, unit: str = "%") -> str:
    """`54.1% [46.3 – 61.9%]`."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    if value is None:
        return fmt.MISSING
    span = fmt.interval(value, low, high, unit)
    return f"{fmt.score(value, unit, low, high)} [{span}]" if span else fmt.score(value, unit)


def led_by(pair: Json) -> Json:
    """A pair from the side of the one who is ahead by the average."""
    value = pair["rules"]["average"]["value"]
    if value is None or value >= EVEN:
        return pair
    rules = {rule: _turned(rate) for rule, rate in pair["rules"].items()}
    verdict = {"a": "b", "b": "a"}.get(pair["verdict"], pair["verdict"])
    return {**pair, "a": pair["b"], "b": pair["a"], "rules": rules, "verdict": verdict}


def _turned(rate: Json) -> Json:
    if rate["value"] is None:
        return rate
    low, high = (None if end is None else 1 - end for end in (rate["high"], rate["low"]))
    return {**rate, "value": 1 - rate["value"], "low": low, "high": high}


def _refusal(analysis: Json) -> Iterator[str]:
    if analysis["refused"]:
        yield f"No ranking: {analysis['refused']}."


def _standing(analysis: Json) -> Iterator[str]:
    """The leader, and whom it is shown to beat."""
    names = ranked(analysis)
    if analysis["refused"] or not names:
        return
    yield _best(names[0], analysis["rates"][names[0]])
    beaten = _beaten(analysis, names[0])
    alike = [name for name in names[1:] if name not in beaten]
    if len(names) > 1 and not alike:
        yield f"{names[0]} is ahead of every other player."
    elif alike:
        yield f"{_listed(alike)} cannot be told apart from {names[0]}: the order among them may be chance."


def _best(name: str, rate: Json) -> str:
    average = rate["rules"]["average"]
    opponent = "all others" if rate["against"] == FIELD else rate["against"]
    wins = f"wins {interval(average)}"
    told = f"{name} {wins} against {opponent}, the most of all"
    if average["value"] < EVEN:
        told = f"Nobody wins half against {opponent}: {name}, the nearest, {wins}"
    p_value = fmt.p_value(rate["p_adjusted"]) or "p unknown"
    return f"{told}, n = {fmt.count(average['n'])} prompts, {p_value} after Holm's correction."


def _beaten(analysis: Json, name: str) -> set[str]:
    rows = [*analysis["pairs"], *analysis["differences"]]
    won = {(row["a"], row["b"]) for row in rows if row["verdict"] == "a"}
    won |= {(row["b"], row["a"]) for row in rows if row["verdict"] == "b"}
    return {loser for winner, loser in won if winner == name}


def _neighbours(analysis: Json) -> Iterator[str]:
    """What it would take to separate those who stand next to each other, where they met."""
    names = ranked(analysis)
    if analysis["refused"]:
        return
    met = {frozenset((pair["a"], pair["b"])): led_by(pair) for pair in analysis["pairs"]}
    beside = [met.get(frozenset(names[i : i + 2])) for i in range(len(names) - 1)]
    alike = [pair for pair in beside if pair and pair["n"] and pair["verdict"] == NO_DIFFERENCE]
    for pair in alike[:_MOST]:
        average, needed = pair["rules"]["average"], pair["prompts_needed"]
        told = f"{pair['a']} wins {interval(average)}, n = {fmt.count(average['n'])}"
        if needed and needed > pair["n"]:
            more = fmt.count(_rounded(needed - pair["n"]))
            told += f"; about {more} more prompts would show a difference of that size"
        yield f"{pair['a']} and {pair['b']} cannot be told apart: {told}."


def _rounded(count: float) -> float:
    """Two significant digits: more would be a promise."""
    scale = 10.0 ** max(len(str(int(count))) - 2, 0)
    return round(count / scale) * scale


def _rules(analysis: Json) -> Iterator[str]:
    """Where the rule of aggregation decides who wins."""
    split = []
    for pair in analysis["pairs"]:
        values = [rule["value"] for rule in pair["rules"].values() if rule["value"] is not None]
        if values and min(values) < EVEN < max(values):
            split.append(f"{pair['a']} and {pair['b']}")
    if split:
        shown = _listed(split if len(split) <= _MOST else [*split[:_MOST], f"{len(split) - _MOST} more"])
        yield f"Who is ahead depends on the rule of aggregation between {shown}: such a lead is none."


def _position(analysis: Json) -> Iterator[str]:
    yield _once(analysis) if analysis["swaps"]["consistency"] is None else _flips(analysis["swaps"])
    if analysis["position"]:
        yield f"Standing first helps by {interval(analysis['position'], '')} in logits (Bradley-Terry)."


def _once(analysis: Json) -> str:
    if analysis["symmetric"]:
        return "Consistency is not known: the order of the answers is not recorded, or means nothing."
    if analysis["position"]:
        return "Consistency is not known: each pair was judged in one order only."
    return (
        "Consistency is not known: each pair was judged in one order only, and a liking for a position "
        "cannot be told from one for a player."
    )


def _flips(swaps: Json) -> str:
    first, second, p_value = swaps["flips_to_first"], swaps["flips_to_second"], swaps["position_p_value"]
    liking = f"the judge prefers what stands {'first' if first > second else 'second'}"
    says = liking if p_value < ALPHA else "no liking for a position is shown"
    return (
        f"In both orders {fmt.share(swaps['consistency'])} of {fmt.count(swaps['pairs'])} pairs are judged "
        f"alike; {fmt.share(first)} flip to the first answer, {fmt.share(second)} to the second: {says} "
        f"({fmt.p_value(p_value)})."
    )


def _unparsed(analysis: Json) -> Iterator[str]:
    if analysis["unparsed"] and not analysis["refused"]:
        kinds = ", ".join(f"{fault} {fmt.count(n)}" for fault, n in analysis["faults"].items())
        yield (
            f"{fmt.share(analysis['unparsed'])} of {fmt.count(analysis['judgments'])} verdicts could not be "
            f"read{f' ({kinds})' if kinds else ''}; they count as nothing."
        )


def _length(analysis: Json) -> Iterator[str]:
    length = analysis["length"]
    if length:
        shown = {**length, "value": length["longer_wins"]}
        yield (
            f"The longer answer wins {interval(shown)}, n = {fmt.count(length['n'])} verdicts, "
            f"{fmt.p_value(length['p_value'])}; better answers may well be longer."
        )


def _controls(analysis: Json) -> Iterator[str]:
    identical, repeats = analysis["controls"]["identical"], analysis["controls"]["repeats"]
    if identical["n"]:
        n, *others = (fmt.count(identical[key]) for key in ("n", "ties", "to_first", "to_second", "unparsed"))
        ties, first, second, unread = others
        yield (
            f"Of {n} pairs of identical answers {ties} are ties, {first} go to the first and {second} to the "
            f"second answer, {unread} are unparsed: all should tie."
        )
    if repeats["same"] + repeats["changed"]:
        yield (
            f"Asked again, the judge says the same of {fmt.count(repeats['same'])} of "
            f"{fmt.count(repeats['same'] + repeats['changed'])} pairs."
        )


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
