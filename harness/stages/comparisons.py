"""One metric over all candidates: scores, every two of them compared, and what ranks that leaves possible.

Candidates are compared on the examples that both have; those that either lacks are counted, not guessed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from harness import registry
from harness.errors import StageError
from harness.protocols import FloatArray
from harness.records import PluginSpec, from_json, iter_json_lines, read_json
from harness.stats.multiplicity import holm
from harness.stats.paired import sign_flip
from harness.stats.proportions import wilson
from harness.stats.resampling import bootstrap, paired_bootstrap, score_totals

Json = dict[str, Any]
Mask = npt.NDArray[np.bool_]
Key = TypeVar("Key", bound=Hashable)

ALPHA = 0.05
NO_DIFFERENCE = "cannot be told apart"
FLOATS_AT_ONCE = 4_000_000
"""Systems are resampled together as long as their statistics are no more numbers than this (32 MB)."""


@dataclass(frozen=True)
class Compared:
    """What results.json says of one metric: `info`, every pair, and score and difference by candidate."""

    info: Json
    scores: Mapping[str, Json]
    pairs: Sequence[Json]
    differences: Mapping[str, Json]


@dataclass(frozen=True)
class Measured:
    """A metric's statistics of all candidates that have them.

    `seeds` maps a candidate to (seeds, n, k) statistics over the eval set; an example that some seed could
    not measure is NaN in all of them. `missing` maps the other candidates to the reason.
    """

    info: Json
    evaluator: Any
    seeds: Mapping[str, FloatArray]
    missing: Mapping[str, str]

    @property
    def scale(self) -> int:
        """The least common multiple of the numbers of seeds: sums of counts then stay whole numbers."""
        return math.lcm(1, *(len(seeds) for seeds in self.seeds.values()))

    def mean_over_seeds(self, name: str) -> FloatArray:
        """(n, k): a candidate's statistics in the mean over its seeds, times `scale`."""
        seeds = self.seeds[name]
        return np.asarray(seeds.sum(axis=0) * (self.scale // len(seeds)))

    def score(self, totals: FloatArray) -> FloatArray:
        """The metric of sums of `mean_over_seeds`."""
        return np.asarray(self.evaluator.score(totals / self.scale))

    def scored(self, name: str) -> Mask:
        return np.asarray(~np.isnan(self.seeds[name][0, :, 0]))


def compare(
    metric: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
    ids: Sequence[str],
) -> Compared:
    """All there is to say of one metric. The first candidate is base; one that failed has no score."""
    measured = load(metric, candidates, inputs, ids)
    found = scores(measured)
    names = [candidate["name"] for candidate in candidates if "value" in found[candidate["name"]]]
    rows = pairs(measured, names)
    base = candidates[0]["name"]
    apart = differences(rows, base, measured.info)
    for name in names:
        if name != base and name not in apart:
            apart[name] = {"missing": f"{base}: {found[base].get('missing', 'no example in common')}"}
    return Compared(measured.info, found, rows, apart)


def load(
    metric: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
    ids: Sequence[str],
) -> Measured:
    """What the evaluate stage wrote of one metric. A candidate with a failed trial has no score at all."""
    seeds: dict[str, FloatArray] = {}
    missing: dict[str, str] = {}
    info: Json = {"label": metric["name"], "unit": "", "higher_is_better": True, "signature": ""}
    for candidate in candidates:
        found = [trial["evaluate"].get(metric["name"]) for trial in candidate["trials"]]
        reason = why_missing(candidate, found)
        if reason:
            missing[candidate["name"]] = reason
            continue
        folders = [inputs[name] for name in found]
        info = read_json(folders[0] / "evaluator.json")
        seeds[candidate["name"]] = _read_seeds(folders, ids)
    # Where no candidate has a score there is nothing to compute, and perhaps no plugin that can be made.
    evaluator = registry.create(from_json(PluginSpec, metric["evaluator"])) if seeds else None
    keys = ("label", "unit", "higher_is_better", "signature")
    return Measured({"name": metric["name"], **{key: info[key] for key in keys}}, evaluator, seeds, missing)


def why_missing(candidate: Mapping[str, Any], found: Sequence[Any]) -> str:
    """Why a candidate lacks a figure of which `found` are the inputs by trial; empty where it has it."""
    failure = next((t["failure"] for t in candidate["trials"] if t["failure"]), None)
    if failure:
        return f"{failure['stage']} failed"
    broken = next((entry for entry in found if isinstance(entry, Mapping)), None)
    if broken is not None:
        return str(broken["failure"])
    return "" if all(found) else "not asked for"


def _read_seeds(folders: Sequence[Path], ids: Sequence[str]) -> FloatArray:
    statistics = np.stack([_read_statistics(folder / "statistics.jsonl", ids) for folder in folders])
    statistics[:, np.isnan(statistics).any(axis=(0, 2))] = np.nan
    return statistics


def _read_statistics(path: Path, ids: Sequence[str]) -> FloatArray:
    """(n, k) in the order of the eval set; every candidate must have been shown the same examples."""
    lines = list(iter_json_lines(path))
    if [line["id"] for line in lines] != list(ids):
        raise StageError(f"{path}: these are not the examples of the eval set, in its order")
    return np.array([line["statistics"] for line in lines], dtype=np.float64).reshape(len(lines), -1)


def scores(measured: Measured) -> dict[str, Json]:
    """Candidate -> its score with a 95% interval over the examples, or why there is none.

    The interval is Wilson's for a share of examples, and else that of the bootstrap by example.
    """
    found: dict[str, Json] = {name: {"missing": reason} for name, reason in measured.missing.items()}
    masks = {name: measured.scored(name) for name in measured.seeds}
    for mask, names in _groups(masks, measured):
        n = int(mask.sum())
        if n == 0:
            found |= {
                name: {"missing": f"none of the {len(mask)} examples could be scored"} for name in names
            }
            continue
        statistics = np.stack([measured.mean_over_seeds(name)[mask] for name in names], axis=1)
        interval = bootstrap(statistics, measured.score)
        for index, (name, value, low, high) in enumerate(zip(names, *interval, strict=True)):
            if _is_share_of_examples(statistics[:, index] / measured.scale, value):
                low, high = wilson(round(value * n), n)
            per_seed = score_totals(measured.seeds[name][:, mask].sum(axis=1), measured.evaluator.score)
            score = {"value": value, "low": low, "high": high, "n": n, "unscored": len(mask) - n}
            undefined = {"missing": f"undefined over the {n} examples that were scored"}
            found[name] = {**score, "per_seed": per_seed.tolist()} if np.isfinite(value) else undefined
    return found


def _is_share_of_examples(statistics: FloatArray, value: float) -> bool:
    """Whether a metric is a share of examples, each counted or not: none of 40 is not 0% for certain."""
    counted, ones = statistics[:, 0], statistics[:, 1:]
    plain = ones.shape[1] == 1 and bool((ones == 1).all()) and bool(np.isin(counted, (0, 1)).all())
    return plain and math.isclose(value, counted.mean(), abs_tol=1e-12)


def pairs(measured: Measured, names: Sequence[str]) -> list[Json]:
    """Every two of `names` that have the metric, a before b as in `names`; Holm over all of them."""
    present = [name for name in names if name in measured.seeds]
    masks = {(a, b): measured.scored(a) & measured.scored(b) for a, b in itertools.combinations(present, 2)}
    found: dict[tuple[str, str], Json] = {}
    for mask, members in _groups(masks, measured):
        if mask.any():
            found |= _compare(measured, mask, members)
    rows = [found[pair] for pair in masks if pair in found]
    for row, p_adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_adjusted"] = p_adjusted
        row["verdict"] = {1: "a", -1: "b", 0: NO_DIFFERENCE}[_direction(row, measured.info)]
    return rows


def _compare(
    measured: Measured, mask: Mask, members: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Json]:
    first, second = (
        np.stack([measured.mean_over_seeds(pair[side])[mask] for pair in members], axis=1) for side in (0, 1)
    )
    interval = paired_bootstrap(first, second, measured.score)
    p_values = sign_flip(first, second, measured.score)
    return {
        (a, b): {
            "metric": measured.info["name"],
            "a": a,
            "b": b,
            "value": value,
            "low": low,
            "high": high,
            "n": int(mask.sum()),
            "p_value": p_value,
        }
        for (a, b), value, low, high, p_value in zip(members, *interval, p_values, strict=True)
    }


def differences(rows: Sequence[Json], base: str, info: Mapping[str, Any]) -> dict[str, Json]:
    """Candidate -> its difference to base, out of `pairs`; Holm over the candidates."""
    mine = [row for row in rows if base in (row["a"], row["b"])]
    adjusted = holm([row["p_value"] for row in mine])
    found: dict[str, Json] = {}
    for row, p_adjusted in zip(mine, adjusted, strict=True):
        name, turned = (row["b"], -1) if row["a"] == base else (row["a"], 1)
        low, high = sorted((turned * row["low"], turned * row["high"]))
        difference = {
            "against": base,
            "value": turned * row["value"],
            "low": low,
            "high": high,
            "n": row["n"],
            "p_value": row["p_value"],
            "p_adjusted": p_adjusted,
        }
        verdict = {1: "better", -1: "worse", 0: NO_DIFFERENCE}[_direction(difference, info)]
        found[name] = {**difference, "verdict": verdict}
    return found


def _direction(difference: Mapping[str, Any], info: Mapping[str, Any]) -> int:
    """1 where a positive difference is a significant gain, -1 where a loss, 0 where neither is shown."""
    if not difference["p_adjusted"] < ALPHA or difference["value"] == 0:
        return 0
    return 1 if (difference["value"] > 0) == info["higher_is_better"] else -1


def rank_intervals(rows: Sequence[Json], names: Sequence[str]) -> dict[str, list[int]]:
    """Candidate -> the [best, worst] rank among `names` that the pairs' verdicts leave possible."""
    above = dict.fromkeys(names, 0)
    below = dict.fromkeys(names, 0)
    for row in rows:
        if row["a"] not in above or row["b"] not in above or row["verdict"] == NO_DIFFERENCE:
            continue
        better, worse = (row["a"], row["b"]) if row["verdict"] == "a" else (row["b"], row["a"])
        above[worse] += 1
        below[better] += 1
    return {name: [1 + above[name], len(names) - below[name]] for name in names}


def _groups(masks: Mapping[Key, Mask], measured: Measured) -> Iterator[tuple[Mask, list[Key]]]:
    """Keys with the same mask together, to be resampled with one set of draws, in bounded numbers."""
    alike: dict[bytes, list[Key]] = {}
    for key, mask in masks.items():
        alike.setdefault(mask.tobytes(), []).append(key)
    for keys in alike.values():
        size = max(1, FLOATS_AT_ONCE // next(iter(measured.seeds.values()))[0].size)
        for start in range(0, len(keys), size):
            yield masks[keys[start]], keys[start : start + size]
