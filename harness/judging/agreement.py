"""How far judges agree: two by Cohen's kappa, all by Krippendorff's alpha and Fleiss' kappa."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from harness.judging.analysis import finite
from harness.judging.duels import lay_out, mean_by_group
from harness.judging.table import IntArray, Verdicts
from harness.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

Json = dict[str, Any]
CATEGORIES = 3
"""Win, tie, loss."""


def agreement(judges: Mapping[str, Verdicts], *, seed: int = 0) -> Json:
    """{"pairs": for each two judges {a, b, n, same, kappa, low, high}, "krippendorff", "fleiss"}.

    A unit is a prompt with two players; its worth to one of them, averaged over orders and seeds, is cut into
    win (above 1/2), tie and loss. Units of one prompt are resampled together. `fleiss` is over the units
    that every judge rated, `krippendorff` over those that two or more did; None below two judges.
    """
    if len(judges) < 2:
        return {"pairs": [], "krippendorff": None, "fleiss": None}
    outcomes = {name: _outcomes(table) for name, table in judges.items()}
    units = sorted(set().union(*outcomes.values()))
    _, cluster = np.unique([unit[0] for unit in units], return_inverse=True)
    codes = {name: np.array([said.get(unit, -1) for unit in units], int) for name, said in outcomes.items()}
    found = {
        "pairs": [
            {"a": a, "b": b, **_of_two(codes[a], codes[b], cluster, seed)}
            for a, b in itertools.combinations(codes, 2)
        ],
        **_of_all(np.stack(list(codes.values())), cluster, seed),
    }
    json: Json = finite(found)
    return json


def _of_two(a: IntArray, b: IntArray, cluster: IntArray, seed: int) -> Json:
    both = (a >= 0) & (b >= 0)
    kappa = cohen_kappa(a, b, categories=CATEGORIES, cluster=cluster, seed=seed)
    return {
        "n": int(both.sum()),
        "same": float((a == b)[both].mean()) if both.any() else math.nan,
        "kappa": kappa.value,
        "low": kappa.low,
        "high": kappa.high,
    }


def _of_all(codes: IntArray, cluster: IntArray, seed: int) -> Json:
    """`codes` is (judges, units), -1 where a judge has no verdict."""
    ratings = (codes >= 0).sum(axis=0)
    whole = ratings == len(codes)
    counts = (codes[:, whole, None] == np.arange(CATEGORIES)).sum(axis=0)
    alpha = krippendorff_alpha(codes, cluster=cluster, seed=seed)
    fleiss = fleiss_kappa(counts, cluster=cluster[whole], seed=seed)
    return {
        "krippendorff": {**alpha._asdict(), "n": int((ratings > 1).sum())},
        "fleiss": {**fleiss._asdict(), "n": int(whole.sum())},
    }


def _outcomes(table: Verdicts) -> dict[tuple[str, str, str], int]:
    """(example, player, player in the order of their names) -> 0 win of the first, 1 tie, 2 loss."""
    duels = lay_out(table)
    n = max(len(table.examples), 1)
    units, unit = np.unique(duels.pair * n + duels.prompt, return_inverse=True)
    worth = mean_by_group(duels.average, unit, len(units))
    found = {}
    for pair, prompt, value in zip((units // n).tolist(), (units % n).tolist(), worth.tolist(), strict=True):
        if not math.isnan(value):
            one, other = (table.players[player] for player in duels.pairs[pair])
            lead = int(np.sign(value - 0.5)) * (1 if one < other else -1)
            found[table.examples[prompt], min(one, other), max(one, other)] = 1 - lead
    return found
