"""Who leads by an analysis of one judge's verdicts, and who cannot be told apart, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.table import UNPARSED_LIMIT
from harness.records import ALL
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE
from harness.stats.rates import EVEN

Json = Mapping[str, Any]
_MOST = 5
"""Pairs that a sentence names, or sentences on pairs."""
_ALIKE = 1e-9
"""Win rates that differ by less are equal."""


def standing(judge: str, analysis: Json) -> Iterator[str]:
    """The leader, whom it is shown to beat, and what takes from that."""
    names = [name for name in ranked(analysis) if is_read(analysis["rates"][name])]
    if analysis["refused"] or not names:
        return
    against = analysis["against"]
    rates = {name: analysis["rates"][name] for name in names}
    if told := preferred(judge, rates, opponent_of(against), order=by_rating(analysis)):
        yield told
    beaten = _beaten(analysis, names[0])
    alike = [name for name in names[1:] if name not in beaten]
    others = "every other player" if against == ALL else f"the others compared with {against}"
    if len(names) > 1 and not alike:
        yield f"{names[0]} is ahead of {others}."
    elif alike:
        yield f"{fmt.listed(alike)} cannot be told apart from {names[0]}: the order among them may be chance."


def reservations(judge: str, analysis: Json) -> Iterator[str]:
    """Differences that the tests show and that are no verdicts, and verdicts that hang on what was unread."""
    rows = [*analysis["pairs"], *analysis["differences"]]
    if analysis["refused"]:
        return
    place = [row for row in rows if row["withheld"] == "position"]
    unread = [row for row in rows if row["withheld"] == "unread"]
    fragile = [row for row in rows if row["survives"] is False]
    if place:
        yield (
            f"{_pairs(place)} cannot be told apart although p < {ALPHA}: one stood first more often, and "
            "would lead as far by a judge who looks at nothing else."
        )
    if unread:
        yield (
            f"{_pairs(unread)} cannot be told apart although p < {ALPHA}: more than {UNPARSED_LIMIT:.0%} of "
            f"{judge}'s verdicts on one of them could not be read."
        )
    if fragile:
        yield (
            f"That {_verdicts(fragile)} rests on what could be read: had all other verdicts gone against the "
            "better one, it would not be shown."
        )


def preferred(
    judge: str, rates: Mapping[str, Json], opponent: str, kind: str = "", order: Sequence[str] = ()
) -> str:
    """Whom a judge prefers of the players in `rates`, how often, how steadily; `kind` describes the judge.

    `order` lists them by rating, where they are ranked by that. Players on whom too much could not be read
    are not spoken of; empty where none is left.
    """
    values = {
        name: rate["rules"]["average"]["value"]
        for name, rate in rates.items()
        if rate["rules"]["average"]["value"] is not None and is_read(rate)
    }
    if not values:
        return ""
    first = max(values, key=lambda name: values[name])
    equals = [name for name in values if values[first] - values[name] < _ALIKE]
    top = next((name for name in order if name in values), first)
    if top not in equals:
        wins = _wins(rates[top], opponent)
        if {rate["verdict"] for rate in rates.values()} == {NO_DIFFERENCE}:
            return f"Judge {judge}{kind} tells nobody apart from {opponent}; {top}, rated highest, {wins}."
        return f"Judge {judge}{kind} rates {top} highest, by whom it met: it {wins}."
    said = f"Judge {judge}{kind} {_preference(equals, rates, _met(rates[first], opponent))}"
    if len(equals) > 1:
        return f"{said} each wins {fmt.share(values[first])} against {opponent}."
    return f"{said} {_wins(rates[first], opponent)}."


def _preference(first: Sequence[str], rates: Mapping[str, Json], opponent: str) -> str:
    """What is shown of a judge's preference, `first` being who win most; no other is claimed."""
    names, rate = fmt.listed(first), rates[first[0]]
    if all(rates[name]["verdict"] == "better" for name in first):
        return f"most prefers {names}: it" if len(first) == 1 else f"prefers {names} alike:"
    place = f"{names}, the {'highest' if rate['rules']['average']['value'] > EVEN else 'nearest'},"
    verdicts = {other["verdict"] for other in rates.values()}
    if verdicts == {"worse"}:
        return f"prefers {opponent} to every other; {place}"
    if verdicts == {NO_DIFFERENCE}:
        return f"tells nobody apart from {opponent}; {place}"
    return f"shows nobody to be better than {opponent}; {place}"


