"""The sign-flip test without sampling, for differences that are whole multiples of a small unit.

Win rates are: a prompt judged in both orders is worth 0, 1/4, 1/2, 3/4 or 1. Sampled flips cannot show a
p-value below one in the number of draws, which a correction over hundreds of pairs asks for.
"""

from __future__ import annotations

import numpy as np

from harness.protocols import FloatArray, IntArray

_LARGEST_DENOMINATOR = 120
_ROUNDING = 1e-9
_MOST_PRODUCTS = 3e8
"""Multiplying out more than this takes longer than sampling."""


def units_of(differences: FloatArray) -> IntArray | None:
    """(n,): the differences as whole multiples of 1/d, for the smallest d up to 120.

    None where there is no such d, or where `exact_sign_flip` would take more than about a second.
    """
    for denominator in range(1, _LARGEST_DENOMINATOR + 1):
        units = np.rint(differences * denominator)
        if np.abs(units - differences * denominator).max(initial=0.0) < _ROUNDING:
            sizes = np.abs(units)
            products = len(np.unique(sizes)) * float(sizes.sum()) ** 2
            return units.astype(np.int64) if products < _MOST_PRODUCTS else None
    return None


def exact_sign_flip(units: IntArray) -> float:
    """Two-sided p-value of a sum of (n,) whole differences, each as likely to be positive as negative.

    It is the share of all 2**n choices of signs whose sum is at least as far from 0 as the one observed: 1
    where the sum is 0. The sum's distribution is built up exactly, size by size of the differences, out of
    binomial ones.

    Source: Fisher, The Design of Experiments (1935), section 21, for the test; Pagano and Tritchler, On
    Obtaining Permutation Distributions in Polynomial Time (1983), for counting sums and not signs.
    """
    observed = abs(int(units.sum()))
    if observed == 0:
        return 1.0
    chances = np.ones(1)
    for size, count in zip(*np.unique(np.abs(units[units != 0]), return_counts=True), strict=True):
        spaced = np.zeros(2 * int(size) * int(count) + 1)
        spaced[:: 2 * int(size)] = _coins(int(count))
        chances = np.convolve(chances, spaced)
    return min(1.0, 2 * float(chances[len(chances) // 2 + observed :].sum()))


def _coins(n: int) -> FloatArray:
    """(n + 1,): the chances of 0 to n heads in n tosses of a fair coin, each rounded once."""
    ways = [1]
    for i in range(n):
        ways.append(ways[-1] * (n - i) // (i + 1))
    return np.array([count / (1 << n) for count in ways])
