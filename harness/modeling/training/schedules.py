"""Learning-rate schedules as functions of the step: no state, so nothing to save and nothing to resume.

Equal to transformers' `get_scheduler` of the same name.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def _constant(_progress: float) -> float:
    return 1.0


def _linear(progress: float) -> float:
    return max(0.0, 1.0 - progress)


def _cosine(progress: float) -> float:
    return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


_DECAY: dict[str, Callable[[float], float]] = {
    "constant": _constant,
    "constant_with_warmup": _constant,
    "linear": _linear,
    "cosine": _cosine,
}


def learning_rate_factor(name: str, *, warmup_steps: int, total_steps: int) -> Callable[[int], float]:
    """What the peak learning rate is multiplied by, as a function of the steps already done.

    The warm-up rises linearly from 0 at step 0, so that the first step of a warm-up changes nothing.
    `constant` has none, whatever `warmup_steps` says.
    """
    decay = _DECAY[name]
    warmup = 0 if name == "constant" else warmup_steps

    def factor(steps_done: int) -> float:
        if steps_done < warmup:
            return steps_done / warmup
        return decay((steps_done - warmup) / max(1, total_steps - warmup))

    return factor
