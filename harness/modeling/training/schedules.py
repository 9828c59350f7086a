"""Learning-rate schedules as functions of the step: no state, so nothing to save and nothing to resume.

The functions are those that transformers' own schedulers multiply the learning rate by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from transformers import get_scheduler


def learning_rate_factor(
    name: str,
    *,
    learning_rate: float,
    warmup_steps: int,
    total_steps: int,
    arguments: Mapping[str, float] | None = None,
) -> Callable[[int], float]:
    """What the peak learning rate is multiplied by, as a function of the steps already done.

    The warm-up rises linearly from 0 at step 0, so that the first step of a warm-up changes nothing.
    `constant` has none, whatever `warmup_steps` says. `arguments` are the schedule's own, where it has any.
    """
    # Only its learning rate is read, by the schedules that end at a rate given in absolute terms.
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=learning_rate)
    scheduler = get_scheduler(
        name,
        optimizer,
        num_warmup_steps=warmup_steps,
        num_training_steps=total_steps,
        scheduler_specific_kwargs=dict(arguments or {}),
    )
    factor: Callable[[int], float] = scheduler.lr_lambdas[0]
    return factor
