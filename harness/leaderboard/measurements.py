"""One metric over all candidates: the statistics of their trials together, on the same examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness import registry
from harness.json_files import read_json
from harness.leaderboard import receipts
from harness.leaderboard.evaluated import Trials
from harness.protocols import FloatArray, trait
from harness.records import PluginSpec, from_json, total_cost

Json = dict[str, Any]
Mask = npt.NDArray[np.bool_]

INSTEAD = "compare bits per byte"
"""What to do where two tokenizers count differently."""


@dataclass(frozen=True)
class Measured:
    """A metric's statistics of all candidates that have them.

    `seeds` maps a candidate to (seeds, n, k) statistics over the eval set; an example that some seed could
    not measure is NaN in all of them. `missing` maps the other candidates to the reason. `tokenizers` maps
    candidates, base first, to digests; it holds none where the metric does not count in tokens. `unread` says
    of candidates why answers of theirs could not be scored, where the evaluator gives a reason.
    """

    info: Json
    evaluator: Any
    seeds: Mapping[str, FloatArray]
    missing: Mapping[str, str]
    tokenizers: Mapping[str, str]
    unread: Mapping[str, str]

    @property
    def scale(self) -> int:
        """The least common multiple of the numbers of seeds: sums of counts then stay whole numbers."""
        return math.lcm(1, *(len(seeds) for seeds in self.seeds.values()))

    def mean_over_seeds(self, name: str) -> FloatArray:
        """(n, k): a candidate's statistics in the mean over its seeds, times `scale`."""
        seeds = self.seeds[name]
        return np.asarray(seeds.sum(axis=0) * (self.scale // len(seeds)))

    def has_several_seeds(self, *names: str) -> bool:
        """Whether any of the candidates was trained more than once."""
        return any(len(self.seeds[name]) > 1 for name in names)

    def score(self, totals: FloatArray) -> FloatArray:
        """The metric of sums of `mean_over_seeds`."""
        return np.asarray(self.evaluator.score(totals / self.scale))

    def scored(self, name: str) -> Mask:
        return np.asarray(~np.isnan(self.seeds[name][0, :, 0]))

    def comparable(self, a: str, b: str) -> bool:
        """Whether two candidates are measured on one scale, as far as is known."""
        known = {self.tokenizers[name] for name in (a, b) if name in self.tokenizers}
        return len(known) < 2

    def incomparable(self, name: str) -> str:
        """Why a candidate has no place among the others: its tokenizer is not base's; empty where it has.

        Where base's is unknown, that of the first candidate whose tokenizer is known stands for it.
        """
        first = next(iter(self.tokenizers), name)
        return "" if self.comparable(first, name) else f"another tokenizer than {first}'s: {INSTEAD}"


def load(
    metric: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    inputs: Mapping[str, Path],
    trials: Trials,
) -> Measured:
    """One metric out of its `trials`. A candidate with a failed trial has no score at all."""
    seeds: dict[str, FloatArray] = {}
    missing: dict[str, str] = {}
    unread: dict[str, str] = {}
    receipts_of: dict[str, Json] = {}
    info: Json = {"label": metric["name"], "unit": "", "higher_is_better": True, "signature": ""}
    for candidate in candidates:
        found = [trial["evaluate"].get(metric["name"]) for trial in candidate["trials"]]
        reason = why_missing(candidate, found)
        if reason:
            missing[candidate["name"]] = reason
            continue
        told = [read_json(inputs[name] / "evaluator.json") for name in found]
        info = told[0]
        receipts_of |= zip(found, told, strict=True)
        unread[candidate["name"]] = _why_unread(told)
        statistics = by_seed([trial.statistics for trial in trials[candidate["name"]] if trial])
        if np.isnan(statistics).all() and (reason := _why_unmeasured(metric, candidate, inputs)):
            missing[candidate["name"]] = reason
        else:
            seeds[candidate["name"]] = statistics
    # Where no candidate has a score there is nothing to compute, and perhaps no plugin that can be made.
    evaluator = registry.create(from_json(PluginSpec, metric["evaluator"])) if seeds else None
    keys = ("label", "unit", "higher_is_better", "signature")
    receipt = _receipt(list(receipts_of.values()))
    plugin = metric["evaluator"]
    info = {
        "name": metric["name"],
        **{key: info[key] for key in keys},
        "plugin": {"name": plugin["name"], "options": receipts.without_folders(plugin["options"])},
        "prompts": metric["prompts"],
        "receipt": receipt,
    }
    per_token = trait(evaluator, "per_token")
    tokenizers = _tokenizers(candidates, inputs) if per_token else {}
    return Measured(info, evaluator, seeds, missing, tokenizers, unread)


def _receipt(told: Sequence[Json]) -> Json | None:
    """What a server took for a metric, over all steps; None where none was asked."""
    paid = [one for one in told if "requests" in one]
    if not paid:
        return None
    counts = ("requests", "prompt_tokens", "completion_tokens")
    sums = {key: sum(one[key] for one in paid) for key in counts}
    return {**sums, "cost_usd": total_cost(one["cost_usd"] for one in paid)}


def _why_unread(told: Sequence[Json]) -> str:
    """`38 invalid, 2 refused; for example: the reply is empty`, of all trials; empty where none is known."""
    faults: Counter[str] = Counter()
    for one in told:
        faults.update(one.get("faults", {}))
    counts = ", ".join(f"{n:,} {fault.replace('_', ' ')}" for fault, n in sorted(faults.items()))
    reason = next((str(one["reason"]) for one in told if one.get("reason")), "")
    return f"{counts}; for example: {reason}" if counts else ""


def _tokenizers(candidates: Sequence[Mapping[str, Any]], inputs: Mapping[str, Path]) -> dict[str, str]:
    """Candidate -> digest of the tokenizer it answered with, where its backend names one."""
    digests = {c["name"]: receipts.tokenizer(receipts.folders(c, "predict", inputs)) for c in candidates}
    return {name: digest for name, digest in digests.items() if digest}


def why_missing(candidate: Mapping[str, Any], found: Sequence[Any]) -> str:
    """Why a candidate lacks a figure of which `found` are the inputs by trial; empty where it has it."""
    failure = next((t["failure"] for t in candidate["trials"] if t["failure"]), None)
    if failure:
        return f"{failure['stage']} failed"
    broken = next((entry for entry in found if isinstance(entry, Mapping)), None)
    if broken is not None:
        return str(broken["failure"])
    return "" if all(found) else "not asked for"


def _why_unmeasured(
    metric: Mapping[str, Any], candidate: Mapping[str, Any], inputs: Mapping[str, Path]
) -> str:
    """Why a metric measures none of a candidate's answers, though it gave some; empty if nothing is known."""
    evaluator = registry.create(from_json(PluginSpec, metric["evaluator"]))
    predicted = receipts.folders(candidate, "predict", inputs)
    if not trait(evaluator, "needs_likelihoods") or receipts.scores(predicted):
        return ""
    return f"backend {candidate['backend']} has no likelihoods"


def by_seed(trials: Sequence[FloatArray]) -> FloatArray:
    """(seeds, n, k) out of the (n, k) of each trial; what one of them could not measure is NaN in all."""
    statistics = np.stack(trials)
    statistics[:, np.isnan(statistics).any(axis=(0, 2))] = np.nan
    return statistics
