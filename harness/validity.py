"""What a verdict, a count of tokens and a cost can be: plugins, servers and old files are not trusted.

One impossible number would void a budget, or overflow the sums of all that was spent.
"""

from __future__ import annotations

import math
from typing import Any, TypeGuard

from harness.records import CHOICES, FAULTS, Verdict

MOST_TOKENS = 10**8
"""Tokens of one verdict or reply; the longest contexts hold a tenth of it."""
MOST_USD = 10**5
"""What one verdict or reply can cost, in US dollars."""


def is_finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number that can be shown: a report's files may hold anything."""
    return type(value) in (int, float) and math.isfinite(value)


def is_tokens(value: Any) -> bool:
    """Whether it can be a count of tokens; True and False are none."""
    return type(value) is int and 0 <= value <= MOST_TOKENS


def is_cost(value: Any) -> bool:
    """Whether it can be a cost in US dollars."""
    return _is_number(value, MOST_USD)


def is_verdict(value: Any) -> bool:
    """Whether a judge kept to its protocol: a plugin is not type-checked before it runs."""
    if not isinstance(value, Verdict):
        return False
    said = (value.choice, value.fault, value.reason, value.raw)
    if not all(isinstance(text, str) for text in said):
        return False
    if value.choice not in CHOICES or value.fault not in FAULTS:
        return False
    if not (is_tokens(value.prompt_tokens) and is_tokens(value.completion_tokens)):
        return False
    costs = value.cost_usd is None or is_cost(value.cost_usd)
    return costs and (value.preference is None or _is_number(value.preference, 1.0))


def _is_number(value: Any, most: float) -> bool:
    """Whether it is a number from 0 to `most`; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
