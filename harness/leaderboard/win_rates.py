"""What the judges say: each judge's analysis, its receipt, and the candidates' win rates by it.

Everything but the receipts follows from the lines of verdicts.jsonl, so that old replies that are read again
give new figures without a run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.judging.agreement import agreement
from harness.judging.analysis import analyse, finite
from harness.judging.table import UNPARSED_LIMIT
from harness.leaderboard.comparisons import NO_DIFFERENCE, outlook
from harness.leaderboard.verdict_lines import EVERYONE, table

Json = dict[str, Any]
EVEN = 0.5
"""The win rate of two equals."""
RULES = ("average", "tie_on_disagreement", "consistent_only")


def opinion(known: Mapping[str, Any], lines: Sequence[Json], players: Sequence[str]) -> Json:
    """A judge's entry in results.json: what its receipts tell, and what follows from its `lines`.

    `analysis` is that of `harness.judging`; None where there is no verdict. `pairs` compares every two
    players in the form of the metrics' pairs: in a round robin by a's win rate against b, minus a half; else
    by the difference of their win rates against the opponent, on the prompts that both share.
    """
    if not lines:
        return {**known, "analysis": None, "pairs": []}
    robin = known["against"] == EVERYONE
    verdicts = table(lines, players, symmetric=known["symmetric"])
    analysis = analyse(verdicts, against=None if robin else known["against"])
    found = [_from_even(pair) for pair in analysis["pairs"]] if robin else analysis["differences"]
    pairs = [
        {**pair, **outlook(pair, len(found), settled=pair["verdict"] != NO_DIFFERENCE)}
        for pair in found
        if pair["n"]
    ]
    return dict(finite({**known, "analysis": analysis, "pairs": pairs}))


def _from_even(pair: Mapping[str, Any]) -> Json:
    """A pair of the analysis by how far its win rate is from that of two equals."""
    average = pair["rules"]["average"]
    ends = {end: None if average[end] is None else average[end] - EVEN for end in ("value", "low", "high")}
    return {**{key: pair[key] for key in ("a", "b", "n", "p_value", "p_adjusted", "verdict")}, **ends}


def win_rates(judge: Mapping[str, Any]) -> dict[str, Json]:
    """Candidate -> its win rate by this judge against its opponent or the field, or why there is none."""
    rates = judge["analysis"]["rates"] if judge["analysis"] else {}
    return {
        name: dict(known) if "missing" in known else {**_win_rate(rates.get(name), judge), **known}
        for name, known in judge["by_candidate"].items()
    }


def _win_rate(rate: Json | None, judge: Mapping[str, Any]) -> Json:
    if rate is None:
        opponent = "any opponent" if judge["against"] == EVERYONE else judge["against"]
        return {"missing": f"no prompt has an answer of both candidate and {opponent}"}
    if not rate["n"]:
        return {"missing": f"none of the {rate['incomplete']} pairs got a readable verdict in both orders"}
    return {**rate, "against": judge["against"], "unread": rate["unparsed"] > UNPARSED_LIMIT}


def agreements(judges: Sequence[Mapping[str, Any]], lines: Mapping[str, Sequence[Json]]) -> Json | None:
    """How far the judges agree with each other on the pairs that they share; None where fewer than two spoke.

    `with_people` lists, of the judges' pairs, those with people's verdicts: judge, n, same, kappa, low, high.
    """
    tables = {
        judge["name"]: table(lines[judge["name"]], symmetric=judge["symmetric"])
        for judge in judges
        if lines.get(judge["name"])
    }
    if len(tables) < 2:
        return None
    found = agreement(tables)
    people = {judge["name"] for judge in judges if judge["people"]}
    return {**found, "with_people": list(_with_people(found["pairs"], people))}


def _with_people(rows: Sequence[Json], people: set[str]) -> Iterator[Json]:
    for row in rows:
        for judge, other in (("a", "b"), ("b", "a")):
            if row[other] in people and row[judge] not in people:
                figures = {key: row[key] for key in ("n", "same", "kappa", "low", "high")}
                yield {"judge": row[judge], "people": row[other], **figures}
