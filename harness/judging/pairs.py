"""Who is better than whom: pairs, players against the field, and players against one common opponent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.judging import panels
from harness.judging.duels import Duels
from harness.judging.panels import EVEN, Worths, ratio, total
from harness.judging.table import UNPARSED_LIMIT, BoolArray
from harness.stats.crossed import spread
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.multiplicity import holm
from harness.stats.paired import sign_flip
from harness.stats.power import prompts_needed, smallest_effect
from harness.stats.rates import p_value_of_even
from harness.stats.resampling import paired_bootstrap

Json = dict[str, Any]
ALPHA = 0.05
NO_DIFFERENCE = "cannot be told apart"
FIELD = "all"
"""What a player is rated against in a round robin."""


def pair_rows(duels: Duels, players: Sequence[str], *, refused: bool, seed: int = 0) -> list[Json]:
    """Every pair from the side of a, with p-values corrected over all of them."""
    contests = [duels.select([index]) for index in range(len(duels.pairs))]
    rows = [
        {"a": players[a], "b": players[b], **row}
        for (a, b), row in zip(duels.pairs.tolist(), _rows(contests, seed), strict=True)
    ]
    return _judge(rows, ("a", "b"), refused)


def rates_against_field(
    duels: Duels, players: Sequence[str], *, refused: bool, seed: int = 0
) -> dict[str, Json]:
    """Player -> its rates against all others: their mean within a prompt first, then over prompts."""
    present = [index for index in range(len(players)) if (duels.pairs == index).any()]
    rows = [{"against": FIELD, **row} for row in _rows([duels.of(index) for index in present], seed)]
    judged = _judge(rows, ("better", "worse"), refused)
    return dict(zip((players[index] for index in present), judged, strict=True))


def rates_against_one(pairs: Iterable[Json]) -> dict[str, Json]:
    """Player -> its rates against b, which is the same in all `pairs`."""
    words = {"a": "better", "b": "worse", NO_DIFFERENCE: NO_DIFFERENCE}
    rows = [dict(pair) for pair in pairs]
    return {row.pop("a"): {"against": row.pop("b"), **row, "verdict": words[row["verdict"]]} for row in rows}


def differences(duels: Duels, players: Sequence[str], *, refused: bool, seed: int = 0) -> list[Json]:
    """Every two players by their win rates against the common opponent b, paired by prompt.

    On the prompts on which both have been compared with it. `value` is the rate of a minus that of b.
    """
    averages = [panels.worths(duels.select([index]))["average"] for index in range(len(duels.pairs))]
    names = [players[a] for a in duels.pairs[:, 0].tolist()]
    rows = [
        {"a": a, "b": b, **_difference(one, other, seed)}
        for (a, one), (b, other) in itertools.combinations(zip(names, averages, strict=True), 2)
    ]
    return _correct(rows, ("a", "b"), lambda row: row["value"], refused)


def better(rows: Iterable[Mapping[str, Any]], players: Sequence[str]) -> BoolArray:
    """(players, players): True where a verdict says that the player of the row beats that of the column."""
    found = np.zeros((len(players), len(players)), dtype=np.bool_)
    place = {name: index for index, name in enumerate(players)}
    for row in rows:
        if row["verdict"] != NO_DIFFERENCE:
            winner, loser = (row["a"], row["b"]) if row["verdict"] == "a" else (row["b"], row["a"])
            found[place[winner], place[loser]] = True
    return found


def _rows(contests: Sequence[Duels], seed: int) -> list[Json]:
    by_rule = [panels.worths(contest) for contest in contests]
    return [
        {
            "n": len(worth["average"].known),
            "rules": panels.rates(worth, seed=seed),
            **panels.diagnostics(contest),
            **panels.unparsed(contest),
            **_power(worth["average"], len(contests)),
            "p_value": p_value_of_even(worth["average"].by_seed, seed=seed),
        }
        for contest, worth in zip(contests, by_rule, strict=True)
    ]


def _power(worth: Worths, family: int) -> Json:
    """What the prompts could show with a chance of 80%, and how many would show the difference that was seen.

    At the level that one of `family` comparisons is held to where none is easier than another.
    """
    n, level = len(worth.known), 1 - ALPHA / max(family, 1)
    if n < 2:
        return {"smallest_effect": math.nan, "prompts_needed": math.nan}
    sd = float(worth.known.std(ddof=1))
    return {
        "smallest_effect": smallest_effect(sd, n, level=level),
        "prompts_needed": prompts_needed(worth.value - EVEN, sd, level=level),
    }


def _difference(one: Worths, other: Worths, seed: int) -> Json:
    both = np.intersect1d(one.prompts[one.kept], other.prompts[other.kept])
    n = len(both)
    if n == 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0, "p_value": math.nan}
    a, b = one.on(both), other.on(both)
    units = units_of(a.known - b.known)
    p_value = (
        float(sign_flip(a.known[:, None], b.known[:, None], total, seed=seed))
        if units is None
        else exact_sign_flip(units)
    )
    value = a.value - b.value
    if a.several_seeds or b.several_seeds:
        apart = spread([a.trials, b.trials], ratio, seed=seed)
        low, high = apart.interval(value)
        p_value = max(p_value, apart.p_value(value))
    else:
        ours, theirs = (np.stack([x.known, np.ones(n)], axis=1) for x in (a, b))
        _, low, high = map(float, paired_bootstrap(ours, theirs, ratio, seed=seed))
    return {"value": value, "low": low, "high": high, "n": n, "p_value": p_value}


def _judge(rows: list[Json], names: tuple[str, str], refused: bool) -> list[Json]:
    """Rows with corrected p-values and verdicts; none where too much could not be read."""
    return _correct(rows, names, lambda row: row["rules"]["average"]["value"] - EVEN, refused)


def _correct(rows: list[Json], names: tuple[str, str], lead: Any, refused: bool) -> list[Json]:
    for row, p_adjusted in zip(rows, holm([row["p_value"] for row in rows]).tolist(), strict=True):
        unread = row.get("unparsed", 0.0) > UNPARSED_LIMIT
        shown = p_adjusted < ALPHA and lead(row) != 0 and not (refused or unread)
        row["p_adjusted"] = p_adjusted
        row["verdict"] = names[lead(row) < 0] if shown else NO_DIFFERENCE
    return rows
