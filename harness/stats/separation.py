"""Whether length separates wins from losses: a logistic regression on length has no estimate then.

Where one direction of the parameters makes every win no less likely and every loss no more likely, likelihood
grows without end along it, and what stands there instead is made by the ridge and not by the verdicts.

Sources: Albert and Anderson, On the Existence of Maximum Likelihood Estimates in Logistic Regression Models
(1984); Santner and Duffy, A Note on A. Albert and J. A. Anderson's Conditions (1986).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.protocols import BoolArray, FloatArray, IntArray

_SIGNS = (1.0, -1.0)
"""Length may speak for the longer answer, or for the shorter."""


@dataclass(frozen=True)
class Separation:
    """What separates the judgments of any choice of n prompts, for a constant per opponent, order and length.

    `losses` is the highest term of length, times the sign, that went with less than a whole win, `wins` the
    lowest that went with more than none: (signs, opponents, orders, n), infinite where there is none. A tie
    is both. `apart` says whose answers differ in length, (n,).
    """

    losses: FloatArray
    wins: FloatArray
    apart: BoolArray

    @classmethod
    def of(
        cls, response: FloatArray, term: FloatArray, first: BoolArray, prompt: IntArray, opponent: IntArray
    ) -> Separation:
        """All are (m,): the worth in 0..1, the term of length, the place, and indices without gaps."""
        shape = (len(_SIGNS), int(opponent.max()) + 1, 2, int(prompt.max()) + 1)
        losses, wins = np.full(shape, -np.inf), np.full(shape, np.inf)
        lost, won = response < 1, response > 0
        for sign, way in enumerate(_SIGNS):
            cell = opponent, first.astype(np.int64), prompt
            np.maximum.at(losses[sign], tuple(index[lost] for index in cell), way * term[lost])
            np.minimum.at(wins[sign], tuple(index[won] for index in cell), way * term[won])
        return cls(losses, wins, np.bincount(prompt, weights=term != 0) > 0)

    def among(self, drawn: BoolArray) -> BoolArray:
        """(b,): whether the judgments of the prompts that are `drawn`, (b, n), are separated.

        Nothing is, where no answers differ in length.
        """
        found = np.zeros(len(drawn), dtype=np.bool_)
        for losses, wins in zip(self.losses, self.wins, strict=True):
            found |= _separated(drawn, losses, wins)
        return found & drawn[:, self.apart].any(axis=1)


def _separated(drawn: BoolArray, losses: FloatArray, wins: FloatArray) -> BoolArray:
    """(b,): whether length separates in one direction; `losses` and `wins` are (opponents, orders, n).

    In each cell a threshold must lie no lower than the losses and no higher than the wins, and the thresholds
    of both orders must be as far from each other against every opponent, for the order has one term.
    """
    found = np.zeros(len(drawn), dtype=np.bool_)
    left = np.arange(len(drawn))
    least, most = np.full(len(drawn), -np.inf), np.full(len(drawn), np.inf)
    for lost, won in zip(losses, wins, strict=True):
        seen = drawn[left, None, :]
        low = np.where(seen, lost, -np.inf).max(axis=2)
        high = np.where(seen, won, np.inf).min(axis=2)
        least = np.maximum(least, low[:, 1] - high[:, 0])
        most = np.minimum(most, high[:, 1] - low[:, 0])
        # Most are settled by the first opponent: whoever is left is looked at again.
        still = (low <= high).all(axis=1) & (least <= most)
        left, least, most = left[still], least[still], most[still]
    found[left] = True
    return found
