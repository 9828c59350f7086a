"""What was tried before a candidate's recipe was fixed, and what the trying cost."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import format as fmt
from harness.json_files import read_json
from harness.leaderboard import receipts

Json = dict[str, Any]
CHOSEN = "chosen.json"
"""What the choose stage writes: the index of the point it chose, and all points with their losses."""


def as_chosen(candidate: Mapping[str, Any], inputs: Mapping[str, Path]) -> Json:
    """The candidate by the recipe that its grid's choice fell on; as it is, where none did."""
    grid = candidate["grid"]
    if grid is None or grid["choose"] is None:
        return dict(candidate)
    point = grid["points"][read_json(inputs[grid["choose"]] / CHOSEN)["index"]]
    method = point["method"]
    recipe = {**candidate["recipe"], "method": method["options"], "training": point["training"]}
    return {**candidate, "method": method["name"], "recipe": recipe}


def artifacts(candidate: Mapping[str, Any], inputs: Mapping[str, Path]) -> list[str]:
    """The store's keys of the trained weights, by seed; of a grid's first seed, of the point that was chosen.

    What the choice hands on are that point's files under another key.
    """
    trials = [trial for trial in candidate["trials"] if trial["train"]]
    trained = [trial["train"] for trial in trials]
    grid = candidate["grid"]
    if trained and grid and trained[0] == grid["choose"]:
        trained[0] = grid["points"][read_json(inputs[grid["choose"]] / CHOSEN)["index"]]["train"]
    return [inputs[name].name for name in trained]


def search(candidate: Mapping[str, Any], inputs: Mapping[str, Path]) -> Json | None:
    """The points of the candidate's grid with their validation losses; None where it has no grid.

    `seconds` and `cost_usd` are of all points that were trained to their end, the chosen one among them;
    what a point that failed took is not known.
    """
    grid = candidate["grid"]
    if grid is None:
        return None
    chosen = read_json(inputs[grid["choose"]] / CHOSEN) if grid["choose"] else {"index": None, "points": []}
    points = [_point(point, inputs, candidate.get("price_per_gpu_hour")) for point in grid["points"]]
    for point, told in zip(points, chosen["points"], strict=False):
        point["validation_loss"] = told["validation_loss"]
    costs = [point["cost_usd"] for point in points if point["cost_usd"] is not None]
    return {
        "tried": len(points),
        "failed": sum(point["failure"] is not None for point in points),
        "chosen": chosen["index"],
        "seconds": math.fsum(point["seconds"] or 0.0 for point in points),
        "cost_usd": math.fsum(costs) if costs else None,
        "points": points,
    }


def _point(point: Mapping[str, Any], inputs: Mapping[str, Path], price: float | None) -> Json:
    found: Json = {"settings": point["settings"], "validation_loss": None}
    if isinstance(point["train"], Mapping):
        return {**found, "seconds": None, "cost_usd": None, "failure": point["train"]["failure"]}
    outcome = read_json(inputs[point["train"]] / "outcome.json")
    seconds = receipts.seconds(outcome)
    return {**found, "seconds": seconds, "cost_usd": receipts.cost(outcome, price), "failure": None}


def totals(
    found: Json | None, trained: Sequence[Path], predicted: Sequence[Path], price: float | None
) -> Json:
    """What a candidate took in all: its search, the trainings of all its seeds, the passes over the eval set.

    `cost_usd` is None without a price, and on a CPU.
    """
    rest = trained[1:] if found else trained  # the first seed's training is a point of the search
    done = [read_json(folder / "outcome.json") for folder in rest]
    done += [read_json(folder / "predict.json") for folder in predicted]
    searched = [(found["seconds"], found["cost_usd"])] if found else []
    spent = [*searched, *((receipts.seconds(one), receipts.cost(one, price)) for one in done)]
    costs = [cost for _, cost in spent if cost is not None]
    return {"seconds": math.fsum(time for time, _ in spent), "cost_usd": math.fsum(costs) if costs else None}


def badges(found: Json | None) -> Iterator[str]:
    """How many recipes were tried, in a word or two."""
    if found and found["chosen"] is not None:
        yield f"best of {found['tried']} tried"


def warnings(found: Json | None) -> Iterator[str]:
    """The points that failed, each with its reason."""
    for point in found["points"] if found else ():
        if point["failure"] is not None:
            yield f"{fmt.settings(point['settings'])} was tried and failed: {point['failure']}"
