"""Searches: every recipe that was tried before a candidate's was fixed, with what chose among them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness import format as fmt

Json = Mapping[str, Any]


def searches(results: Json) -> list[dict[str, Any]]:
    """Per candidate with a grid, its points in the order in which they stand in the suite."""
    return [
        {"name": candidate["name"], "total": _spent(candidate["totals"])} | _search(candidate["search"])
        for candidate in results["candidates"]
        if candidate.get("search")
    ]


def _spent(spent: Json) -> str:
    cost = "" if spent["cost_usd"] is None else f", {fmt.dollars(spent['cost_usd'])}"
    return fmt.seconds(spent["seconds"]) + cost


def _search(search: Json) -> dict[str, Any]:
    points = [
        {
            "settings": fmt.settings(point["settings"]),
            "loss": fmt.NONE if point["validation_loss"] is None else fmt.number(point["validation_loss"], 4),
            "spent": fmt.NONE if point["seconds"] is None else _spent(point),
            "outcome": _outcome(point, chosen=index == search["chosen"]),
        }
        for index, point in enumerate(search["points"])
    ]
    return {"tried": fmt.count(search["tried"]), "spent": _spent(search), "points": points}


def _outcome(point: Json, *, chosen: bool) -> str:
    return "chosen" if chosen else "" if point["failure"] is None else f"failed: {point['failure']}"
