"""Whether rows that are packed behind one another stay apart in a model: measured, not assumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from harness.errors import ModelError
from harness.modeling.batching import collate
from harness.modeling.likelihood import token_losses
from harness.modeling.packing import join
from harness.modeling.supervision import Encoded

LARGEST_LEAK = 1e-6
"""Up to this rows count as isolated. Where they are, a row's loss has no gradient at all by another's tokens;
the smallest crossing seen in a model that leaks is 1.4e-5 (a small LFM2 with random weights)."""
MOST_ROWS = 4
_ROUNDING = 10.0
"""Rows alone and packed may differ by so many times what padding, which is inert, makes of the same rows."""


def require_isolation(
    model: Any, rows: Sequence[Encoded], capacity: int, device: torch.device, *, key: str = "packing"
) -> None:
    """ModelError, with the figure, where rows packed into `capacity` tokens see one another in a model.

    Nothing is asked where no two of the rows fit into one. `key` is the setting that asked for it.
    """
    probed = packable(rows, capacity)
    if len(probed) < 2:
        return
    leak = isolation_error(model, probed, device)
    if not leak <= LARGEST_LEAK:  # NaN leaks too
        raise ModelError(
            f"packing refused: {model.config.model_type} leaks between packed rows, gradients differ by "
            f"{leak:.1e} (allowed: {LARGEST_LEAK:.0e})",
            fix=f"set {key}: false",
        )


def packable(rows: Sequence[Encoded], capacity: int) -> list[Encoded]:
    """The shortest rows, as many as fit into one packed row of `capacity` tokens, 4 at most, maybe none."""
    chosen: list[Encoded] = []
    for row in sorted(rows, key=lambda row: len(row.input_ids))[:MOST_ROWS]:
        capacity -= len(row.input_ids)
        if capacity < 0:
            break
        chosen.append(row)
    return chosen


def isolation_error(model: Any, rows: Sequence[Encoded], device: torch.device) -> float:
    """How much rows packed into one differ from the same rows alone; 0 where they are isolated.

    The larger of two relative sizes of gradients by the token embeddings, which quantised and adapted models
    have too: of one row's loss by the tokens of other rows, which is exactly 0 behind a mask, in any dtype;
    and of the summed loss, packed against alone, beyond rounding, which shows positions that are wrong.
    Infinite where a model takes no positions. The model is left as it was.
    """
    training = model.training
    model.eval()
    try:
        alone = torch.cat([_gradients(model, [row], device)[0] for row in rows])
        padded = _gradients(model, rows, device)[0]
        packed = _gradients(model, [join(rows)], device)
    except TypeError:  # forward() got an unexpected keyword argument 'position_ids'
        return float("inf")
    finally:
        model.train(training)
    rounding = _relative(padded, alone)
    return max(_crossing(packed, rows), _relative(packed.sum(dim=0), alone) - _ROUNDING * rounding, 0.0)


def _relative(measured: torch.Tensor, expected: torch.Tensor) -> float:
    return float((measured - expected).norm() / expected.norm())


def _crossing(gradients: torch.Tensor, rows: Sequence[Encoded]) -> float:
    """Of gradients (rows, tokens, width) of each row's loss, the share that falls on other rows' tokens."""
    owner = torch.repeat_interleave(
        torch.arange(len(rows), device=gradients.device),
        torch.tensor([len(row.input_ids) for row in rows], device=gradients.device),
    )
    own = owner == torch.arange(len(rows), device=gradients.device)[:, None]
    return float(gradients[~own].norm() / gradients[own].norm())


def _gradients(model: Any, rows: Sequence[Encoded], device: torch.device) -> torch.Tensor:
    """The gradient by the embeddings of all tokens of a batch, padding left out: (losses, tokens, width).

    There is one loss for each part of a packed row, and one in all for rows that are not packed.
    """
    batch = collate(rows, 0, device=device)
    parts = list(rows[0].segments) or [sum(len(row.input_ids) for row in rows)]
    with _embeddings_as_leaves(model) as leaves, torch.enable_grad():
        nll = token_losses(model, batch).nll
        targets = [row.supervised for row in rows]
        flat = torch.tensor([flag for row in targets for flag in row], device=device)
        owner = torch.repeat_interleave(torch.tensor(parts, device=device))[flat]
        losses = [nll[owner == part].sum() for part in range(len(parts))]
        found = [torch.autograd.grad(loss, leaves[:1], retain_graph=True)[0] for loss in losses]
    real = torch.zeros(batch.input_ids.shape, dtype=torch.bool, device=device)
    for index, row in enumerate(rows):
        real[index, : len(row.input_ids)] = True
    return torch.stack([gradient[real].float() for gradient in found])


@contextmanager
def _embeddings_as_leaves(model: Any) -> Iterator[list[torch.Tensor]]:
    """While open, gradients stop at what the input embedding returns, which is put into the list."""
    leaves: list[torch.Tensor] = []

    def cut(_module: Any, _arguments: Any, output: torch.Tensor) -> torch.Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # some models scale their embeddings in place

    handle = model.get_input_embeddings().register_forward_hook(cut)
    try:
        yield leaves
    finally:
        handle.remove()
