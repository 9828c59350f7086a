"""What each judge prefers, and what speaks against believing it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.leaderboard.comparisons import ALPHA, NO_DIFFERENCE
from harness.leaderboard.findings.words import listed, opponent, standings, with_interval
from harness.leaderboard.win_rates import EVEN, RULES

Json = Mapping[str, Any]
CONSTANT = 10
"""From so many prompts on, one and the same answer to all of them is no coincidence."""
TOO_OFTEN = 0.25
"""The win rate from which on a constant answer is preferred too often."""
OWN_FAULT = re.compile(r"\w+ failed|not asked for")
"""Why a candidate has no win rate, where that is not the judge's doing."""
LENGTH_JUDGE = "length"
LIKE_LENGTH = 0.2
"""The kappa from which on a judge agrees with one of nothing but length more than it should."""
LIKENESS = {"reference": " (likeness to the reference answer by chrF, not quality)"}
"""Judges whose preference is not to be mistaken for one of quality."""


def by_judges(results: Json) -> Iterator[str]:
    """First who has no word or is not believed, then what the others prefer and how far to trust them."""
    for judge in results["judges"]:
        yield from _silent(judge)
        reason = why_refused(judge)
        if reason is not None and not _ranks(judge, results):
            yield f"Judge {judge['name']} is not believed: {reason}."
    for judge in results["judges"]:
        rates = {
            candidate["name"]: candidate["win_rates"][judge["name"]]
            for candidate in results["candidates"]
            if "rules" in candidate["win_rates"].get(judge["name"], {})
        }
        if rates and why_refused(judge) is None:
            yield from _believed(judge, rates, results)
    yield from _constants(results)
    yield from _agreement(results)
    yield from _spent(results)


def _ranks(judge: Json, results: Json) -> bool:
    """Whether the board is ranked by this judge: what matters most of it was said at the head."""
    return bool(judge["name"] == results["suite"]["rank_by"])


def _believed(judge: Json, rates: Mapping[str, Json], results: Json) -> Iterator[str]:
    if not _ranks(judge, results):
        yield preferred(judge, rates)
    if told := standings(rates, f"{opponent(judge)} by {judge['name']}"):
        yield told
    yield from _rules(judge, rates)
    yield from _position(judge)
    yield from _length(judge, rates)
    yield from _controls(judge)


def why_refused(judge: Json) -> str | None:
    """Why nothing is concluded from a judge's verdicts; None where it is."""
    return judge["analysis"]["refused"] if judge["analysis"] else None


def preferred(judge: Json, rates: Mapping[str, Json]) -> str:
    """Whom a judge prefers, how often, and how steady it is."""
    name = max(rates, key=lambda candidate: rates[candidate]["rules"]["average"]["value"])
    rate, average = rates[name], rates[name]["rules"]["average"]
    against = opponent(judge)
    unproven = f" (it cannot be told apart from {against})" if rate["verdict"] == NO_DIFFERENCE else ""
    share, pairs = fmt.share(rate["consistency"]), fmt.count(rate["pairs"])
    alike = f"; {share} of {pairs} pairs are judged alike in both orders"
    return (
        f"Judge {judge['name']}{LIKENESS.get(judge['plugin']['name'], '')} "
        f"{_preference(name, average['value'], against)} wins {with_interval(average, '%')} against "
        f"{against}{unproven}, n = {fmt.count(average['n'])}"
        f"{alike if rate['consistency'] is not None else ''}."
    )


def _preference(name: str, win_rate: float, against: str) -> str:
    """Whom a judge prefers, `name` being the candidate with the highest win rate."""
    if win_rate > EVEN:
        return f"most prefers {name}: it"
    if win_rate < EVEN:
        return f"prefers {against} to every candidate it compared; {name}, the nearest,"
    return f"prefers no candidate to {against}; {name}, the nearest,"


def _silent(judge: Json) -> Iterator[str]:
    """Why a judge has no word on some candidates, once for all of them that it is true of."""
    reasons: dict[str, list[str]] = {}
    for name, known in judge["by_candidate"].items():
        if not OWN_FAULT.fullmatch(known.get("missing", "not asked for")):
            reasons.setdefault(known["missing"], []).append(name)
    for reason, names in reasons.items():
        yield f"Judge {judge['name']} has no word on {listed(names)}: {reason.rstrip('.')}."


def _rules(judge: Json, rates: Mapping[str, Json]) -> Iterator[str]:
    """Candidates that win by one rule and lose by another."""
    for name, rate in rates.items():
        values = {rule: rate["rules"][rule]["value"] for rule in RULES}
        known = [value for value in values.values() if value is not None]
        if known and min(known) < EVEN < max(known):
            told = (
                f"{fmt.share(value)} by {rule.replace('_', ' ')}"
                for rule, value in values.items()
                if value is not None
            )
            yield (
                f"By {judge['name']} the rules disagree on {name}: {', '.join(told)}. Whether it beats "
                f"{opponent(judge)} depends on how disagreeing orders are counted."
            )


def _position(judge: Json) -> Iterator[str]:
    swaps = judge["analysis"]["swaps"]
    if swaps["position_p_value"] is not None and swaps["position_p_value"] < ALPHA:
        yield (
            f"The place of an answer moves {judge['name']}: of {fmt.count(swaps['pairs'])} pairs "
            f"{fmt.share(swaps['flips_to_first'])} flip to whatever stood first and "
            f"{fmt.share(swaps['flips_to_second'])} to whatever stood second "
            f"({fmt.p_value(swaps['position_p_value'])}). Both orders are asked, so that this favours nobody."
        )


