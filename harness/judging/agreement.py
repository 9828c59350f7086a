"""How far judges agree: two by Cohen's kappa, all by Krippendorff's alpha and Fleiss' kappa."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from harness.judging.analysis import finite
from harness.judging.duels import lay_out, mean_by_group
from harness.judging.table import Verdicts
from harness.protocols import IntArray
from harness.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

Json = dict[str, Any]
CATEGORIES = 3
"""Win, tie, loss."""


def agreement(
    judges: Mapping[str, Verdicts], *, together: Collection[str] | None = None, seed: int = 0
) -> Json:
    """{"pairs": for each two judges {a, b, n, same, kappa, low, high}, "krippendorff", "fleiss"}.

    A unit is a prompt with two players, identical answers left out; the choices of both orders, and of the
    seeds together, make it a win of one of them, a tie or a loss: where the orders disagree, a tie. Every
    unit counts from the sides of both players, so that no coefficient depends on the players' names. Units of
    one prompt are resampled together. `fleiss` is over the units that every judge rated, `krippendorff` over
    those that two or more did, of the judges in `together` or of all; None below two. `n` is of units.
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
        **_of_all([codes[name] for name in codes if together is None or name in together], cluster, seed),
    }
    return finite(found)


def _of_two(a: IntArray, b: IntArray, cluster: IntArray, seed: int) -> Json:
    both = (a >= 0) & (b >= 0)
    sides, cluster = _from_both_sides(np.stack([a, b])), np.tile(cluster, 2)
    kappa = cohen_kappa(*sides, categories=CATEGORIES, cluster=cluster, seed=seed)
    return {
        "n": int(both.sum()),
        "same": float((a == b)[both].mean()) if both.any() else math.nan,
        "kappa": kappa.value,
        "low": kappa.low,
        "high": kappa.high,
    }


def _of_all(judges: Sequence[IntArray], cluster: IntArray, seed: int) -> Json:
    """Each of `judges` is (units,), -1 where it has no verdict."""
    if len(judges) < 2:
        return {"krippendorff": None, "fleiss": None}
    codes = np.stack(judges)
    ratings = (codes >= 0).sum(axis=0)
    whole = ratings == len(codes)
    sides, cluster = _from_both_sides(codes), np.tile(cluster, 2)
    complete = np.tile(whole, 2)
    counts = (sides[:, complete, None] == np.arange(CATEGORIES)).sum(axis=0)
    alpha = krippendorff_alpha(sides, cluster=cluster, seed=seed)
    fleiss = fleiss_kappa(counts, cluster=cluster[complete], seed=seed)
    return {
        "krippendorff": {**alpha._asdict(), "n": int((ratings > 1).sum())},
        "fleiss": {**fleiss._asdict(), "n": int(whole.sum())},
    }


def _from_both_sides(codes: IntArray) -> IntArray:
    """(judges, 2 units): the codes, then the same as the other player of each unit sees them."""
    return np.concatenate([codes, np.where(codes < 0, codes, CATEGORIES - 1 - codes)], axis=1)


def _outcomes(table: Verdicts) -> dict[tuple[str, str, str], int]:
    """(example, player, player in the order of their names) -> 0 win of the first, 1 tie, 2 loss."""
    duels = lay_out(table.asked)
    n = max(len(table.examples), 1)
    units, unit = np.unique(duels.pair * n + duels.prompt, return_inverse=True)
    leads = mean_by_group(np.where(duels.judged, duels.lead, np.nan), unit, len(units))
    found = {}
    for pair, prompt, value in zip((units // n).tolist(), (units % n).tolist(), leads.tolist(), strict=True):
        if not math.isnan(value):
            one, other = (table.players[player] for player in duels.pairs[pair])
            lead = int(np.sign(value)) * (1 if one < other else -1)
            found[table.examples[prompt], min(one, other), max(one, other)] = 1 - lead
    return found
