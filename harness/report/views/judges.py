"""Judge trust: whether each judge can be believed, who wins by it by three rules, and what moves it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.table import UNPARSED_LIMIT
from harness.leaderboard.findings.words import WITHHELD
from harness.leaderboard.standing import by_judge
from harness.records import ALL
from harness.report.explorer.links import examples_link
from harness.report.text import opponent
from harness.report.views import bars
from harness.report.views.trust import mostly, verdict_on
from harness.report.views.trust_figures import figures, glance
from harness.stats.pairwise import RULES

Json = Mapping[str, Any]
HEADS = dict(zip(RULES, ("average of both", "disagreement is a tie", "consistent only"), strict=True))
"""Rule -> its column. Where each pair has one verdict, no order can disagree and all rules are one."""


def overview(results: Json) -> list[dict[str, Any]]:
    """One row per judge to set them side by side: the word on each, and the figures that decide it."""
    return [
        {
            "index": index,
            "name": judge["name"],
            "against": opponent(judge["against"]),
            **verdict_on(judge, results),
            **glance(judge, results),
        }
        for index, judge in enumerate(results["judges"])
    ]


def judge_tables(results: Json) -> list[dict[str, Any]]:
    """One entry per judge: its verdict and figures, win rates, what swapping did, ratings, every pair."""
    return [
        {**_judge_table(judge, results["candidates"]), **verdict_on(judge, results)}
        | {"figures": figures(judge, results)}
        for judge in results["judges"]
    ]


def _judge_table(judge: Json, candidates: Sequence[Json]) -> dict[str, Any]:
    found = {c["name"]: c["win_rates"].get(judge["name"]) for c in candidates}
    known = {name: rates for name, rates in found.items() if rates and "missing" not in rates}
    standing = by_judge(judge, [candidate["name"] for candidate in candidates[1:]])
    rules = RULES if judge["analysis"] and judge["analysis"]["swapped"] else RULES[:1]
    places = {name: {"rank": standing.ranks[name], "group": standing.groups[name]} for name in standing.order}
    analysis = judge["analysis"]
    return {
        "name": judge["name"],
        "against": opponent(judge["against"]),
        "signature": judge["signature"],
        "members": judge["members"],
        "symmetric": judge["symmetric"],
        "rules": [HEADS[rule] for rule in rules] if len(rules) > 1 else [],
        "rows": [_row(name, rates, judge, rules, places) for name, rates in found.items() if rates],
        "swaps": list(_swaps(judge, known)),
        "ratings": _ratings(analysis) if judge["against"] == ALL else [],
        "pairs": [_pair(pair) for pair in judge["pairs"]],
        "position": _position(analysis),
        "warnings": list(warnings_on(judge)),
        "prompts": bool(judge["prompts"]),
    }


def warnings_on(judge: Json) -> Iterator[str]:
    """Those of results.json; where too much could not be read, the first says why in most cases."""
    analysis = judge["analysis"]
    why = mostly(judge) if analysis and (analysis["unparsed"] or 0) > UNPARSED_LIMIT else ""
    for place, warning in enumerate(judge["warnings"]):
        yield f"{warning} Most often: {why}." if why and place == 0 else warning


def _row(
    name: str, rates: Json, judge: Json, rules: Sequence[str], places: Mapping[str, Json]
) -> dict[str, Any]:
    if "missing" in rates:
        return {"name": name, "missing": rates["missing"]}
    place = places.get(name, {})
    adjusted = (judge["analysis"]["length_controlled"] or {}).get(name) or {}
    pairs, identical = rates["pairs"] + rates.get("identical", 0), rates.get("identical", 0)
    told = fmt.counted(pairs, "pair") + (f", {fmt.count(identical)} identical" if identical else "")
    return {
        "name": name,
        "rules": [_rate(rates["rules"][rule], pairs) for rule in rules],
        "adjusted": _rate(adjusted),
        "pairs": told,
        "p": "; ".join(filter(None, (fmt.p_value(rates["p_adjusted"]), _withheld(rates)))),
        "verdict": rates["verdict"],
        "rank": fmt.ranks(place.get("rank")) or fmt.NONE,
        "group": place.get("group") or "",
    }


def _withheld(row: Json) -> str:
    """Why a difference that the test shows is called none; empty where nothing is withheld."""
    return WITHHELD.get(row.get("withheld") or "", "")


def _rate(rate: Json, pairs: int | None = None) -> dict[str, Any]:
    """`n` is empty where it is the number of pairs, which stands in the row already."""
    n = fmt.count(rate["n"]) if "n" in rate and rate["n"] != pairs else ""
    value, low, high = (rate.get(end) for end in ("value", "low", "high"))
    if value is None:
        return {"value": fmt.NONE, "interval": "", "n": n, "bar": bars.interval(None, None, None)}
    return {
        "value": fmt.share(value),
        "interval": fmt.interval(value, low, high, "%"),
        "n": n,
        "bar": bars.interval(value, low, high),
    }


def _swaps(judge: Json, known: Mapping[str, Json]) -> Iterator[dict[str, Any]]:
    """What became of the pairs when the order was swapped: of each candidate's, and of all together."""
    if judge["symmetric"] or not judge["analysis"]:
        return
    for name, rates in known.items():
        sides = [rates[f"unparsed_{side}_first"] for side in "ab"]
        shown = f"shown first {fmt.share(sides[0])}, second {fmt.share(sides[1])}" if any(sides) else ""
        yield {
            "name": name,
            "sides": shown,
            "unparsed": fmt.share(rates["unparsed"]),
            **_swap(rates),
            "flipped": _behind(judge, name, "flips", rates["flips_to_first"] or rates["flips_to_second"]),
            "unread": _behind(judge, name, "unparsed", rates["unparsed"]),
        }
    whole = judge["analysis"]
    if len(known) > 1:
        share = fmt.known(fmt.share, whole["unparsed"])
        yield {
            "name": "all together",
            "sides": "",
            "unparsed": share,
            **_swap(whole["swaps"]),
            "flipped": "",
            "unread": "",
        }


