"""The tables behind the board and the charts: scores in full, and who beats whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import format as fmt

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
        "value": fmt.score(value, unit, low, high),
        "interval": fmt.interval(value, low, high, unit),
        "n": fmt.count(score.get("n")),
        "unscored": fmt.count(score.get("unscored") or 0),
        "seeds": ", ".join(fmt.score(v, unit) for v in seeds) if len(seeds) > 1 else "–",
        **_full_difference(compared, unit),
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
    """The ranking metric's pairs as a square: what the row's candidate has over the column's."""
    rank_by = results["suite"]["rank_by"]
    metric = next((m for m in results["metrics"] if m["name"] == rank_by), None)
    pairs = [p for p in results["pairs"] if p["metric"] == rank_by]
    if metric is None or not pairs:
        return None
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for pair in pairs:
        cells[pair["a"], pair["b"]] = _versus(pair, metric, 1)
        cells[pair["b"], pair["a"]] = _versus(pair, metric, -1)
    compared = {name for key in cells for name in key}
    names = [c["name"] for c in results["candidates"] if c["name"] in compared]
    return {
        "label": metric["label"],
        "names": names,
        "rows": [(a, [cells.get((a, b)) for b in names]) for a in names],
    }


def _versus(pair: Json, metric: Json, sign: int) -> dict[str, str]:
    wins = {"a": 1, "b": -1}.get(pair["verdict"], 0) * sign
    value, low, high = (None if pair[key] is None else sign * pair[key] for key in ("value", "low", "high"))
    return {
        "text": fmt.difference(value, metric["unit"], low, high),
        "verdict": {1: "better", -1: "worse", 0: "cannot be told apart"}[wins],
        "p": fmt.p_value(pair["p_adjusted"]),
    }
