"""The choice among a grid's points, by validation loss; the held-out examples have no say in it.

A point that failed has no input here. The winner's artifact is handed on as this stage's own, so that
whatever takes a trained model takes the choice.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import StageError
from harness.json_files import iter_json_lines, read_json, write_json
from harness.leaderboard.search import CHOSEN
from harness.protocols import Progress

VERSION = 1
OWN = ("manifest.json", "output.log")
"""What the store and the worker write beside a stage's files."""


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write chosen.json, the points with their validation losses, beside the winner's files.

    Of equals the first wins. StageError if no point has a validation loss.
    """
    points = []
    for index, point in enumerate(params["points"]):
        folder = inputs.get(f"point {index}")
        loss = None if folder is None else _kept_loss(folder, keeps_best=point["keeps_best"])
        points.append({"settings": point["settings"], "validation_loss": loss})
    losses = {i: point["validation_loss"] for i, point in enumerate(points)}
    known = {index: loss for index, loss in losses.items() if loss is not None}
    if not known:
        raise StageError("no point of the grid has a validation loss, so none can be chosen")
    index = min(known, key=known.__getitem__)
    _hand_on(inputs[f"point {index}"], out)
    write_json(out / CHOSEN, {"index": index, "points": points})
    progress(1, 1)


def _kept_loss(folder: Path, *, keeps_best: bool) -> float | None:
    """The validation loss of the weights that were kept; None where they were not validated.

    The lowest loss is theirs only where the best weights were put back: else the last one is, if it was
    taken after the last step.
    """
    outcome = read_json(folder / "outcome.json")
    loss = outcome["best_validation_loss"]
    if not keeps_best:
        log = iter_json_lines(folder / "log.jsonl")
        validations = [line for line in log if line["type"] == "validation"]
        at_end = validations and validations[-1]["step"] == outcome["steps"]
        loss = validations[-1]["loss"] if at_end else None
    return None if loss is None or not math.isfinite(loss) else float(loss)


def _hand_on(winner: Path, out: Path) -> None:
    """The winner's files under `out`: as further names of the same files where the disk allows it."""
    for path in winner.iterdir():
        if path.name in OWN:
            continue
        target = out / path.name
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)  # what a killed attempt left
            shutil.copytree(path, target, copy_function=_link)
        else:
            target.unlink(missing_ok=True)
            _link(path, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
