"""Judge trust: every candidate under the three rules, and what speaks against the judge."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.stages.win_rates import RULES, UNPARSED_LIMIT

Json = Mapping[str, Any]
CONSISTENCY_LIMIT = 0.70
"""Below this share of pairs judged alike in both orders, position weighs too much in the verdicts."""


def judge_tables(results: Json) -> list[dict[str, Any]]:
    """One table per judge: a row for every candidate, and plain warnings."""
    return [_judge_table(judge, results["candidates"]) for judge in results["judges"]]


def _judge_table(judge: Json, candidates: Sequence[Json]) -> dict[str, Any]:
    found = {c["name"]: c["win_rates"].get(judge["name"]) for c in candidates}
    known = {name: rates for name, rates in found.items() if rates and "missing" not in rates}
    return {
        "name": judge["name"],
        "against": judge["against"],
        "rows": [_row(name, rates) for name, rates in found.items() if rates],
        "warnings": [*_unparsed_warning(known), *_consistency_warning(known)],
    }


def _row(name: str, rates: Json) -> dict[str, Any]:
    if "missing" in rates:
        return {"name": name, "missing": rates["missing"]}
    return {
        "name": name,
        "rules": [_rule(rates["rules"].get(rule)) for rule in RULES],
        "consistency": fmt.share(rates.get("consistency")),
        "flips": [fmt.share(rates.get(key)) for key in ("flips_to_first", "flips_to_second", "win_tie")],
        "position": fmt.p_value(rates.get("position_p_value")),
        "unparsed": fmt.share(rates.get("unparsed")),
        "sides": _sides(rates),
        "n": fmt.count(rates.get("n")),
        "p": fmt.p_value(rates.get("p_adjusted")),
        "verdict": rates.get("verdict") or "",
        "cost": fmt.dollars(rates["cost_usd"]) if rates.get("cost_usd") is not None else "–",
        "tokens": _tokens(rates),
        "from_cache": fmt.count(rates.get("from_cache")),
    }


def _rule(rate: Json | None) -> dict[str, str]:
    n = fmt.count((rate or {}).get("n") or 0)
    if not rate or rate.get("value") is None or not math.isfinite(rate["value"]):
        return {"value": "–", "interval": "", "n": n}
    span = fmt.interval(rate["value"], rate.get("low"), rate.get("high"), "%")
    return {"value": fmt.share(rate["value"]), "interval": span, "n": n}


def _tokens(rates: Json) -> str:
    """Tokens sent and received; a judge that is no language model has none."""
    sent, received = (rates.get(f"{kind}_tokens") or 0 for kind in ("prompt", "completion"))
    return f"{fmt.count(sent)} + {fmt.count(received)}" if sent or received else "–"


def _sides(rates: Json) -> str:
    """Unparsed verdicts by order, if there are any: they need not be fairly spread."""
    first, second = (rates.get(f"unparsed_{side}_first") for side in ("candidate", "opponent"))
    return f"shown first {fmt.share(first)}, second {fmt.share(second)}" if first or second else ""


def _unparsed_warning(known: Mapping[str, Json]) -> Iterator[str]:
    found = {name: rates["unparsed"] for name, rates in known.items() if rates.get("unparsed")}
    above = [f"{name} {fmt.share(share)}" for name, share in found.items() if share > UNPARSED_LIMIT]
    if above:
        yield (
            f"More than {UNPARSED_LIMIT:.0%} of the verdicts could not be read: {', '.join(above)}. What is "
            "left out is rarely a fair sample, so no conclusion is drawn from the rest."
        )


def _consistency_warning(known: Mapping[str, Json]) -> Iterator[str]:
    found = {name: rates.get("consistency") for name, rates in known.items()}
    below = [f"{n} {fmt.share(c)}" for n, c in found.items() if c is not None and c < CONSISTENCY_LIMIT]
    if below:
        yield (
            f"Fewer than {CONSISTENCY_LIMIT:.0%} of the pairs got the same verdict in both orders: "
            f"{', '.join(below)}. The order of the answers, and not the answers, decided the others."
        )
