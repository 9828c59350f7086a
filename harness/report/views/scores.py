"""The tables behind the board and the charts: scores in full, and who beats whom."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.standing import ranking_pairs
from harness.records import ALL
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.rates import EVEN

Json = Mapping[str, Any]


def full_scores(results: Json) -> list[dict[str, Any]]:
    """Every score with its interval, counts, seeds and test: the table behind the board and the charts."""
    rows = []
    for metric in results["metrics"]:
        for candidate in results["candidates"]:
            score = candidate["scores"].get(metric["name"])
            if score:
                rows.append(_full_score(candidate, metric, score))
    return rows


def _full_score(candidate: Json, metric: Json, score: Json) -> dict[str, Any]:
    head = {"metric": metric["label"], "name": candidate["name"]}
    if score.get("value") is None:
        return head | {"missing": score.get("missing") or "not a number"}
    unit, compared = metric["unit"], candidate["differences"].get(metric["name"]) or {}
    value, low, high = score["value"], score.get("low"), score.get("high")
    seeds = score.get("per_seed") or []
    return head | {
        "exact": value,
        "value": fmt.score(value, unit, low, high),
        "interval": fmt.interval(value, low, high, unit),
        "n": fmt.count(score.get("n")),
        "unscored": fmt.count(score.get("unscored") or 0),
        "seeds": ", ".join(fmt.score(v, unit) for v in seeds) if len(seeds) > 1 else "–",
        **_full_difference(compared, unit),
        "exact_difference": compared.get("value"),
        "p": fmt.p_value(compared.get("p_value")),
        "p_adjusted": fmt.p_value(compared.get("p_adjusted")),
        "verdict": compared.get("verdict") or "",
    }


def _full_difference(compared: Json, unit: str) -> dict[str, str]:
    if "value" not in compared:
        return {"difference": compared.get("missing") or "–", "span": ""}
    value, low, high = (compared[key] for key in ("value", "low", "high"))
    return {
        "difference": fmt.difference(value, unit, low, high),
        "span": fmt.difference_interval(value, low, high, unit),
    }


def head_to_head(results: Json) -> dict[str, Any] | None:
    """The pairs of what ranks as a square: what the row's candidate has over the column's.

    In a round robin that is the row's win rate against the column (`rates`), else a difference. `omitted` are
    the candidates that are in no pair.
    """
    ranks_by = ranking_figure(results)
    pairs = ranking_pairs(results)
    if ranks_by is None or not pairs:
        return None
    rates = any(j["against"] == ALL for j in results["judges"] if j["name"] == results["suite"]["rank_by"])
    levels = _levels(pairs)
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    for pair, level in zip(pairs, levels, strict=True):
        for a, b, sign in (("a", "b", 1), ("b", "a", -1)):
            told = _versus(pair, ranks_by["unit"], sign, rates=rates)
            cells[pair[a], pair[b]] = told | {"level": level}
    compared = {name for key in cells for name in key}
    names = [c["name"] for c in results["candidates"] if c["name"] in compared]
    return {
        "label": ranks_by["label"],
        "rates": rates,
        "names": names,
        "indices": [i for i, c in enumerate(results["candidates"]) if c["name"] in compared],
        "rows": [(a, [cells.get((a, b)) for b in names]) for a in names],
        "omitted": [c for c in results["candidates"] if c["name"] not in compared],
    }


def _levels(pairs: Sequence[Json]) -> list[int]:
    """How large a difference is among those that are told apart: 1 to 4, a quarter of them each; 0: is not.

    By quarters, since one candidate that lies far off would leave all others the same shade.
    """
    sizes = sorted(abs(p["value"]) for p in pairs if p["verdict"] in ("a", "b") and p["value"] is not None)
    return [
        1 + 4 * bisect.bisect_left(sizes, abs(pair["value"])) // len(sizes)
        if pair["verdict"] in ("a", "b") and pair["value"] is not None
        else 0
        for pair in pairs
    ]


def ranking_figure(results: Json) -> dict[str, str] | None:
    """Label and unit of the metric or the judge that ranks; None where that is neither."""
    ranks_by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == ranks_by), None)
    if metric is not None:
        return {"label": metric["label"], "unit": metric["unit"]}
    named = any(judge["name"] == ranks_by for judge in results["judges"])
    return {"label": f"win rate by {ranks_by}", "unit": "%"} if named else None


def neighbours(results: Json) -> list[dict[str, str]]:
    """Every two candidates that follow each other in rank, and what would tell them apart."""
    ranks_by = ranking_figure(results)
    return [] if ranks_by is None else [_neighbour(row, ranks_by["unit"]) for row in results["neighbours"]]


def _neighbour(row: Json, unit: str) -> dict[str, str]:
    ends = (row["low"], row["high"])
    cheaper, effect = row["cheaper"], row["smallest_effect"]
    words = {"train_cost_usd": "cheaper", "train_seconds": "faster"}
    return {
        "first": row["first"],
        "second": row["second"],
        "difference": fmt.difference(row["value"], unit, *ends),
        "interval": fmt.difference_interval(row["value"], *ends, unit),
        "n": fmt.count(row["n"]),
        "verdict": row["verdict"],
        "p": fmt.p_value(row["p_adjusted"]),
        "effect": "–" if effect is None else fmt.difference(effect, unit).lstrip("+"),
        "more": "–" if row["more_prompts"] is None else fmt.about(row["more_prompts"]),
        "cheaper": f"{cheaper['name']}, {fmt.number(cheaper['times'], 2)} times {words[cheaper['by']]}"
        if cheaper
        else "–",
    }


def _versus(pair: Json, unit: str, sign: int, *, rates: bool) -> dict[str, Any]:
    """The pair from the side of a (`sign` 1) or of b (-1)."""
    wins = {"a": 1, "b": -1}.get(pair["verdict"], 0) * sign
    value, low, high = (None if pair[key] is None else sign * pair[key] for key in ("value", "low", "high"))
    low, high = (low, high) if sign > 0 else (high, low)
    win_rate = None if value is None else EVEN + value
    return {
        "text": fmt.share(win_rate) if rates else fmt.difference(value, unit, low, high),
        "value": win_rate if rates else value,
        "verdict": {1: "better", -1: "worse", 0: NO_DIFFERENCE}[wins],
        "p": fmt.p_value(pair["p_adjusted"]),
        "p_adjusted": pair["p_adjusted"],
        "n": pair["n"],
    }
