"""Figures and lists in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.leaderboard.comparisons import ALPHA, NO_DIFFERENCE
from harness.leaderboard.verdict_lines import EVERYONE

Json = Mapping[str, Any]
OUTCOMES = {"better": "better than", "worse": "worse than", NO_DIFFERENCE: "not to be told apart from"}
FIELD = "the field"
"""What a candidate stands against in a round robin."""


def score(figure: Json, unit: str) -> str:
    return fmt.score(figure["value"], unit, figure["low"], figure["high"])


def with_interval(figure: Json, unit: str) -> str:
    return f"{score(figure, unit)} [{fmt.interval(figure['value'], figure['low'], figure['high'], unit)}]"


def difference(figure: Json, unit: str) -> str:
    """`difference +1.2 pt, 95% −3.1 to +5.6 pt, n = 250`."""
    ends = figure["value"], unit, figure["low"], figure["high"]
    span = fmt.difference_interval(figure["value"], figure["low"], figure["high"], unit)
    return f"difference {fmt.difference(*ends)}, 95% {span}, n = {fmt.count(figure['n'])}"


def opponent(judge: Json) -> str:
    return FIELD if judge["against"] == EVERYONE else str(judge["against"])


def are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def were(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def standings(compared: Mapping[str, Json], against: str) -> str:
    """Which candidates are better than an opponent, which worse, and of which neither is shown."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for name, figures in compared.items():
        if "verdict" in figures:
            grouped.setdefault((OUTCOMES[figures["verdict"]], _grounds(figures)), []).append(name)
    parts = [
        f"{listed(names)} {are(names)} {outcome} {against} ({grounds})"
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
    if figures["p_adjusted"] is None:
        return "p undefined"
    return f"p {'≥' if figures['verdict'] == NO_DIFFERENCE else '<'} {ALPHA}"
