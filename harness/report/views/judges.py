"""Judge trust: who wins by whom under the three rules, and what speaks against each judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.table import UNPARSED_LIMIT
from harness.leaderboard.standing import by_judge
from harness.leaderboard.verdict_lines import EVERYONE
from harness.leaderboard.win_rates import RULES
from harness.report.views.agreement import with_people

Json = Mapping[str, Any]
CONSISTENCY_LIMIT = 0.70
"""Below this share of pairs judged alike in both orders, position weighs too much in the verdicts."""
CONTROL_LIMIT = 0.10
"""Above this share of control pairs that went wrong, small differences are noise."""
NONE = "–"


def overview(results: Json) -> list[dict[str, Any]]:
    """One row per judge: what it read, how steady it is, what moves it, what it took."""
    return [_at_a_glance(judge, results) for judge in results["judges"]]


def _at_a_glance(judge: Json, results: Json) -> dict[str, Any]:
    analysis, receipt = judge["analysis"], judge["receipt"]
    swaps = analysis["swaps"] if analysis else {}
    length = (analysis or {}).get("length") or {}
    faults = (f"{fmt.count(n)} {fault.replace('_', ' ')}" for fault, n in receipt["faults"].items())
    return {
        "name": judge["name"],
        "against": _opponent(judge),
        "prompts": fmt.count(analysis["prompts"]) if analysis else NONE,
        "judgments": fmt.count(analysis["judgments"]) if analysis else NONE,
        "unparsed": _known(fmt.share, analysis["unparsed"]) if analysis else NONE,
        "faults": ", ".join(faults),
        "consistency": _known(fmt.share, swaps.get("consistency")),
        "kappa": _known(_two, swaps.get("kappa")),
        "longer": _known(fmt.share, length.get("longer_wins")),
        "longer_note": _span(length, "%"),
        "controls": _controls(analysis["controls"]) if analysis else NONE,
        "people": with_people(judge["name"], results),
        "cost": _known(fmt.dollars, receipt["cost_usd"]),
        "tokens": _tokens(receipt),
        "asked": fmt.count(receipt["asked"]),
        "from_cache": fmt.count(receipt["from_cache"]),
    }


def judge_tables(results: Json) -> list[dict[str, Any]]:
    """One entry per judge: win rates, what swapping did, ratings, every pair, and plain warnings."""
    return [_judge_table(judge, results["candidates"]) for judge in results["judges"]]


def _judge_table(judge: Json, candidates: Sequence[Json]) -> dict[str, Any]:
    found = {c["name"]: c["win_rates"].get(judge["name"]) for c in candidates}
    known = {name: rates for name, rates in found.items() if rates and "missing" not in rates}
    standing = by_judge(judge, [candidate["name"] for candidate in candidates[1:]])
    places = {name: {"rank": standing.ranks[name], "group": standing.groups[name]} for name in standing.order}
    analysis = judge["analysis"]
    return {
        "name": judge["name"],
        "against": _opponent(judge),
        "signature": judge["signature"],
        "members": judge["members"],
        "symmetric": judge["symmetric"],
        "rows": [_row(name, rates, judge, places.get(name, {})) for name, rates in found.items() if rates],
        "swaps": list(_swaps(judge, known)),
        "ratings": _ratings(analysis) if judge["against"] == EVERYONE else [],
        "pairs": [_pair(pair) for pair in judge["pairs"]],
        "position": _position(analysis),
        "warnings": [*_refusal(judge), *_unread(known), *_inconsistent(known), *_failed_controls(analysis)],
    }


def _opponent(judge: Json) -> str:
    return "all others" if judge["against"] == EVERYONE else str(judge["against"])


def _row(name: str, rates: Json, judge: Json, place: Json) -> dict[str, Any]:
    if "missing" in rates:
        return {"name": name, "missing": rates["missing"]}
    adjusted = (judge["analysis"]["length_controlled"] or {}).get(name) or {}
    return {
        "name": name,
        "rules": [_rate(rates["rules"][rule]) for rule in RULES],
        "adjusted": _rate(adjusted),
        "n": fmt.count(rates["pairs"]),
        "p": fmt.p_value(rates["p_adjusted"]),
        "verdict": rates["verdict"],
        "rank": fmt.ranks(place.get("rank")) or NONE,
        "group": place.get("group") or "",
    }


def _rate(rate: Json) -> dict[str, str]:
    n = fmt.count(rate["n"]) if "n" in rate else ""
    if rate.get("value") is None:
        return {"value": NONE, "interval": "", "n": n}
    return {"value": fmt.share(rate["value"]), "interval": _span(rate, "%"), "n": n}


def _swaps(judge: Json, known: Mapping[str, Json]) -> Iterator[dict[str, Any]]:
    """What became of the pairs when the order was swapped: of each candidate's, and of all together."""
    if judge["symmetric"] or not judge["analysis"]:
        return
    for name, rates in known.items():
        sides = [rates[f"unparsed_{side}_first"] for side in "ab"]
        shown = f"shown first {fmt.share(sides[0])}, second {fmt.share(sides[1])}" if any(sides) else ""
        yield {"name": name, "sides": shown, "unparsed": fmt.share(rates["unparsed"]), **_swap(rates)}
    whole = judge["analysis"]
    if len(known) > 1:
        share = _known(fmt.share, whole["unparsed"])
        yield {"name": "all together", "sides": "", "unparsed": share, **_swap(whole["swaps"])}


