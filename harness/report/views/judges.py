"""Judge trust: who wins by whom under the three rules, and what speaks against each judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.standing import by_judge
from harness.records import ALL
from harness.report.views.agreement import with_people
from harness.stats.pairwise import RULES

Json = Mapping[str, Any]
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
        "identical": _identical(analysis) if analysis else "",
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


def _identical(analysis: Json) -> str:
    """How many pairs were of identical answers, which tie without a verdict; empty where none was."""
    found = analysis.get("identical") or {"pairs": 0}
    if not found["pairs"]:
        return ""
    return f"{fmt.count(found['pairs'])} of {fmt.count(found['of'])} pairs identical: a tie, nobody asked"


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
        "ratings": _ratings(analysis) if judge["against"] == ALL else [],
        "pairs": [_pair(pair) for pair in judge["pairs"]],
        "position": _position(analysis),
        "warnings": judge["warnings"],
    }


def _opponent(judge: Json) -> str:
    return "all others" if judge["against"] == ALL else str(judge["against"])


def _row(name: str, rates: Json, judge: Json, place: Json) -> dict[str, Any]:
    if "missing" in rates:
        return {"name": name, "missing": rates["missing"]}
    adjusted = (judge["analysis"]["length_controlled"] or {}).get(name) or {}
    return {
        "name": name,
        "rules": [_rate(rates["rules"][rule]) for rule in RULES],
        "adjusted": _rate(adjusted),
        "n": fmt.count(rates["pairs"] + rates.get("identical", 0)),
        "identical": f"{fmt.count(rates['identical'])} identical" if rates.get("identical") else "",
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


def _span(figure: Json, unit: str) -> str:
    value = figure.get("value", figure.get("longer_wins"))
    return "" if value is None else fmt.interval(value, figure.get("low"), figure.get("high"), unit)


def _two(value: float) -> str:
    return fmt.fixed(value, 2)


def _known(show: Any, value: float | None) -> str:
    return NONE if value is None else str(show(value))