def _behind(judge: Json, name: str, show: str, found: float | None) -> str:
    """A link to the examples of a figure; none in a round robin, where many opponents stand behind it."""
    if not found or judge["against"] == ALL:
        return ""
    return examples_link(judge["against"], name, show=show, judge=judge["name"])


def _swap(panel: Json) -> dict[str, str]:
    shares = ("consistency", "consistent_ties", "flips_to_first", "flips_to_second", "win_tie")
    return {
        **{key: fmt.known(fmt.share, panel[key]) for key in shares},
        "pairs": fmt.count(panel["pairs"]),
        "kappa": fmt.known(fmt.two, panel["kappa"]),
        "p": fmt.p_value(panel["position_p_value"]),
    }


def _ratings(analysis: Json | None) -> list[dict[str, str]]:
    return [
        {
            "name": row["player"],
            "rating": fmt.count(row["rating"]),
            "interval": fmt.points(row["low"], row["high"]),
            "rank": fmt.ranks(row["rank"]),
            "group": row["group"],
        }
        for row in (analysis or {}).get("abilities") or ()
    ]


def _pair(pair: Json) -> dict[str, str]:
    ends = (pair["value"], pair["low"], pair["high"])
    words = {side: f"{pair[side]} is better" for side in "ab"}
    return {
        "a": pair["a"],
        "b": pair["b"],
        "difference": fmt.difference(ends[0], "%"),
        "interval": fmt.difference_interval(*ends, "%"),
        "n": fmt.count(pair["n"]),
        "p": fmt.p_value(pair["p_adjusted"]),
        "verdict": ": ".join(filter(None, (words.get(pair["verdict"], pair["verdict"]), _withheld(pair)))),
        "effect": fmt.known(lambda value: fmt.difference(value, "%").lstrip("+"), pair["smallest_effect"]),
        "more": fmt.known(fmt.about, pair["more_prompts"]),
    }


def _position(analysis: Json | None) -> str:
    """The first answer's advantage between equals, by Bradley-Terry; empty where nothing is known of it."""
    position = (analysis or {}).get("position")
    if not position or position["low"] is None:
        return ""
    return f"{fmt.two(position['value'])} [{fmt.two(position['low'])} – {fmt.two(position['high'])}]"
