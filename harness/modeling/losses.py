"""The gradient of one optimizer step, and the loss over a whole set: both weighted by token.

A mean of per-batch means would depend on how rows were batched; sums over tokens do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from harness.modeling.batching import collate
from harness.modeling.likelihood import token_losses
from harness.modeling.sampling_order import length_sorted_batches
from harness.modeling.supervision import Encoded
from harness.modeling.training_data import Rows


def accumulate_gradients(
    model: nn.Module,
    micro_batches: Sequence[Sequence[Encoded]],
    *,
    pad_id: int,
    device: torch.device,
    compute_dtype: torch.dtype,
) -> torch.Tensor:
    """Add the gradient of the mean loss over all targets of a window, however the window is cut.

    Returns that mean, in nats per token, as a 0-d tensor on the device: reading it is left to the
    caller, so that nothing here waits for the device.
    """
    targets = sum(sum(row.supervised) for rows in micro_batches for row in rows)
    total = torch.zeros((), device=device)
    for rows in micro_batches:
        batch = collate(rows, pad_id, device=device)
        with autocast(device, compute_dtype):
            loss = token_losses(model, batch).nll.sum() / targets
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total


def mean_loss(
    model: nn.Module,
    rows: Rows,
    *,
    batch_size: int,
    pad_id: int,
    device: torch.device,
    compute_dtype: torch.dtype,
) -> tuple[float, int]:
    """(mean negative log-likelihood in nats, targets) over all rows, with dropout off.

    The model is left in the mode it came in.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    training = model.training
    model.eval()
    try:
        for indices in length_sorted_batches(rows.lengths, batch_size):
            batch = collate(rows.take(indices), pad_id, device=device)
            with torch.no_grad(), autocast(device, compute_dtype):
                total += token_losses(model, batch).nll.double().sum()
    finally:
        model.train(training)
    targets = sum(rows.targets)
    return total.item() / targets, targets


def autocast(device: torch.device, compute_dtype: torch.dtype) -> torch.autocast:
    """Computation in `compute_dtype`; float32 means that nothing is cast."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=compute_dtype == torch.bfloat16)
