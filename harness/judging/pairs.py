"""Who is better than whom: pairs, players against the field, and players against one common opponent."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.judging import panels
from harness.judging.duels import Duels
from harness.judging.panels import Worths, ratio, total
from harness.judging.table import UNPARSED_LIMIT
from harness.protocols import BoolArray, FloatArray
from harness.records import ALL
from harness.stats.crossed import spread
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE, holm
from harness.stats.paired import sign_flip
from harness.stats.power import implied_sd, power_of
from harness.stats.proportions import wilson, within
from harness.stats.rates import EVEN, p_value_of_even
from harness.stats.resampling import paired_bootstrap

Json = dict[str, Any]
_FURTHEST = 1.0
"""No two win rates are further apart."""
_ALIKE = 1e-9
"""Rates and ends that differ by less are the same: sums in another order differ by rounding."""


def of_all_with_all(
    duels: Duels, players: Sequence[str], *, refused: bool, seed: int = 0
) -> tuple[list[Json], dict[str, Json]]:
    """Every pair from the side of a, and each player's rates against all others.

    The latter are the mean over the others within a prompt first, then over prompts. Pairs and players are
    two families: p-values are corrected over each. `opponents` are whom a player met,
    `met_all` whether that is everybody.
    """
    pairs = _pair_rows(duels, players, len(duels.pairs), seed)
    present = [index for index in range(len(players)) if (duels.pairs == index).any()]
    fields = [duels.of(index) for index in present]
    rows = [_row(field, len(fields), seed) for field in fields]
    for row, field in zip(rows, fields, strict=True):
        opponents = [players[index] for index in field.pairs[:, 1].tolist()]
        row |= {"against": ALL, "opponents": opponents, "met_all": len(opponents) == len(present) - 1}
    settle(pairs, refused=refused)
    settle(rows, refused=refused)
    return pairs, {players[index]: _as_rate(row) for index, row in zip(present, rows, strict=True)}


def of_all_with_one(
    duels: Duels, players: Sequence[str], *, refused: bool, seed: int = 0
) -> tuple[list[Json], dict[str, Json], list[Json]]:
    """Every pair with b, which is the same in all; those as rates of a; and every two of the others.

    The last are the differences of their rates against b, `value` being that of a minus that of b, on the
    prompts on which both have been compared with it. Pairs and differences together make the ranks, so they
    are one family: p-values are corrected over both.
    """
    k = len(duels.pairs)
    family = k * (k + 1) // 2
    pairs = _pair_rows(duels, players, family, seed)
    contests = [duels.select([index]) for index in range(k)]
    names = [pair["a"] for pair in pairs]
    differences = [
        {"a": a, "b": b, **difference(one, other, family, seed)}
        for (a, one), (b, other) in itertools.combinations(zip(names, contests, strict=True), 2)
    ]
    settle([*pairs, *differences], refused=refused)
    rates = {pair["a"]: _as_rate({**pair, "against": pair["b"]}) for pair in pairs}
    return pairs, rates, differences


def _pair_rows(duels: Duels, players: Sequence[str], family: int, seed: int) -> list[Json]:
    return [
        {"a": players[a], "b": players[b], **_row(duels.select([index]), family, seed)}
        for index, (a, b) in enumerate(duels.pairs.tolist())
    ]


def _as_rate(row: Mapping[str, Any]) -> Json:
    words = {"a": "better", "b": "worse", NO_DIFFERENCE: NO_DIFFERENCE}
    return {**{key: row[key] for key in row if key not in ("a", "b")}, "verdict": words[row["verdict"]]}


def settle(rows: Sequence[Json], *, refused: bool) -> None:
    """Gives rows that are one family `p_adjusted` (Holm) and `verdict`: a, b or NO_DIFFERENCE.

    `withheld` says why a difference that the test shows is none: "unread", where too much of what the row is
    made of could not be read; "position", where a judge that always takes the same place would show it.
    `survives`, of a verdict, is False where it would not stand had all unread verdicts gone against it.
    """
    adjusted = holm([row["p_value"] for row in rows]).tolist()
    worst = holm([row["worst_p_value"] for row in rows]).tolist()
    for row, p_adjusted, at_worst in zip(rows, adjusted, worst, strict=True):
        lead = row["value"] if "value" in row else row["rules"]["average"]["value"] - EVEN
        found = p_adjusted < ALPHA and lead != 0
        reason = _withheld(row, lead, refused) if found else None
        shown = found and reason is None
        row["p_adjusted"], row["withheld"] = p_adjusted, reason
        row["verdict"] = ("a" if lead > 0 else "b") if shown else NO_DIFFERENCE
        row["survives"] = at_worst < ALPHA if shown else None
        row["more_prompts"] = None if found else row["more_prompts"]


def _withheld(row: Json, lead: float, refused: bool) -> str | None:
    if refused or row["most_unparsed"] > UNPARSED_LIMIT:
        return "unread"
    return "position" if abs(lead) <= abs(row["by_position"]) + _ALIKE else None


def better(rows: Iterable[Mapping[str, Any]], players: Sequence[str]) -> BoolArray:
    """(players, players): True where a verdict says that the player of the row beats that of the column.

    Of the rows ({a, b, verdict}) only those on two of the players count.
    """
    found = np.zeros((len(players), len(players)), dtype=np.bool_)
    place = {name: index for index, name in enumerate(players)}
    for row in rows:
        if row["verdict"] != NO_DIFFERENCE and row["a"] in place and row["b"] in place:
            winner, loser = (row["a"], row["b"]) if row["verdict"] == "a" else (row["b"], row["a"])
            found[place[winner], place[loser]] = True
    return found


def _row(contest: Duels, family: int, seed: int) -> Json:
    by_rule = panels.worths(contest)
    average, rules = by_rule["average"], panels.rates(by_rule, seed=seed)
    several, lead = average.several_seeds, average.value - EVEN
    p_value = p_value_of_even(average.by_seed, seed=seed)
    worst_p_value = p_value
    if p_value < ALPHA and contest.unread.any():
        worst = panels.average(contest.with_unread(0.0 if lead > 0 else 1.0))
        kept = (worst.value - EVEN) * lead > 0
        worst_p_value = max(p_value, p_value_of_even(worst.by_seed, seed=seed)) if kept else 1.0
    return {
        "n": len(average.known),
        "rules": rules,
        **panels.diagnostics(contest),
        **panels.unparsed(contest),
        "wins": panels.wins(contest),
        **_power(average.known - EVEN, rules["average"], family, EVEN, several_seeds=several),
        "p_value": p_value,
        "worst_p_value": worst_p_value,
        "by_position": panels.average(contest.by_position).value - EVEN,
    }


def _power(
    leads: FloatArray, figure: Mapping[str, Any], family: int, most: float, *, several_seeds: bool
) -> Json:
    """`stats.power` of the mean of (n,) leads, one a prompt and at most `most`, whose interval `figure` has.

    With several seeds the interval shows the spread, and what would separate two is not a matter of prompts
    alone.
    """
    n = len(leads)
    sd = float(leads.std(ddof=1)) if n > 1 else math.nan
    if several_seeds:
        sd = implied_sd(figure["low"], figure["high"], n)
    found = power_of(float(leads.mean()) if n else math.nan, sd, n, family, most=most)
    return {**found, "more_prompts": None if several_seeds else found["more_prompts"]}


def difference(one: Duels, other: Duels, family: int, seed: int) -> Json:
    """The win rate of one contest minus that of another, on the prompts that both share; for `settle`."""
    a, b = shared(panels.average(one), panels.average(other))
    several_seeds = a.several_seeds or b.several_seeds
    figure = _compared(a, b, several_seeds, seed)
    first, second = shared(panels.average(one.by_position), panels.average(other.by_position))
    # Few seeds may leave open more than there can be, of which power has to know.
    power = _power(a.known - b.known, figure, family, _FURTHEST, several_seeds=several_seeds)
    low, high = within(figure["low"], figure["high"], _FURTHEST)
    return {
        **figure,
        "low": low,
        "high": high,
        **power,
        "worst_p_value": _worst_p_value(one, other, figure, seed),
        "by_position": first.value - second.value,
        "most_unparsed": max(panels.unparsed(contest)["most_unparsed"] for contest in (one, other)),
    }


def _worst_p_value(one: Duels, other: Duels, figure: Json, seed: int) -> float:
    """The p-value of a difference had all that could not be read gone against who leads."""
    if not (figure["p_value"] < ALPHA and (one.unread.any() or other.unread.any())):
        return float(figure["p_value"])
    lost, won = (0.0, 1.0) if figure["value"] > 0 else (1.0, 0.0)
    a, b = shared(panels.average(one.with_unread(lost)), panels.average(other.with_unread(won)))
    if (a.value - b.value) * figure["value"] <= 0:
        return 1.0
    worst = _compared(a, b, a.several_seeds or b.several_seeds, seed)
    return float(max(figure["p_value"], worst["p_value"]))


def shared(one: Worths, other: Worths) -> tuple[Worths, Worths]:
    """Both on the prompts that both have."""
    prompts = np.intersect1d(one.prompts[one.kept], other.prompts[other.kept])
    return one.on(prompts), other.on(prompts)


def _compared(a: Worths, b: Worths, several_seeds: bool, seed: int) -> Json:
    """The difference of two on the same prompts."""
    n = len(a.known)
    if n == 0:
        return {"value": math.nan, "low": math.nan, "high": math.nan, "n": 0, "p_value": math.nan}
    units = units_of(a.known - b.known)
    p_value = (
        float(sign_flip(a.known[:, None], b.known[:, None], total, seed=seed))
        if units is None
        else exact_sign_flip(units)
    )
    value = a.value - b.value
    if several_seeds:
        apart = spread([a.trials, b.trials], ratio, seed=seed)
        low, high = apart.interval(value)
        p_value = max(p_value, apart.p_value(value))
    else:
        ours, theirs = (np.stack([x.known, np.ones(n)], axis=1) for x in (a, b))
        _, low, high = map(float, paired_bootstrap(ours, theirs, ratio, seed=seed))
    if high - low < _ALIKE:
        # As `proportions.share_interval` has it: there may be few other prompts, worth anything.
        few = wilson(0, n)[1]
        low, high = (1 - few) * value - few, (1 - few) * value + few
    return {"value": value, "low": low, "high": high, "n": n, "p_value": p_value}
