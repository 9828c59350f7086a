"""One metric over all candidates: scores, and every two of them compared.

Candidates are compared on the examples that both have; those that either lacks are counted, not guessed.
A metric per token measures candidates of different tokenizers on different scales: it compares only those
whose tokenizers are not known to differ. Where a candidate was trained with several seeds, intervals and
tests are over seeds and prompts, else over prompts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.leaderboard.evaluated import Trials
from harness.leaderboard.measurements import Mask, Measured, load
from harness.protocols import trait
from harness.records import Score, to_json
from harness.stats.crossed import spread
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE, holm
from harness.stats.paired import sign_flip
from harness.stats.power import implied_sd, power_of
from harness.stats.proportions import wilson, within
from harness.stats.resampling import bootstrap, paired_bootstrap, score_totals

Json = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)

FLOATS_AT_ONCE = 4_000_000
"""Systems are resampled together as long as their statistics are no more numbers than this (32 MB)."""


@dataclass(frozen=True)
class Compared:
    """What results.json says of one metric: `info`, every pair, and score and difference by candidate."""

    info: Json
    scores: Mapping[str, Json]
    pairs: Sequence[Json]
    differences: Mapping[str, Json]


def compare(
    metric: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
    trials: Trials,
) -> Compared:
    """All there is to say of one metric. The first candidate is base; one that failed has no score."""
    measured = load(metric, candidates, inputs, trials)
    found = scores(measured)
    names = [candidate["name"] for candidate in candidates if "value" in found[candidate["name"]]]
    rows = pairs(measured, names)
    base = candidates[0]["name"]
    apart = differences(rows, base, measured.info)
    for name in names:
        if name != base and name not in apart:
            failed = f"{base}: {found[base].get('missing', 'no example in common')}"
            apart[name] = {"missing": measured.incomparable(name) or failed}
    return Compared(measured.info, found, rows, apart)


def scores(measured: Measured) -> dict[str, Json]:
    """Candidate -> its score with a 95% interval over the examples, or why there is none.

    The interval is Wilson's for a metric that declares itself a share of examples, and else that of the
    bootstrap by example; of several seeds, that of `harness.stats.crossed`; `interval` says which it is.
    `incomparable` says why a score must not be set against the others.
    """
    # None of 40 is not 0% for certain, as the bootstrap would have it.
    proportion = trait(measured.evaluator, "proportion")
    found: dict[str, Json] = {name: {"missing": reason} for name, reason in measured.missing.items()}
    masks = {name: measured.scored(name) for name in measured.seeds}
    for mask, names in _groups(masks, measured):
        n = int(mask.sum())
        if n == 0:
            found |= {
                name: {
                    "missing": f"none of the {len(mask)} examples could be scored{_because(measured, name)}"
                }
                for name in names
            }
            continue
        statistics = np.stack([measured.mean_over_seeds(name)[mask] for name in names], axis=1)
        interval = bootstrap(statistics, measured.score)
        for name, value, low, high in zip(names, *interval, strict=True):
            if not np.isfinite(value):
                found[name] = {"missing": f"undefined over the {n} examples that were scored"}
                continue
            made = "bootstrap"
            if measured.has_several_seeds(name):
                made = "seeds and examples"
                low, high = _over_seeds(measured, name, mask, float(value), proportion=proportion)
            elif proportion:
                made = "wilson"
                low, high = wilson(value * n, n)
            per_seed = score_totals(measured.seeds[name][:, mask].sum(axis=1), measured.evaluator.score)
            score = Score(float(value), float(low), float(high), n, len(mask) - n)
            found[name] = {**to_json(score), "interval": made, "per_seed": per_seed.tolist()}
            if reason := measured.incomparable(name):
                found[name]["incomparable"] = reason
            if reason := _because(measured, name):
                found[name]["unscored_because"] = reason
    return found


def _because(measured: Measured, name: str) -> str:
    """Why answers could not be scored, in brackets; empty where no reason is known."""
    reason = measured.unread.get(name)
    return f" ({reason})" if reason else ""


def _over_seeds(
    measured: Measured, name: str, mask: Mask, value: float, *, proportion: bool
) -> tuple[float, float]:
    """The interval of a score over seeds and prompts; one with the unit `%` is a fraction, and stays one."""
    found = spread([measured.seeds[name][:, mask]], measured.evaluator.score)
    if proportion or measured.info["unit"] == "%":
        return found.share_interval(value, most=int(mask.sum()) if proportion else math.inf)
    return found.interval(value)


def is_comparable(score: Mapping[str, Any]) -> bool:
    """Whether there is a score, and on base's scale."""
    return "value" in score and "incomparable" not in score


