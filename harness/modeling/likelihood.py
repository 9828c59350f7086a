"""Negative log-likelihood of the target tokens, without logits for any other token.

Logits are most of the memory of a forward pass: 8 rows of 1,024 tokens with a vocabulary of 128,000
take 4 GB in fp32, of which instruction data needs a fraction. So the hidden states are cut down to the
positions that predict a target just before the model's own output embedding; what an architecture does
to the logits after it (soft caps, scales) stays in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from harness.errors import StageError
from harness.modeling.adapter_files import virtual_tokens
from harness.modeling.batching import Batch

TARGETS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class TokenLosses:
    """One entry for each target of a batch, in row-major order.

    `nll` is float32, in nats, and carries gradients; `correct` is True where the target has the highest
    logit; `row` is the row of the batch that the target is in.
    """

    nll: torch.Tensor
    correct: torch.Tensor
    row: torch.Tensor


@dataclass(frozen=True, slots=True)
class TargetLogits:
    """One entry for each target of a batch, in row-major order: what predicts it, and where it stands.

    `logits` is (targets, vocabulary), in the model's dtype; `expected` is the target's id, `row` its row.
    """

    logits: torch.Tensor
    expected: torch.Tensor
    row: torch.Tensor


def token_losses(model: nn.Module, batch: Batch) -> TokenLosses:
    """Teacher-forced losses of every target in `batch`. Raises as `target_logits` does."""
    targets = target_logits(model, batch)
    correct = targets.logits.detach().argmax(dim=-1) == targets.expected
    return TokenLosses(_cross_entropy(targets.logits, targets.expected), correct, targets.row)


def target_logits(model: nn.Module, batch: Batch) -> TargetLogits:
    """The logits that predict the targets of `batch`, by one forward pass.

    Works through PEFT wrappers and on quantised models. Raises StageError if the model does not
    compute its logits by one call of its output embedding.
    """
    predicts = batch.targets.roll(-1, dims=1)
    predicts[:, -1] = False  # targets[:, 0] came round; it has no token before it
    row, column = predicts.nonzero(as_tuple=True)
    # Trained embeddings of prompt tuning stand before each row and move all that follows.
    first = virtual_tokens(model)
    rows, length = batch.input_ids.shape
    with _logits_only_at(model, row, column + first, torch.Size((rows, length + first))) as calls:
        output = model(**batch.model_inputs(), use_cache=False)
    if len(calls) != 1:
        raise StageError(
            f"{type(model).__name__} called its output embedding {len(calls)} times instead of once"
        )
    return TargetLogits(output.logits.squeeze(0), batch.input_ids[row, column + 1], row)


def _cross_entropy(logits: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
    """Losses in float32, made in parts, for float32 copies of all logits would be three times their size."""
    starts = range(0, max(len(expected), 1), TARGETS_AT_ONCE)
    parts = [slice(start, start + TARGETS_AT_ONCE) for start in starts]
    losses = [nn.functional.cross_entropy(logits[p].float(), expected[p], reduction="none") for p in parts]
    return torch.cat(losses)


@contextmanager
def _logits_only_at(
    model: nn.Module, row: torch.Tensor, column: torch.Tensor, shape: torch.Size
) -> Iterator[list[int]]:
    """While open, the output embedding sees only the hidden states at (row, column), as one row.

    Yields a list that grows by one with each call.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    calls: list[int] = []

    def select(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden = arguments[0]
        if hidden.shape[:2] != shape:
            raise StageError(
                f"expected hidden states for {tuple(shape)} tokens, not {tuple(hidden.shape[:2])}"
            )
        calls.append(1)
        return (hidden[row, column].unsqueeze(0), *arguments[1:])

    handle = head.register_forward_pre_hook(select)
    try:
        yield calls
    finally:
        handle.remove()