def _swap(panel: Json) -> dict[str, str]:
    shares = ("consistency", "consistent_ties", "flips_to_first", "flips_to_second", "win_tie")
    return {
        **{key: _known(fmt.share, panel[key]) for key in shares},
        "pairs": fmt.count(panel["pairs"]),
        "kappa": _known(_two, panel["kappa"]),
        "p": fmt.p_value(panel["position_p_value"]),
    }


def _ratings(analysis: Json | None) -> list[dict[str, str]]:
    return [
        {
            "name": row["player"],
            "rating": fmt.count(row["rating"]),
            "interval": "" if row["low"] is None else f"{fmt.count(row['low'])} – {fmt.count(row['high'])}",
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
        "verdict": words.get(pair["verdict"], pair["verdict"]),
        "effect": _known(lambda value: fmt.difference(value, "%").lstrip("+"), pair["smallest_effect"]),
        "more": _known(fmt.about, pair["more_prompts"]),
    }


def _position(analysis: Json | None) -> str:
    """The first answer's advantage between equals, by Bradley-Terry; empty where nothing is known of it."""
    position = (analysis or {}).get("position")
    if not position or position["low"] is None:
        return ""
    return f"{_two(position['value'])} [{_two(position['low'])} – {_two(position['high'])}]"


def _controls(controls: Json) -> str:
    identical, repeats = controls["identical"], controls["repeats"]
    parts = []
    if identical["n"]:
        parts.append(f"{fmt.count(identical['ties'])} of {fmt.count(identical['n'])} identical tied")
    if repeats["n"]:
        parts.append(f"{fmt.count(repeats['same'])} of {fmt.count(repeats['n'])} repeats alike")
    return "; ".join(parts) or NONE


def _tokens(receipt: Json) -> str:
    """Tokens sent and received; a judge that is no language model has none."""
    sent, received = receipt["prompt_tokens"], receipt["completion_tokens"]
    return f"{fmt.count(sent)} + {fmt.count(received)}" if sent or received else NONE


def _refusal(judge: Json) -> Iterator[str]:
    if judge["analysis"] and judge["analysis"]["refused"]:
        yield f"This judge's ranking is not to be believed: {judge['analysis']['refused']}."


def _unread(known: Mapping[str, Json]) -> Iterator[str]:
    above = [f"{name} {fmt.share(rates['unparsed'])}" for name, rates in known.items() if rates["unread"]]
    if above:
        yield (
            f"More than {UNPARSED_LIMIT:.0%} of the verdicts could not be read: {', '.join(above)}. What is "
            "left out is rarely a fair sample, so no conclusion is drawn from the rest."
        )


def _inconsistent(known: Mapping[str, Json]) -> Iterator[str]:
    found = {name: rates["consistency"] for name, rates in known.items()}
    below = [f"{n} {fmt.share(c)}" for n, c in found.items() if c is not None and c < CONSISTENCY_LIMIT]
    if below:
        yield (
            f"Fewer than {CONSISTENCY_LIMIT:.0%} of the pairs got the same verdict in both orders: "
            f"{', '.join(below)}. The order of the answers, and not the answers, decided the others."
        )


def _failed_controls(analysis: Json | None) -> Iterator[str]:
    controls = analysis["controls"] if analysis else {"identical": {"n": 0}, "repeats": {"n": 0}}
    identical, repeats = controls["identical"], controls["repeats"]
    wrong = identical["n"] - identical["ties"] if identical["n"] else 0
    if wrong > CONTROL_LIMIT * identical["n"]:
        first, second = fmt.count(identical["to_first"]), fmt.count(identical["to_second"])
        yield (
            f"Of {fmt.count(identical['n'])} pairs of identical answers {fmt.count(wrong)} were not called a "
            f"tie ({first} went to the first, {second} to the second): so much of the rest is noise too."
        )
    if repeats["n"] and repeats["changed"] > CONTROL_LIMIT * repeats["n"]:
        yield (
            f"Asked again about {fmt.count(repeats['n'])} pairs, this judge changed its verdict on "
            f"{fmt.count(repeats['changed'])}."
        )


def _span(figure: Json, unit: str) -> str:
    value = figure.get("value", figure.get("longer_wins"))
    return "" if value is None else fmt.interval(value, figure.get("low"), figure.get("high"), unit)


def _two(value: float) -> str:
    return fmt.fixed(value, 2)


def _known(show: Any, value: float | None) -> str:
    return NONE if value is None else str(show(value))
