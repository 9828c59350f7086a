"""A judge's verdicts on the candidates, as win rates with what they are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from harness.records import Choice, iter_json_lines, read_json
from harness.stages.comparisons import ALPHA, NO_DIFFERENCE
from harness.stages.measurements import why_missing
from harness.stats.multiplicity import holm
from harness.stats.pairwise import Codes, aggregate, encode

Json = dict[str, Any]
EVEN = 0.5
"""The win rate of two equals."""
UNPARSED_LIMIT = 0.10
"""Above this share of unreadable verdicts no conclusion is drawn: they are not missing at random."""
COUNTS = ("skipped", "from_cache", "prompt_tokens", "completion_tokens")
"""What a judge's receipt counts: pairs without an answer, verdicts not asked for again, tokens paid for."""
RULES = ("average", "tie_on_disagreement", "consistent_only")


def win_rates(
    judge: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]], inputs: Mapping[str, Path]
) -> dict[str, Json]:
    """Candidate -> its win rate by this judge, or why there is none; Holm over the candidates.

    Candidates that the judge was not asked about, the opponent first of all, are left out.
    """
    found: dict[str, Json] = {}
    for candidate in candidates:
        entries = [trial["judges"].get(judge["name"]) for trial in candidate["trials"]]
        if not any(entries):
            continue
        reason = why_missing(candidate, entries)
        folders = [] if reason else [inputs[name] for name in entries]
        found[candidate["name"]] = {"missing": reason} if reason else _win_rate(folders, judge["against"])
    rated = [rate for rate in found.values() if "missing" not in rate]
    for rate, p_adjusted in zip(rated, holm([rate["p_value"] for rate in rated]), strict=True):
        rate["p_adjusted"] = p_adjusted
        rate["verdict"] = _verdict(rate)
    return found


def signature(
    judge: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]], inputs: Mapping[str, Path]
) -> str:
    """How the judge's verdicts came about, in its own words; empty where it gave none."""
    for candidate in candidates:
        for trial in candidate["trials"]:
            entry = trial["judges"].get(judge["name"])
            if isinstance(entry, str):
                return str(read_json(inputs[entry] / "judge.json")["signature"])
    return ""


def _win_rate(folders: Sequence[Path], against: str) -> Json:
    receipts = [read_json(folder / "judge.json") for folder in folders]
    seeds = [_choices(folder) for folder in folders]
    if not any(seeds):
        return {"missing": f"no prompt has an answer of both candidate and {against}"}
    rate = aggregate(*_codes(seeds))
    if not rate.pairs:
        return {"missing": f"none of the {rate.incomplete} pairs got a readable verdict in both orders"}
    whole = asdict(rate)
    rules = {rule: whole.pop(rule) for rule in RULES}
    costs = [receipt["cost_usd"] for receipt in receipts]
    return {
        "against": against,
        "n": rate.average.n,
        "rules": rules,
        **whole,
        "unparsed": (rate.unparsed_candidate_first + rate.unparsed_opponent_first) / 2,
        "cost_usd": None if None in costs else sum(costs),
        **{key: sum(receipt[key] for receipt in receipts) for key in COUNTS},
    }


def _choices(folder: Path) -> dict[tuple[str, bool], Choice]:
    """(example, whether the candidate stood first) -> verdict."""
    return {
        (line["example_id"], line["candidate_first"]): line["verdict"]["choice"]
        for line in iter_json_lines(folder / "verdicts.jsonl")
    }


def _codes(seeds: Sequence[Mapping[tuple[str, bool], Choice]]) -> tuple[Codes, Codes]:
    """(seeds, prompts) codes for either order; an order that was not asked counts as unparsed."""
    ids = list(dict.fromkeys(example for seed in seeds for example, _ in seed))
    first, second = (
        np.stack([encode([seed.get((example, order), "unparsed") for example in ids]) for seed in seeds])
        for order in (True, False)
    )
    return first, second


def _verdict(rate: Mapping[str, Any]) -> str:
    if rate["unparsed"] > UNPARSED_LIMIT or not rate["p_adjusted"] < ALPHA:
        return NO_DIFFERENCE
    return "better" if rate["rules"]["average"]["value"] > EVEN else "worse"
