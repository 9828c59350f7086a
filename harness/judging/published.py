"""Ratings as others publish them, for comparison with the literature alone: they rank nobody here."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.judging.table import Verdicts
from harness.stats.bradley_terry import bradley_terry
from harness.stats.elo import elo, to_elo

Json = dict[str, Any]
K, START = 4.0, 1000.0
MOST_UPDATES = 10_000_000
"""Games times random orders: 1,000 orders of up to 10,000 games, fewer of more, 50 at least."""


def published_ratings(verdicts: Verdicts, *, seed: int = 0) -> Json:
    """Elo (K = 4, start 1000, mean over random orders) and plain Bradley-Terry on the same scale.

    Of the parsed comparisons, each order counting as a game of its own. Bradley-Terry is by maximum
    likelihood without a term for the position; None where somebody always wins or loses.
    """
    table = verdicts.comparisons
    table = table.select(table.parsed)
    present, places = np.unique(np.stack([table.first, table.second]), return_inverse=True)
    first, second = places.reshape(2, -1)
    names = [verdicts.players[index] for index in present.tolist()]
    orders = min(1000, max(50, MOST_UPDATES // max(len(table), 1)))
    points = elo(first, second, table.worth, players=len(names), k=K, start=START, orders=orders, seed=seed)
    try:
        fitted = bradley_terry(
            first, second, table.worth, table.prompt, players=len(names), position=False, ridge=0.0, draws=0
        )
    except ValueError:
        plain = None
    else:
        plain = dict(zip(names, to_elo(fitted.value, centre=START).tolist(), strict=True))
    return {
        "k": K,
        "start": START,
        "orders": orders,
        "ratings": dict(zip(names, points.tolist(), strict=True)),
        "bradley_terry": plain,
    }
