"""Elo ratings as they have been published, for comparison with the literature; rank with Bradley-Terry.

Elo depends on the order in which games are counted and so has no place on a board; the mean over random
orders does not, but is still drawn to the start by the few games that a factor of K lets count.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray, IntArray

POINTS_PER_LOGIT = 400 / math.log(10)
"""On Elo's scale 400 points are odds of ten to one."""
_GAMES_AT_ONCE = 20_000_000
"""Of all orders of a block together, at eight bytes each."""


def elo(
    first: IntArray,
    second: IntArray,
    worth: FloatArray,
    *,
    players: int,
    k: float = 4.0,
    start: float = 1000.0,
    orders: int = 1000,
    seed: int = 0,
) -> FloatArray:
    """(players,): Elo ratings in points, the mean over random orders of the games.

    `first`, `second` and `worth` are (m,): the two players' indices, and 1, 1/2 or 0 to the first for a win,
    a tie or a loss; games without a verdict are left out beforehand. After each game the first gains
    k (worth - expected), expected = 1 / (1 + 10^((second - first) / 400)), and the second loses as much. With
    1,000 orders the means are off by less than a point. Time grows with the games times the orders.

    Source: Elo, The Rating of Chessplayers (1978); Dettmers et al., QLoRA (2023), section 5.2, for K = 4,
    start 1000 and the mean over orders.
    """
    generator = np.random.default_rng(seed)
    total = np.zeros(players)
    at_once = max(1, _GAMES_AT_ONCE // max(1, len(worth)))
    for done in range(0, orders, at_once):
        size = min(at_once, orders - done)
        order = generator.permuted(np.tile(np.arange(len(worth), dtype=np.int32), (size, 1)), axis=1)
        total += _ratings(first, second, worth, order.T, players, k).sum(axis=1)
    return start + total / orders


def to_elo(logits: npt.ArrayLike, *, centre: float = 0.0) -> FloatArray:
    """Abilities in logits as points on Elo's scale, 400 / ln 10 for each logit, about `centre`."""
    return centre + POINTS_PER_LOGIT * np.asarray(logits, dtype=np.float64)


def _ratings(
    first: IntArray,
    second: IntArray,
    worth: FloatArray,
    order: npt.NDArray[np.int32],
    players: int,
    k: float,
) -> FloatArray:
    """(players, b): ratings above the start after the games in b orders; `order` is (m, b)."""
    ratings = np.zeros((players, order.shape[1]))
    flat, columns = ratings.ravel(), np.arange(order.shape[1])
    for games in order:
        one = first[games] * order.shape[1] + columns
        other = second[games] * order.shape[1] + columns
        gap = flat[other] - flat[one]
        gain = k * (worth[games] - 1 / (1 + np.exp(gap / POINTS_PER_LOGIT)))
        flat[one] += gain
        flat[other] -= gain
    return ratings
