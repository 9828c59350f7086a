"""The tables behind the board: scores in full, and neighbours in rank."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.ranking import CHEAPER, WORTH_SAYING
from harness.leaderboard.standing import ranking_figure

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
        "seeds": ", ".join(fmt.score(v, unit) for v in seeds) if len(seeds) > 1 else fmt.NONE,
        **_full_difference(compared, unit),
        "exact_difference": compared.get("value"),
        "p": fmt.p_value(compared.get("p_value")),
        "p_adjusted": fmt.p_value(compared.get("p_adjusted")),
        "verdict": compared.get("verdict") or "",
    }


def _full_difference(compared: Json, unit: str) -> dict[str, str]:
    if "value" not in compared:
        return {"difference": compared.get("missing") or fmt.NONE, "span": ""}
    value, low, high = (compared[key] for key in ("value", "low", "high"))
    return {
        "difference": fmt.difference(value, unit, low, high),
        "span": fmt.difference_interval(value, low, high, unit),
    }


def neighbours(results: Json) -> list[dict[str, str]]:
    """Every two candidates that follow each other in rank, and what would tell them apart."""
    ranks_by = ranking_figure(results)
    if ranks_by is None:
        return []
    several = {candidate["name"] for candidate in results["candidates"] if len(candidate["seeds"]) > 1}
    return [
        _neighbour(row, ranks_by["unit"], several_seeds=bool(several & {row["first"], row["second"]}))
        for row in results["neighbours"]
    ]


def _neighbour(row: Json, unit: str, *, several_seeds: bool) -> dict[str, str]:
    ends = (row["low"], row["high"])
    cheaper, effect = row["cheaper"], row["smallest_effect"]
    return {
        "first": row["first"],
        "second": row["second"],
        "difference": fmt.difference(row["value"], unit, *ends),
        "interval": fmt.difference_interval(row["value"], *ends, unit),
        "n": fmt.count(row["n"]),
        "verdict": row["verdict"],
        "p": fmt.p_value(row["p_adjusted"]),
        "effect": _no_effect(row, several_seeds=several_seeds)
        if effect is None
        else fmt.difference(effect, unit).lstrip("+"),
        "more": fmt.known(fmt.about, row["more_prompts"]),
        "cheaper": f"{cheaper['name']}, {fmt.number(cheaper['times'], 2)} times {CHEAPER[cheaper['by']]}"
        if cheaper and cheaper["times"] >= WORTH_SAYING
        else fmt.NONE,
    }


def _no_effect(row: Json, *, several_seeds: bool) -> str:
    """Why there is no smallest effect: nothing varies, or not even the largest difference would be shown."""
    if row["low"] is None or row["low"] == row["high"]:
        return fmt.NONE
    return f"none: so few {'seeds' if several_seeds else 'prompts'} can show no difference"
