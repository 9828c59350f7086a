"""What the figures of a board say, in plain sentences, each made from the results and nothing else.

ranking.py   who leads, who may be as good, what it would take to tell neighbours apart
otherwise.py how the other metrics and judges see the leader beside the next in rank
judges.py    what each judge prefers, and what speaks against believing it
recipes.py   which recipes were searched for, seeds, what the intervals hold, what untrained candidates cost
words.py     figures and lists in words
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.leaderboard.findings import judges, ranking, recipes

__all__ = ["findings"]


def findings(results: Mapping[str, Any]) -> list[str]:
    """Who leads and by how much, what cannot be told apart and why, what the judges say and are worth.

    What failed is not among them: every board shows its failed rows with stage and message.
    """
    return [
        *ranking.by_rank(results),
        *judges.by_judges(results),
        *recipes.searched(results),
        *recipes.bought(results),
        *recipes.charged(results),
        *recipes.by_seed(results),
        *recipes.scope(results),
    ]
