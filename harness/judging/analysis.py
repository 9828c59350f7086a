"""What one judge's verdicts say: win rates, diagnostics, abilities, position, length, controls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.judging import panels
from harness.judging.controls import controls
from harness.judging.duels import Duels, lay_out
from harness.judging.lengths import adjusted_rates, longer_wins
from harness.judging.pairs import (
    FIELD,
    better,
    differences,
    pair_rows,
    rates_against_field,
    rates_against_one,
)
from harness.judging.strength import abilities_of, fit, position_of
from harness.judging.table import UNPARSED_LIMIT, Verdicts

Json = dict[str, Any]


def analyse(verdicts: Verdicts, *, against: str | None = None, seed: int = 0) -> Json:
    """Everything the verdicts say, as JSON values: numbers are finite, what is not known is None.

    `against` names one opponent of all others, and leaves out the judgments in which it has no part; without
    it every player is compared with every other and rated against the field. Controls are counted apart and
    compare nobody. ValueError if `against` is no player of the table.
    """
    table = verdicts.comparisons
    if against is not None:
        opponent = verdicts.players.index(against)
        table = table.select((table.first == opponent) | (table.second == opponent))
    refused = refusal(table)
    duels = lay_out(table)
    compared = _compare(duels, table.players, against, refused is not None, seed)
    strength = fit(table, seed=seed)
    position = position_of(strength)
    ahead = better([*compared["pairs"], *compared["differences"]], table.players)
    found = {
        "players": list(verdicts.players),
        "against": against or FIELD,
        "judgments": len(table),
        "prompts": len(np.unique(table.prompt)),
        "unparsed": unparsed_share(table),
        "faults": dict(sorted(Counter(table.fault[table.fault != ""].tolist()).items())),
        "symmetric": verdicts.symmetric,
        "swapped": bool(duels.swapped.any()),
        **compared,
        "swaps": {**panels.diagnostics(duels), "first_logit": position},
        "abilities": None if refused else abilities_of(strength, table.players, ahead),
        "position": position,
        "length": longer_wins(table, seed=seed),
        "length_controlled": adjusted_rates(table, against, seed=seed),
        "controls": controls(verdicts),
        "refused": refused,
    }
    json: Json = finite(found)
    return json


def _compare(duels: Duels, players: Sequence[str], against: str | None, refused: bool, seed: int) -> Json:
    """{"pairs", "rates", "differences"}: with one opponent, which is b in each pair, or of all with all."""
    if against is None:
        return {
            "pairs": pair_rows(duels, players, refused=refused, seed=seed),
            "rates": rates_against_field(duels, players, refused=refused, seed=seed),
            "differences": [],
        }
    mine = duels.of(players.index(against)).turned()
    pairs = pair_rows(mine, players, refused=refused, seed=seed)
    return {
        "pairs": pairs,
        "rates": rates_against_one(pairs),
        "differences": differences(mine, players, refused=refused, seed=seed),
    }


def unparsed_share(table: Verdicts) -> float:
    """The share of unreadable verdicts; NaN where there is none at all."""
    return float(1 - table.parsed.mean()) if len(table) else math.nan


def refusal(table: Verdicts) -> str | None:
    """Why no conclusion may be drawn from the comparisons of a table; None where it may."""
    share = unparsed_share(table)
    if not share > UNPARSED_LIMIT:
        return None
    return (
        f"{share:.1%} of {len(table):,} verdicts could not be read, more than {UNPARSED_LIMIT:.0%}: they are "
        "not missing at random, so nobody is ranked"
    )


def finite(value: Any) -> Any:
    """JSON values in which NaN and infinity have become None."""
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