def _length(judge: Json, rates: Mapping[str, Json]) -> Iterator[str]:
    length = judge["analysis"]["length"]
    canary = judge["plugin"]["name"] == LENGTH_JUDGE
    if canary or not length or length["p_value"] is None or not length["p_value"] < ALPHA:
        return
    way = "longer" if length["longer_wins"] > EVEN else "shorter"
    span = f"{fmt.share(length['longer_wins'])} [{fmt.interval(0.0, length['low'], length['high'], '%')}]"
    sentence = (
        f"{judge['name']} prefers the {way} answer: the longer one wins {span}, "
        f"n = {fmt.count(length['n'])}, {fmt.p_value(length['p_value'])}; it may be the better one, or no "
        "more than that."
    )
    leader = max(rates, key=lambda candidate: rates[candidate]["rules"]["average"]["value"])
    adjusted = (judge["analysis"]["length_controlled"] or {}).get(leader)
    if adjusted and adjusted["value"] is not None:
        sentence += f" At equal length {leader} would win {with_interval(adjusted, '%')}."
    yield sentence


def _controls(judge: Json) -> Iterator[str]:
    controls = judge["analysis"]["controls"]
    identical, repeats = controls["identical"], controls["repeats"]
    told = identical["to_first"] + identical["to_second"]
    if told:
        yield (
            f"{judge['name']} preferred one of two identical answers in {fmt.count(told)} of "
            f"{fmt.count(identical['n'])} control pairs ({fmt.count(identical['to_first'])} times the first)."
        )
    if repeats["changed"]:
        yield (
            f"{judge['name']} changed its verdict on {fmt.count(repeats['changed'])} of "
            f"{fmt.count(repeats['n'])} pairs that it was asked about again."
        )


def _constants(results: Json) -> Iterator[str]:
    """A constant answer that wins says that a judge can be pleased without an answer."""
    for candidate in results["candidates"]:
        answers = candidate["answers"]
        if not answers or answers["distinct"] != 1 or answers["n"] < CONSTANT:
            continue
        wins = (
            f"{fmt.share(rate['rules']['average']['value'])} against {opponent(judge)} by {judge['name']}"
            for judge in results["judges"]
            if not (judge["people"] or why_refused(judge) or judge["plugin"]["name"] == LENGTH_JUDGE)
            for rate in (candidate["win_rates"].get(judge["name"], {}),)
            if "rules" in rate and rate["rules"]["average"]["value"] >= TOO_OFTEN
        )
        if told := ", ".join(wins):
            yield (
                f"{candidate['name']} gives the same answer to all {fmt.count(answers['n'])} prompts, and "
                f"still wins {told}: there something else than answers is rewarded."
            )


def _agreement(results: Json) -> Iterator[str]:
    agreement = results["agreement"]
    if agreement is None:
        return
    several = len({row["people"] for row in agreement["with_people"]}) > 1
    for row in agreement["with_people"]:
        people = f"people ({row['people']})" if several else "people"
        if row["n"]:
            yield (
                f"{row['judge']} agrees with {people} on {fmt.share(row['same'])} of "
                f"{fmt.count(row['n'])} pairs{_kappa(row)}."
            )
    plugins = {judge["name"]: judge["plugin"]["name"] for judge in results["judges"]}
    for row in agreement["pairs"]:
        canaries = [name for name in (row["a"], row["b"]) if plugins[name] == LENGTH_JUDGE]
        if len(canaries) == 1 and row["n"] and row["low"] is not None and row["low"] > LIKE_LENGTH:
            judge = row["b"] if row["a"] in canaries else row["a"]
            yield (
                f"{judge} says what a judge of nothing but length says on {fmt.share(row['same'])} of "
                f"{fmt.count(row['n'])} pairs{_kappa(row)}: much of its verdict may be length."
            )
    alpha = agreement["krippendorff"]
    if alpha and alpha["value"] is not None and alpha["low"] is not None:
        yield (
            f"The judges agree with each other by Krippendorff's alpha "
            f"{_agreeing(alpha['value'], alpha['low'], alpha['high'])} over "
            f"{fmt.count(alpha['n'])} pairs (1 is full agreement, 0 is chance)."
        )


def _kappa(row: Json) -> str:
    figures = (row["kappa"], row["low"], row["high"])
    return "" if None in figures else f" (kappa {_agreeing(*figures)})"


def _agreeing(value: float, low: float, high: float) -> str:
    return f"{fmt.fixed(value, 2)} [{fmt.fixed(low, 2)} – {fmt.fixed(high, 2)}]"


def _spent(results: Json) -> Iterator[str]:
    for judge in results["judges"]:
        receipt = judge["receipt"]
        sent, received = receipt["prompt_tokens"], receipt["completion_tokens"]
        if receipt["cost_usd"] or sent or received:
            price = "an unknown sum" if receipt["cost_usd"] is None else fmt.dollars(receipt["cost_usd"])
            yield (
                f"Judge {judge['name']} took {price} for {fmt.count(receipt['asked'])} verdicts "
                f"({fmt.count(sent)} tokens sent, {fmt.count(received)} received); "
                f"{fmt.count(receipt['from_cache'])} were known before."
            )
