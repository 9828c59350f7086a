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
from harness.judging.pairs import better, of_all_with_all, of_all_with_one
from harness.judging.strength import abilities_of, fit, position_of
from harness.judging.table import UNPARSED_LIMIT, Verdicts
from harness.records import ALL
from harness.stats.pairwise import FIRST, SECOND, TIE

Json = dict[str, Any]


def analyse(verdicts: Verdicts, *, against: str | None = None, seed: int = 0) -> Json:
    """Everything the verdicts say, as JSON values: numbers are finite, what is not known is None.

    `against` names one opponent of all others, and leaves out the judgments in which it has no part; without
    it every player is compared with every other and rated against the field. Controls are counted apart and
    compare nobody. Identical answers are ties to the rates and ratings, and in no figure about the judge:
    `judgments`, `unparsed` and `ties` (a share of what was understood) are of what it was asked. ValueError
    if `against` is no player of the table.
    """
    table = verdicts.comparisons
    if against is not None:
        opponent = verdicts.players.index(against)
        table = table.select((table.first == opponent) | (table.second == opponent))
    asked = table.asked
    refused = refusal(asked)
    duels = lay_out(table)
    compared = _compare(duels, table.players, against, refused is not None, seed)
    strength = fit(table, seed=seed)
    position = position_of(fit(asked, seed=seed) if table.settled.any() else strength)
    ahead = better([*compared["pairs"], *compared["differences"]], table.players)
    found = {
        "players": list(verdicts.players),
        "against": against or ALL,
        "judgments": len(asked),
        "prompts": len(np.unique(table.prompt)),
        "identical": {"pairs": int(duels.settled.sum()), "of": len(duels.settled)},
        "unparsed": unparsed_share(asked),
        "ties": float((asked.choice[asked.parsed] == TIE).mean()) if asked.parsed.any() else math.nan,
        "contradictions": _contradictions(asked),
        "faults": dict(sorted(Counter(table.fault[table.fault != ""].tolist()).items())),
        "symmetric": verdicts.symmetric,
        "swapped": bool(duels.swapped.any()),
        **compared,
        "swaps": {**panels.diagnostics(duels, both_sides=True), "first_logit": position},
        "abilities": None if refused else abilities_of(strength, table.players, ahead),
        "position": position,
        "length": longer_wins(asked, seed=seed),
        "length_controlled": adjusted_rates(table, against, seed=seed),
        "controls": controls(verdicts),
        "refused": refused,
    }
    return finite(found)


def _contradictions(table: Verdicts) -> int:
    """How many verdicts choose the answer that their own preference speaks against."""
    chosen = (table.choice == FIRST).astype(np.int8) - (table.choice == SECOND).astype(np.int8)
    return int((chosen * np.nan_to_num(table.preference - 0.5) < 0).sum())


def _compare(duels: Duels, players: Sequence[str], against: str | None, refused: bool, seed: int) -> Json:
    """{"pairs", "rates", "differences"}: with one opponent, which is b in each pair, or of all with all."""
    if against is None:
        pairs, rates = of_all_with_all(duels, players, refused=refused, seed=seed)
        return {"pairs": pairs, "rates": rates, "differences": []}
    mine = duels.of(players.index(against)).turned()
    pairs, rates, differences = of_all_with_one(mine, players, refused=refused, seed=seed)
    return {"pairs": pairs, "rates": rates, "differences": differences}


def unparsed_share(table: Verdicts) -> float:
    """The share of unreadable verdicts; NaN where there are no verdicts."""
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


def finite(found: Mapping[str, Any]) -> Json:
    """An object of JSON in which NaN and infinity have become None."""
    return {key: _finite(item) for key, item in found.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return finite(value)
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