def is_read(rate: Json) -> bool:
    """Whether enough of a player's verdicts could be read to speak of it."""
    return not (rate["unparsed"] or 0) > UNPARSED_LIMIT


def _wins(rate: Json, opponent: str) -> str:
    """How often one wins, against whom, what that is worth, and how steady the verdicts are."""
    average, against = rate["rules"]["average"], _met(rate, opponent)
    share, pairs = rate["consistency"], fmt.count(rate["pairs"])
    alike = "" if share is None else f"; {fmt.share(share)} of {pairs} pairs are judged alike in both orders"
    return (
        f"wins {fmt.with_interval(average, '%')} against {against}{_unproven(rate, against)}, "
        f"n = {fmt.count(average['n'])}{alike}"
    )


def _met(rate: Json, opponent: str) -> str:
    """Whom a player met, by name where that is not everybody."""
    met = rate.get("opponents")
    return opponent if not met or rate["met_all"] else fmt.listed(met)


def _unproven(rate: Json, opponent: str) -> str:
    reasons = {"position": "standing first more often would do as much", "unread": "too much was unread"}
    reason = reasons.get(rate.get("withheld") or "", "")
    return f" (it cannot be told apart from {opponent}: {reason})" if reason else ""


def opponent_of(against: str) -> str:
    """What the opponent of a judge's players is called in a sentence."""
    return "the field" if against == ALL else against


def ranked(analysis: Json) -> list[str]:
    """The players that were rated, best first: by ability where there is one, else by win rate."""
    if analysis["abilities"]:
        order = [row["player"] for row in analysis["abilities"]]
        return [name for name in order if name in analysis["rates"]]
    rates = rated(analysis)
    return sorted(rates, key=lambda name: -rates[name])


def by_rating(analysis: Json) -> list[str]:
    """The players of a round robin by ability, best first; empty where they are not ranked by that."""
    abilities = analysis["abilities"] if analysis["against"] == ALL else None
    return [row["player"] for row in abilities or ()]


def rated(analysis: Json) -> dict[str, float]:
    """Player -> its win rate by the default rule, where it has one."""
    rates = {name: rate["rules"]["average"]["value"] for name, rate in analysis["rates"].items()}
    return {name: value for name, value in rates.items() if value is not None}


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


def neighbours(analysis: Json) -> Iterator[str]:
    """What it would take to separate those who stand next to each other, where they met."""
    names = ranked(analysis)
    if analysis["refused"]:
        return
    met = {frozenset((pair["a"], pair["b"])): led_by(pair) for pair in analysis["pairs"]}
    beside = [met.get(frozenset(names[i : i + 2])) for i in range(len(names) - 1)]
    unshown = [pair for pair in beside if pair and pair["n"] and pair["verdict"] == NO_DIFFERENCE]
    alike = [pair for pair in unshown if pair["withheld"] is None]
    for pair in alike[:_MOST]:
        average, more = pair["rules"]["average"], pair["more_prompts"]
        told = f"{pair['a']} wins {fmt.with_interval(average, '%')}, n = {fmt.count(average['n'])}"
        if p_value := fmt.p_value(pair["p_adjusted"]):
            told += f", {p_value} after correction"
        if more is not None:
            told += f"; {more_prompts(more)} would show a difference of that size, if it is the true one"
        yield f"{pair['a']} and {pair['b']} cannot be told apart: {told}."


def more_prompts(count: int) -> str:
    """`about 37,000 more prompts`."""
    return f"about {fmt.about(count)} more prompt{'' if count == 1 else 's'}"


def _beaten(analysis: Json, name: str) -> set[str]:
    rows = [*analysis["pairs"], *analysis["differences"]]
    won = {(row["a"], row["b"]) for row in rows if row["verdict"] == "a"}
    won |= {(row["b"], row["a"]) for row in rows if row["verdict"] == "b"}
    return {loser for winner, loser in won if winner == name}


def _pairs(rows: Sequence[Json]) -> str:
    return _some([f"{row['a']} and {row['b']}" for row in rows])


def _verdicts(rows: Sequence[Json]) -> str:
    sides = [("a", "b") if row["verdict"] == "a" else ("b", "a") for row in rows]
    return _some(
        [f"{row[one]} is better than {row[other]}" for row, (one, other) in zip(rows, sides, strict=True)]
    )


def _some(told: Sequence[str]) -> str:
    more = [f"{len(told) - _MOST} more"] if len(told) > _MOST else []
    return "; ".join([*told[:_MOST], *more])
