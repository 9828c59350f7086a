"""Which values the metrics that come with the harness can have: a results.json does not tell.

Shares, which are in percent, are not here: their unit says it. Of other plugins nothing is known.
"""

from __future__ import annotations

import math

RANGES = {
    "perplexity": (1.0, math.inf),
    "bits_per_byte": (0.0, math.inf),
    "bleu": (0.0, 100.0),
    "chrf": (0.0, 100.0),
    "rouge_l": (0.0, 1.0),
    "rubric": (1.0, 10.0),
}
"""Evaluator -> its least and its greatest value, in its own unit."""
_UNKNOWN = (-math.inf, math.inf)


def least(plugin: str) -> float:
    """The least value of an evaluator."""
    return RANGES.get(plugin, _UNKNOWN)[0]


def widest(plugin: str) -> float:
    """By how much two values of an evaluator can differ."""
    low, high = RANGES.get(plugin, _UNKNOWN)
    return high - low
