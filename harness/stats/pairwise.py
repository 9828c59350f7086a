"""From a judge's verdicts, each pair asked in both orders, to a win rate and what it is worth.

The unit is the prompt: its two orders are one observation, and so are its seeds, which are a sample of
their own. A pair counts only where both orders were understood; the others are counted as incomplete, never
guessed. `aggregate` needs nothing but two columns of verdicts: it is the entrance for one pair alone, and the
reference that `harness.judging.panels`, which counts all pairs of a table at once, is held to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.protocols import BoolArray, FloatArray
from harness.records import CHOICES, Choice
from harness.stats.agreement import cohen_kappa
from harness.stats.proportions import binomial_p_value
from harness.stats.rates import IntervalMethod, Rate, p_value_of_even, rate

__all__ = [
    "FIRST",
    "RULES",
    "SECOND",
    "TIE",
    "UNPARSED",
    "Codes",
    "Rate",
    "WinRate",
    "aggregate",
    "encode",
    "p_value_of_even",
]

Codes = npt.NDArray[np.int8]
FIRST, SECOND, TIE, UNPARSED = range(len(CHOICES))
RULES = ("average", "tie_on_disagreement", "consistent_only")
"""The rules of aggregation, as fields of WinRate; the first is the default."""


@dataclass(frozen=True)
class WinRate:
    """A candidate against one opponent. All shares are of `pairs`, the pairs with both orders parsed.

    consistency + flips_to_first + flips_to_second + win_tie = 1, and consistent_ties is part of
    consistency. `unparsed_*` are shares of all verdicts in that order. `p_value` is two-sided against
    an even contest; `position_p_value` against prompts being as likely to flip to either side. `kappa` is
    Cohen's, of the candidate's win, tie or loss in one order with that in the other.
    """

    average: Rate
    tie_on_disagreement: Rate
    consistent_only: Rate
    pairs: int
    incomplete: int
    consistency: float
    consistent_ties: float
    flips_to_first: float
    flips_to_second: float
    win_tie: float
    unparsed_candidate_first: float
    unparsed_opponent_first: float
    p_value: float
    position_p_value: float
    kappa: float


def encode(choices: Sequence[Choice]) -> Codes:
    """Verdicts as the codes FIRST, SECOND, TIE, UNPARSED; shape (len(choices),)."""
    codes = {choice: code for code, choice in enumerate(CHOICES)}
    return np.array([codes[choice] for choice in choices], dtype=np.int8)


def aggregate(
    candidate_first: Codes,
    opponent_first: Codes,
    *,
    preference_first: FloatArray | None = None,
    preference_second: FloatArray | None = None,
    interval: IntervalMethod = "wilson",
    seed: int = 0,
) -> WinRate:
    """Win rates of the candidate by three rules, with the judge's consistency.

    `candidate_first` and `opponent_first` are (n,) or (seeds, n) codes, entry by entry the same pair of
    answers: shown with the candidate's answer first, and with the opponent's first. `preference_first` and
    `preference_second` are of the same shape, beside the two in this order: how much the answer that stood
    first is preferred, 0..1, NaN where the judge only chose. A pair's worth to the candidate, 1 for a win,
    1/2 for a tie, 0 for a loss, is by rule
    - average: the mean of the two orders, by preference where there is one (the default; its p-value is
      reported);
    - tie_on_disagreement: 1/2 unless both orders choose alike (Zheng et al., Judging LLM-as-a-Judge with
      MT-Bench and Chatbot Arena (2023), section 3.4);
    - consistent_only: pairs whose orders agree on a winner; the others are left out.
    Prompts are taken as independent; intervals and the p-value over prompts and seeds are those of `rates`.
    """
    first, second = np.atleast_2d(candidate_first), np.atleast_2d(opponent_first)
    complete = (first != UNPARSED) & (second != UNPARSED)
    worth_first, worth_second = _worth(first, FIRST), _worth(second, SECOND)
    by_choice = (worth_first + worth_second) / 2
    agree = complete & (worth_first == worth_second)
    soft_first = _preferred(preference_first, worth_first)
    soft_second = 1 - _preferred(preference_second, 1 - worth_second)
    average = np.where(complete, (soft_first + soft_second) / 2, np.nan)
    tied = np.where(complete, np.where(agree, by_choice, 0.5), np.nan)
    decisive = np.where(agree & (by_choice != 0.5), by_choice, np.nan)
    return WinRate(
        average=rate(average, interval=interval, seed=seed),
        tie_on_disagreement=rate(tied, interval=interval, seed=seed),
        consistent_only=rate(decisive, interval=interval, seed=seed),
        unparsed_candidate_first=float((first == UNPARSED).mean()),
        unparsed_opponent_first=float((second == UNPARSED).mean()),
        p_value=p_value_of_even(average, seed=seed),
        pairs=int(complete.sum()),
        incomplete=int((~complete).sum()),
        **_swaps(first, second, complete),
    )


def _swaps(first: Codes, second: Codes, complete: BoolArray) -> dict[str, float]:
    """What becomes of the verdicts when the answers change places, as fields of WinRate."""
    pairs = int(complete.sum())
    to_first, to_second = ((first == side) & (second == side) for side in (FIRST, SECOND))
    ties = (first == TIE).astype(np.int8) + (second == TIE)

    def share(mask: BoolArray) -> float:
        return float((mask & complete).sum() / pairs) if pairs else math.nan

    return {
        "consistency": share(~to_first & ~to_second & (ties != 1)),
        "consistent_ties": share(ties == 2),
        "flips_to_first": share(to_first),
        "flips_to_second": share(to_second),
        "win_tie": share(ties == 1),
        "position_p_value": _position_p_value(to_first, to_second),
        "kappa": _kappa_between_orders(first, second),
    }


def _position_p_value(to_first: BoolArray, to_second: BoolArray) -> float:
    """Sign test over prompts: each counts once, for the side to which more of its seeds flipped.

    The seeds of a prompt are asked about the same question, so their flips are no independent evidence.
    """
    majority = to_first.sum(axis=0) - to_second.sum(axis=0)
    return binomial_p_value(int((majority > 0).sum()), int((majority < 0).sum()))


def _kappa_between_orders(first: Codes, second: Codes) -> float:
    straight, mirrored = np.array([FIRST, SECOND, TIE, -1]), np.array([SECOND, FIRST, TIE, -1])
    return cohen_kappa(straight[first].ravel(), mirrored[second].ravel(), categories=3, draws=1).value


def _preferred(preference: FloatArray | None, otherwise: FloatArray) -> FloatArray:
    """How much the first is preferred, where the judge said so, else `otherwise`."""
    if preference is None:
        return otherwise
    given = np.atleast_2d(np.asarray(preference, dtype=np.float64))
    return np.where(np.isnan(given), otherwise, given)


def _worth(codes: Codes, win: int) -> FloatArray:
    return np.where(codes == TIE, 0.5, (codes == win).astype(np.float64))
