"""Examples that became better and worse between two runs, the clearest first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]
LISTED = 20
"""So many of each are listed; all are counted."""
TOLERANCE = 1e-9
"""Values that are no further apart, relative to the larger, are the same: sums differ by rounding."""


@dataclass(frozen=True)
class Change:
    """An example's value before and after; `gain` is how much better it became."""

    id: str
    old: float
    new: float
    gain: float


def of_values(
    ids: Sequence[str],
    old: Sequence[float],
    new: Sequence[float],
    *,
    higher_is_better: bool,
) -> list[Change]:
    """One entry for each example with a value other than NaN on both sides; a gain of 0 where they agree."""
    sign = 1 if higher_is_better else -1
    found = []
    for example, before, after in zip(ids, old, new, strict=True):
        if math.isnan(before) or math.isnan(after):
            continue
        alike = math.isclose(before, after, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        found.append(Change(example, before, after, 0.0 if alike else sign * (after - before)))
    return found


def told(changes: Sequence[Change], *, flips: bool) -> Json:
    """Counts, and the first LISTED of what was won and lost.

    With `flips` an example is won or lost where it crosses one half, as from wrong to right and from a loss
    to a win; else each that is better or worse counts, the largest changes first.
    """
    better = [change for change in changes if change.gain > 0]
    worse = [change for change in changes if change.gain < 0]
    won, lost = ([c for c in side if not flips or _crosses(c)] for side in (better, worse))
    return {
        "n": len(changes),
        "better": len(better),
        "worse": len(worse),
        "same": len(changes) - len(better) - len(worse),
        "flips": flips,
        "won": len(won),
        "lost": len(lost),
        "first_won": _listed(won),
        "first_lost": _listed(lost),
    }


def _crosses(change: Change) -> bool:
    """Whether the example lies on the other side of one half now."""
    return (change.old - 0.5) * (change.new - 0.5) < 0


def _listed(changes: Sequence[Change]) -> list[Json]:
    largest = sorted(changes, key=lambda change: -abs(change.gain))
    return [{"id": change.id, "old": change.old, "new": change.new} for change in largest[:LISTED]]