def pairs(measured: Measured, names: Sequence[str]) -> list[Json]:
    """Every two of `names` that may be compared, a before b as in `names`; Holm over all of them."""
    present = [name for name in names if name in measured.seeds]
    return compared(measured, itertools.combinations(present, 2))


def compared(measured: Measured, chosen: Iterable[tuple[str, str]]) -> list[Json]:
    """Those of the chosen pairs (a, b) that may be compared and share examples; Holm over all of them."""
    masks = {(a, b): measured.scored(a) & measured.scored(b) for a, b in chosen if measured.comparable(a, b)}
    found: dict[tuple[str, str], Json] = {}
    for mask, members in _groups(masks, measured):
        if mask.any():
            found |= _compare(measured, mask, members)
    rows = [found[pair] for pair in masks if pair in found]
    for row, p_adjusted in zip(rows, holm([row["p_value"] for row in rows]), strict=True):
        row["p_adjusted"] = p_adjusted
        row["verdict"] = {1: "a", -1: "b", 0: NO_DIFFERENCE}[_direction(row, measured.info)]
        row.update(_power(row, measured, len(rows)))
        # After power, which reads the spread off it: few seeds may leave open more than there can be.
        row["low"], row["high"] = within(row["low"], row["high"], _furthest(measured))
    return rows


def _furthest(measured: Measured) -> float:
    """How far apart two scores can be: those with the unit `%` are fractions."""
    return 1.0 if measured.info["unit"] == "%" else math.inf


def _power(row: Json, measured: Measured, family: int) -> Json:
    """`stats.power` of a comparison, the spread of a prompt being that which the interval implies.

    `more_prompts` is None where the two are told apart already or, several seeds being compared, where that
    is no matter of prompts alone.
    """
    sd = implied_sd(row["low"], row["high"], row["n"])
    found = power_of(row["value"], sd, row["n"], family, most=_furthest(measured))
    settled = row["verdict"] != NO_DIFFERENCE or measured.has_several_seeds(row["a"], row["b"])
    return {**found, "more_prompts": None if settled else found["more_prompts"]}


def _compare(
    measured: Measured, mask: Mask, members: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Json]:
    first, second = (
        np.stack([measured.mean_over_seeds(pair[side])[mask] for pair in members], axis=1) for side in (0, 1)
    )
    interval = paired_bootstrap(first, second, measured.score)
    p_values = sign_flip(first, second, measured.score)
    found = {
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
    for pair, row in found.items():
        if measured.has_several_seeds(*pair):
            found[pair] = _with_seeds(measured, mask, row)
    return found


def _with_seeds(measured: Measured, mask: Mask, row: Json) -> Json:
    """A comparison that holds for other seeds too.

    Its p-value is no smaller than that over prompts alone: a spread of 0 between few seeds proves nothing.
    """
    apart = spread([measured.seeds[row[side]][:, mask] for side in ("a", "b")], measured.evaluator.score)
    low, high = apart.interval(row["value"])
    p_value = max(row["p_value"], apart.p_value(row["value"]))
    return {**row, "low": low, "high": high, "p_value": p_value}


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


def _groups(masks: Mapping[Key, Mask], measured: Measured) -> Iterator[tuple[Mask, list[Key]]]:
    """Keys with the same mask together, to be resampled with one set of draws, in bounded numbers."""
    alike: dict[bytes, list[Key]] = {}
    for key, mask in masks.items():
        alike.setdefault(mask.tobytes(), []).append(key)
    for keys in alike.values():
        size = max(1, FLOATS_AT_ONCE // next(iter(measured.seeds.values()))[0].size)
        for start in range(0, len(keys), size):
            yield masks[keys[start]], keys[start : start + size]
