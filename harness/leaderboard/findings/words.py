"""Figures and lists in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.leading import opponent_of
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE

Json = Mapping[str, Any]
WITHHELD = {
    "unread": "too many verdicts on one pair could not be read",
    "position": "standing first more often would do as much",
}
"""Why a win rate that the test tells from even is none, by `withheld` of the analysis."""
MOST_NAMES, NAMED = 6, 3
"""So many are named; of more, `few` names three of them, or three of those that they are not."""
OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: "not to be told apart from"}


def score(figure: Json, unit: str) -> str:
    return fmt.score(figure["value"], unit, figure["low"], figure["high"])


def difference(figure: Json, unit: str) -> str:
    """`difference +1.2 pt, 95% −3.1 to +5.6 pt, n = 250`."""
    ends = figure["value"], unit, figure["low"], figure["high"]
    span = fmt.difference_interval(figure["value"], figure["low"], figure["high"], unit)
    return f"difference {fmt.difference(*ends)}, 95% {span}, n = {fmt.count(figure['n'])}"


def opponent(judge: Json) -> str:
    return opponent_of(judge["against"])


def are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def few(names: Sequence[str], everybody: Sequence[str], kind: str) -> str:
    """The names or, of many, how many they are of `everybody`, who are called e.g. `others`."""
    rest = [name for name in everybody if name not in names]
    if len(names) <= MOST_NAMES:
        return fmt.listed(names)
    if len(rest) <= NAMED:
        return f"all {fmt.count(len(everybody))} {kind}" + (f" but {fmt.listed(rest)}" if rest else "")
    return some(names)


def some(names: Sequence[str]) -> str:
    """The first few names; the rest is counted."""
    rest = len(names) - NAMED
    return fmt.listed(names) if rest <= 0 else f"{', '.join(names[:NAMED])} and {fmt.count(rest)} more"


def standings(compared: Mapping[str, Json], against: str) -> str:
    """Which candidates are better than an opponent, which worse, and of which neither is shown."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, figures in compared.items():
        if "verdict" in figures:
            grouped.setdefault((OUTCOMES[figures["verdict"]], _grounds(figures)), []).append(name)
    parts = [
        f"{few(names, list(compared), 'that are compared')} {are(names)} {outcome} {against} ({grounds})"
        for outcome in OUTCOMES.values()
        for (found, grounds), names in grouped.items()
        if found == outcome
    ]
    if not parts:
        return ""
    sizes = {figures["n"] for figures in compared.values() if "n" in figures}
    n = f"n {'=' if len(sizes) == 1 else '≥'} {fmt.count(min(sizes))}"
    return f"{'; '.join(parts)}; paired, {n}, p after Holm's correction."


def _grounds(figures: Json) -> str:
    """What a verdict rests on."""
    if figures.get("unread"):
        return "too many verdicts could not be read"
    if reason := WITHHELD.get(figures.get("withheld") or ""):
        return reason
    if figures["p_adjusted"] is None:
        return "p undefined"
    return f"p {'≥' if figures['verdict'] == NO_DIFFERENCE else '<'} {ALPHA}"
