"""What each judge prefers, and what speaks against believing it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.judging import findings as said
from harness.judging import leading
from harness.leaderboard.findings.words import opponent, standings
from harness.records import ALL

Json = Mapping[str, Any]
CONSTANT = 10
"""From so many prompts on, one and the same answer to all of them is no coincidence."""
TOO_OFTEN = 0.25
"""The share of pairs, ties apart, from which on a constant answer wins too often."""
OWN_FAULT = re.compile(r"\w+ failed|not asked for")
"""Why a candidate has no win rate, where that is not the judge's doing."""
LIKE_LENGTH = 0.2
"""The kappa from which on a judge agrees with one of nothing but length more than it should."""
LIKENESS = " (likeness to the reference answer, not quality)"
"""Behind the name of a judge whose preference is not to be mistaken for one of quality."""


def by_judges(results: Json) -> Iterator[str]:
    """First who has no verdict or is not believed, then what the others prefer and how far to trust them."""
    for judge in results["judges"]:
        yield from _silent(judge)
        if judge["analysis"] and not _ranks(judge, results):
            yield from said.refusal(judge["name"], judge["analysis"])
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
    """Whether the board is ranked by this judge: the most important of it is in the first sentence."""
    return bool(judge["name"] == results["suite"]["rank_by"])


def _believed(judge: Json, rates: Mapping[str, Json], results: Json) -> Iterator[str]:
    if nothing := list(said.empty(judge["name"], judge["analysis"])):
        yield from nothing
        return
    if not _ranks(judge, results):
        yield from preferred(judge, rates)
    if told := standings(rates, f"{opponent(judge)} by {judge['name']}"):
        yield told
    yield from said.remarks(judge["name"], judge["analysis"], length=judge["verdicts_of"] != "length")


def why_refused(judge: Json) -> str | None:
    """Why nothing is concluded from a judge's verdicts; None where something may be."""
    return judge["analysis"]["refused"] if judge["analysis"] else None


def preferred(judge: Json, rates: Mapping[str, Json]) -> Iterator[str]:
    """Whom a judge prefers of the candidates in `rates`, how often, and how steady it is.

    In a round robin base has a rate too, and may be preferred to all of them.
    """
    kind = LIKENESS if judge["verdicts_of"] == "likeness" else ""
    everybody = {**judge["analysis"]["rates"], **rates} if judge["against"] == ALL else rates
    known = {name: rate for name, rate in everybody.items() if "rules" in rate}
    order = leading.by_rating(judge["analysis"])
    if told := leading.preferred(judge["name"], known, opponent(judge), kind, order):
        yield told


def _silent(judge: Json) -> Iterator[str]:
    """Why a judge has no verdict on some candidates, one sentence for all with the same reason."""
    reasons: dict[str, list[str]] = {}
    if judge["analysis"] is None and (pairs := judge["receipt"]["not_judged"]):
        yield f"Judge {judge['name']} had no verdict on any of the {fmt.count(pairs)} pairs."
    for name, known in judge["by_candidate"].items():
        if not OWN_FAULT.fullmatch(known.get("missing", "not asked for")):
            reasons.setdefault(known["missing"], []).append(name)
    for reason, names in reasons.items():
        yield f"Judge {judge['name']} has no verdict on {fmt.listed(names)}: {reason.rstrip('.')}."


def _constants(results: Json) -> Iterator[str]:
    """A constant answer that wins says that a judge can be pleased without an answer."""
    for candidate in results["candidates"]:
        answers = candidate["answers"]
        if not answers or answers["distinct"] != 1 or answers["n"] < CONSTANT:
            continue
        wins = (
            f"{fmt.share(rate['wins'])} of pairs against {opponent(judge)} by {judge['name']}"
            for judge in results["judges"]
            if not (judge["verdicts_of"] in ("people", "length") or why_refused(judge))
            for rate in (candidate["win_rates"].get(judge["name"], {}),)
            if "rules" in rate and rate["wins"] >= TOO_OFTEN
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
    kinds = {judge["name"]: judge["verdicts_of"] for judge in results["judges"]}
    for row in agreement["pairs"]:
        canaries = [name for name in (row["a"], row["b"]) if kinds[name] == "length"]
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
            f"{fmt.kappa(alpha['value'], alpha['low'], alpha['high'])} over "
            f"{fmt.count(alpha['n'])} pairs (1 is full agreement, 0 is chance)."
        )


def _kappa(row: Json) -> str:
    figures = (row["kappa"], row["low"], row["high"])
    return "" if None in figures else f" (kappa {fmt.kappa(*figures)})"


def _spent(results: Json) -> Iterator[str]:
    for judge in results["judges"]:
        receipt = judge["receipt"]
        sent, received = receipt["prompt_tokens"], receipt["completion_tokens"]
        # What is known to have cost nothing is no finding; its tokens are among the costs.
        if receipt["cost_usd"] or (receipt["cost_usd"] is None and (sent or received)):
            price = "an unknown sum" if receipt["cost_usd"] is None else fmt.dollars(receipt["cost_usd"])
            yield (
                f"Judge {judge['name']} took {price} for {fmt.count(receipt['asked'])} verdicts "
                f"({fmt.count(sent)} tokens sent, {fmt.count(received)} received); "
                f"{fmt.count(receipt['from_cache'])} were known before."
            )
