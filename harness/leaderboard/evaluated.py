"""The files of the evaluate stage: the statistics and values of a metric, of every trial that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import StageError
from harness.json_files import iter_json_lines
from harness.leaderboard.distributions import Column
from harness.protocols import FloatArray


@dataclass(frozen=True)
class Evaluated:
    """What the evaluate stage left of one trial, in the order of the eval set.

    `statistics` is (n, k), NaN where unmeasured; `values` has the metric of each example alone, or None.
    """

    statistics: FloatArray
    values: Column


Trials = Mapping[str, Sequence[Evaluated | None]]
"""Candidate -> a metric's files by trial; None where the step was not done."""


def read_trials(
    metric: str,
    candidates: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
    ids: Sequence[str],
) -> Trials:
    """The files of one metric. Raises StageError where a candidate was not shown the examples `ids`."""
    return {
        candidate["name"]: [_read(t["evaluate"].get(metric), inputs, ids) for t in candidate["trials"]]
        for candidate in candidates
    }


def _read(entry: Any, inputs: Mapping[str, Path], ids: Sequence[str]) -> Evaluated | None:
    if not isinstance(entry, str):
        return None
    path = inputs[entry] / "statistics.jsonl"
    lines = list(iter_json_lines(path))
    if [line["id"] for line in lines] != list(ids):
        raise StageError(f"{path}: these are not the examples of the eval set, in its order")
    statistics = np.array([line["statistics"] for line in lines], dtype=np.float64)
    return Evaluated(statistics.reshape(len(lines), -1), [line["value"] for line in lines])
