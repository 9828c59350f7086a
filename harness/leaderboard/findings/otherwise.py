"""How the other metrics and judges see the leader beside the next in rank, by the tests that they made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.judges import why_refused
from harness.leaderboard.findings.words import are
from harness.stats.multiplicity import NO_DIFFERENCE

Json = Mapping[str, Any]
RIVALS = 3
"""At most so many that share the next rank are set against the leader."""
AHEAD, BEHIND = "ahead", "behind"


def seen_by_others(ranked: Sequence[Json], results: Json) -> Iterator[str]:
    """A sentence on the runner-up and on those that may be as good as it, together where they are seen alike.

    A judge that is not believed, or hears nothing but length, has no say here; nor has a verdict that was
    withheld.
    """
    if len(ranked) < 2:
        return
    leader, second, *_ = ranked
    rivals = [row["name"] for row in ranked[1:] if row["rank"][0] <= second["rank"][0]][:RIVALS]
    seen: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for rival in rivals:
        verdicts = tuple(_verdicts(leader["name"], rival, results))
        if verdicts:
            seen.setdefault(verdicts, []).append(rival)
    for verdicts, names in seen.items():
        yield _sentence(leader["name"], names, verdicts)


def _verdicts(leader: str, rival: str, results: Json) -> Iterator[tuple[str, str]]:
    """What compares the two beside what ranks, and whether the leader is ahead, behind or neither."""
    by = results["suite"]["rank_by"]
    labels = {metric["name"]: metric["label"] for metric in results["metrics"]}
    rows = [(labels[pair["metric"]], pair) for pair in results["pairs"] if pair["metric"] != by]
    for judge in results["judges"]:
        if judge["name"] != by and judge["verdicts_of"] != "length" and why_refused(judge) is None:
            rows += [(f"the judge {judge['name']}", pair) for pair in judge["pairs"]]
    for label, pair in rows:
        if {pair["a"], pair["b"]} == {leader, rival} and not pair.get("withheld"):
            winner = None if pair["verdict"] == NO_DIFFERENCE else pair[pair["verdict"]]
            yield label, NO_DIFFERENCE if winner is None else AHEAD if winner == leader else BEHIND


def _sentence(leader: str, rivals: Sequence[str], verdicts: Sequence[tuple[str, str]]) -> str:
    them = fmt.listed(rivals)
    words = {
        BEHIND: f"{them} {are(rivals)} better than {leader}",
        NO_DIFFERENCE: f"{leader} cannot be told apart from {them}",
        AHEAD: f"{leader} is better than {them}",
    }
    parts = [
        f"by {fmt.listed(labels)}, {said}"
        for outcome, said in words.items()
        if (labels := [label for label, found in verdicts if found == outcome])
    ]
    told = "; ".join(parts)
    return f"B{told[1:]}."
