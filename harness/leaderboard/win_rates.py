"""What the judges say: each judge's analysis, its receipt, and the candidates' win rates by it.

Everything but the receipts follows from the lines of verdicts.jsonl, so that old replies that are read again
give new figures without a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.judging.agreement import agreement
from harness.judging.analysis import analyse
from harness.judging.findings import cautions
from harness.judging.table import UNPARSED_LIMIT
from harness.leaderboard.verdict_lines import table
from harness.records import ALL
from harness.stats.rates import EVEN

Json = dict[str, Any]
PAIR = (
    *("a", "b", "n", "p_value", "p_adjusted", "verdict", "smallest_effect", "more_prompts"),
    *("withheld", "survives"),
)
"""What a pair of the analysis and one of a metric have in common, beside value, low and high."""


def opinion(known: Mapping[str, Any], lines: Sequence[Json], players: Sequence[str]) -> Json:
    """A judge's entry in results.json: the sums of its receipts, and the analysis of its `lines`.

    `analysis` is that of `harness.judging`; None where there is no verdict. `pairs` compares every two
    players in the form of the metrics' pairs: in a round robin by a's win rate against b, minus a half; else
    by the difference of their win rates against the opponent, on the prompts that both share. `warnings` are
    the analysis's own.
    """
    if not lines:
        return {**known, "analysis": None, "pairs": [], "warnings": []}
    robin = known["against"] == ALL
    verdicts = table(lines, players, symmetric=known["symmetric"])
    analysis = analyse(verdicts, against=None if robin else known["against"])
    found = [_from_even(pair) for pair in analysis["pairs"]] if robin else analysis["differences"]
    return {
        **known,
        "analysis": analysis,
        "pairs": [pair for pair in found if pair["n"]],
        "warnings": list(cautions(known["name"], analysis)),
    }


def _from_even(pair: Mapping[str, Any]) -> Json:
    """A pair of the analysis by how far its win rate is from that of two equals."""
    average = pair["rules"]["average"]
    ends = {end: None if average[end] is None else average[end] - EVEN for end in ("value", "low", "high")}
    return {**{key: pair[key] for key in PAIR}, **ends}


def win_rates(judge: Mapping[str, Any]) -> dict[str, Json]:
    """Candidate -> its win rate by this judge against its opponent or the field, or why there is none."""
    rates = judge["analysis"]["rates"] if judge["analysis"] else {}
    return {
        name: dict(known) if "missing" in known else {**_win_rate(rates.get(name), known, judge), **known}
        for name, known in judge["by_candidate"].items()
    }


def _win_rate(rate: Json | None, known: Json, judge: Mapping[str, Any]) -> Json:
    if rate is None and (silent := known.get("not_judged")):
        return {"missing": f"the judge had no verdict on any of the {silent:,} pairs"}
    if rate is None:
        opponent = "any opponent" if judge["against"] == ALL else judge["against"]
        return {"missing": f"no prompt has an answer of both candidate and {opponent}"}
    if not rate["n"]:
        return {"missing": f"none of the {rate['incomplete']} pairs got a readable verdict in both orders"}
    return {**rate, "against": judge["against"], "unread": (rate["unparsed"] or 0) > UNPARSED_LIMIT}


def agreements(judges: Sequence[Mapping[str, Any]], lines: Mapping[str, Sequence[Json]]) -> Json | None:
    """How far the judges agree with each other on the pairs that they share; None below two.

    Those of which too much could not be read have no part in it: what is left of them is no fair sample.

    `with_people` lists, of the judges' pairs, those with people's verdicts: judge, n, same, kappa, low, high.
    What is said of all together leaves out a judge of nothing but length, and counts one that is listed twice
    once.
    """
    tables = {
        judge["name"]: table(lines[judge["name"]], symmetric=judge["symmetric"])
        for judge in judges
        if lines.get(judge["name"]) and not judge["analysis"]["refused"]
    }
    if len(tables) < 2:
        return None
    found = agreement(tables, together=_opinions(judges))
    people = {judge["name"] for judge in judges if judge["people"]}
    return {**found, "with_people": list(_with_people(found["pairs"], people))}


def _opinions(judges: Sequence[Mapping[str, Any]]) -> set[str]:
    """The judges whose verdicts are opinions of their own."""
    plugins: list[Any] = []
    found = set()
    for judge in judges:
        plugin = [judge[key] for key in ("plugin", "signature", "members")]
        if judge["verdicts_of"] != "length" and plugin not in plugins:
            plugins.append(plugin)
            found.add(judge["name"])
    return found


def _with_people(rows: Sequence[Json], people: set[str]) -> Iterator[Json]:
    for row in rows:
        for judge, other in (("a", "b"), ("b", "a")):
            if row[other] in people and row[judge] not in people:
                figures = {key: row[key] for key in ("n", "same", "kappa", "low", "high")}
                yield {"judge": row[judge], "people": row[other], **figures}
