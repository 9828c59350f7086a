"""The noise floor: verdicts on identical answers, and on a pair that is asked about again."""

from __future__ import annotations

from typing import Any

from harness.judging.table import Verdicts
from harness.stats.pairwise import FIRST, SECOND, TIE, UNPARSED

Json = dict[str, Any]


def controls(verdicts: Verdicts) -> Json:
    """Counts: verdicts on identical answers; repeated questions, by whether the verdict was the same.

    A repeat whose original is not in the table, or of which either is unparsed, is counted as neither.
    """
    identical = verdicts.choice[verdicts.control == "identical"]
    again, before = verdicts.select(verdicts.control == "repeat"), verdicts.comparisons
    said = dict(zip(_places(before), before.choice.tolist(), strict=True))
    pairs = [
        (said.get(place, UNPARSED), now)
        for place, now in zip(_places(again), again.choice.tolist(), strict=True)
    ]
    told = [pair for pair in pairs if UNPARSED not in pair]
    same = sum(then == now for then, now in told)
    return {
        "identical": {
            "n": len(identical),
            "ties": int((identical == TIE).sum()),
            "to_first": int((identical == FIRST).sum()),
            "to_second": int((identical == SECOND).sum()),
            "unparsed": int((identical == UNPARSED).sum()),
        },
        "repeats": {"n": len(again), "same": same, "changed": len(told) - same},
    }


def _places(table: Verdicts) -> list[tuple[int, int, int, int]]:
    columns = (table.prompt, table.seed, table.first, table.second)
    return list(zip(*(column.tolist() for column in columns), strict=True))
