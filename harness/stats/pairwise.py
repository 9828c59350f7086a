"""From a judge's verdicts, each pair asked in both orders, to a win rate and what it is worth.

The unit is the prompt: its two orders are one observation, and so are its seeds, which are a sample of
their own. A pair counts only where both orders were understood; the others are counted as incomplete, never
guessed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.protocols import FloatArray
from harness.records import CHOICES, Choice
from harness.stats.crossed import Spread, spread
from harness.stats.paired import sign_flip
from harness.stats.proportions import binomial_p_value, wilson
from harness.stats.resampling import bootstrap

Codes = npt.NDArray[np.int8]
FIRST, SECOND, TIE, UNPARSED = range(4)


@dataclass(frozen=True)
class Rate:
    """A win rate in 0..1 with its 95% interval over `n` prompts; NaN where the rule kept no prompt."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class WinRate:
    """A candidate against one opponent. All shares are of `pairs`, the pairs with both orders parsed.

    consistency + flips_to_first + flips_to_second + win_tie = 1, and consistent_ties is part of
    consistency. `unparsed_*` are shares of all verdicts in that order. `p_value` is two-sided against
    an even contest; `position_p_value` against prompts being as likely to flip to either side.
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


def encode(choices: Sequence[Choice]) -> Codes:
    """Verdicts as the codes FIRST, SECOND, TIE, UNPARSED; shape (len(choices),)."""
    return np.array([CHOICES.index(choice) for choice in choices], dtype=np.int8)


def aggregate(candidate_first: Codes, opponent_first: Codes, *, seed: int = 0) -> WinRate:
    """Win rates of the candidate by three rules, with the judge's consistency.

    Both arrays are (n,) or (seeds, n) codes, entry by entry the same pair of answers: shown with the
    candidate's answer first, and with the opponent's first. A pair's worth to the candidate, 1 for a
    win, 1/2 for a tie, 0 for a loss, is by rule
    - average: the mean of the two orders (the default; its p-value is reported);
    - tie_on_disagreement: 1/2 unless both orders agree (Zheng et al., Judging LLM-as-a-Judge with
      MT-Bench and Chatbot Arena (2023), section 3.4);
    - consistent_only: pairs whose orders agree on a winner; the others are left out.
    A prompt's worth is the mean over its seeds. Prompts are taken as independent. Intervals are Wilson's
    where every prompt is a clear win or loss, else percentiles of the bootstrap by prompt; of several seeds
    those of `crossed`, and the p-value is then no smaller than that over prompts alone.
    """
    first, second = np.atleast_2d(candidate_first), np.atleast_2d(opponent_first)
    complete = (first != UNPARSED) & (second != UNPARSED)
    pairs = int(complete.sum())
    worth_first, worth_second = _worth(first, FIRST), _worth(second, SECOND)
    agree = complete & (worth_first == worth_second)
    mean = (worth_first + worth_second) / 2
    decisive = agree & (worth_first != 0.5)
    flips_to_first = complete & (first == FIRST) & (second == FIRST)
    flips_to_second = complete & (first == SECOND) & (second == SECOND)
    one_tie = complete & ((first == TIE) ^ (second == TIE))
    over_seeds = _over_seeds(mean, complete, seed)
    p_value = p_value_of_even(_by_prompt(mean, complete), seed=seed)
    if over_seeds is not None:
        p_value = max(p_value, over_seeds.p_value(float(_by_prompt(mean, complete).mean()) - 0.5))

    def share(mask: npt.NDArray[np.bool_]) -> float:
        return float(mask.sum() / pairs) if pairs else math.nan

    return WinRate(
        average=_rate(mean, complete, seed),
        tie_on_disagreement=_rate(np.where(agree, mean, 0.5), complete, seed),
        consistent_only=_rate(mean, decisive, seed),
        pairs=pairs,
        incomplete=int(complete.size) - pairs,
        consistency=share(agree),
        consistent_ties=share(agree & ~decisive),
        flips_to_first=share(flips_to_first),
        flips_to_second=share(flips_to_second),
        win_tie=share(one_tie),
        unparsed_candidate_first=float((first == UNPARSED).mean()),
        unparsed_opponent_first=float((second == UNPARSED).mean()),
        p_value=p_value,
        position_p_value=_position_p_value(flips_to_first, flips_to_second),
    )


def p_value_of_even(worths: FloatArray, *, seed: int = 0) -> float:
    """Two-sided p-value of a mean worth of 1/2, from one worth in 0..1 per prompt; NaN without prompts.

    Exact binomial where every prompt is a clear win or loss, else sign flips of worth - 1/2.
    """
    if len(worths) == 0:
        return math.nan
    if _clear(worths):
        wins = int(worths.sum())
        return binomial_p_value(wins, len(worths) - wins)
    ours, theirs = _with_count(worths), _with_count(1 - worths)
    return float(sign_flip(ours, theirs, _mean, seed=seed))


def _position_p_value(to_first: npt.NDArray[np.bool_], to_second: npt.NDArray[np.bool_]) -> float:
    """Sign test over prompts: each counts once, for the side to which more of its seeds flipped.

    The seeds of a prompt are asked about the same question, so their flips are no independent evidence.
    """
    majority = to_first.sum(axis=0) - to_second.sum(axis=0)
    return binomial_p_value(int((majority > 0).sum()), int((majority < 0).sum()))


def _worth(codes: Codes, win: int) -> FloatArray:
    return np.where(codes == TIE, 0.5, (codes == win).astype(np.float64))


def _by_prompt(worths: FloatArray, kept: npt.NDArray[np.bool_]) -> FloatArray:
    """Mean over the kept seeds of each prompt; prompts without any are left out."""
    counts = kept.sum(axis=0)
    sums = np.where(kept, worths, 0.0).sum(axis=0)
    return np.asarray(sums[counts > 0] / counts[counts > 0], dtype=np.float64)


def _over_seeds(worths: FloatArray, kept: npt.NDArray[np.bool_], seed: int) -> Spread | None:
    """The spread of the mean of (seeds, n) worths; None where fewer than two seeds have a kept pair."""
    told = kept.any(axis=1)
    if told.sum() < 2:
        return None
    statistics = np.stack([np.where(kept, worths, 0.0), kept.astype(np.float64)], axis=-1)
    return spread([statistics[told][:, kept.any(axis=0)]], _mean, seed=seed)


def _rate(worths_of_seeds: FloatArray, kept: npt.NDArray[np.bool_], seed: int) -> Rate:
    worths = _by_prompt(worths_of_seeds, kept)
    n = len(worths)
    if n == 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    if (over_seeds := _over_seeds(worths_of_seeds, kept, seed)) is not None:
        share, most = float(worths.mean()), n if _clear(worths) else math.inf
        return Rate(share, *over_seeds.share_interval(share, most=most), n)
    if _clear(worths):
        return Rate(float(worths.mean()), *wilson(int(worths.sum()), n), n)
    value, low, high = map(float, bootstrap(_with_count(worths), _mean, seed=seed))
    return Rate(value, low, high, n)


def _clear(worths: FloatArray) -> bool:
    return bool(np.isin(worths, (0.0, 1.0)).all())


def _with_count(worths: FloatArray) -> FloatArray:
    return np.stack([worths, np.ones_like(worths)], axis=1)


def _mean(totals: FloatArray) -> FloatArray:
    return np.asarray(totals[:, 0] / totals[:, 1], dtype=np.float64)
