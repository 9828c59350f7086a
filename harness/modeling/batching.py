"""Rows of unequal length as tensors.

What stands under the padding is inert: attention never sees it and no target lies there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.modeling.supervision import Encoded

IGNORED = -100
"""The label that every loss of transformers passes over."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows: tensors of shape (rows, length).

    Rows that are not packed have no position ids: with padding on the right every model's own default is
    right, and some architectures (BLOOM, MPT) take none. Packed rows have position ids and no mask: from
    positions that start again transformers makes the block-diagonal mask, or a kernel for sequences of
    unequal length, but only where there is no mask of another kind.
    """

    input_ids: torch.Tensor
    targets: torch.Tensor
    """True where the token is to be predicted from those before it."""
    attention_mask: torch.Tensor | None = None
    position_ids: torch.Tensor | None = None

    def model_inputs(self) -> dict[str, torch.Tensor]:
        """Keyword arguments of a model's forward pass."""
        inputs = {
            "input_ids": self.input_ids,
            "attention_mask": self.attention_mask,
            "position_ids": self.position_ids,
        }
        return {name: tensor for name, tensor in inputs.items() if tensor is not None}


def collate(rows: Sequence[Encoded], pad_id: int, *, device: torch.device) -> Batch:
    """The rows padded on the right to the longest of them; all of them packed, or none."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    targets = torch.zeros((len(rows), length), dtype=torch.bool)
    for i, row in enumerate(rows):
        end = len(row.input_ids)
        ids[i, :end] = torch.tensor(row.input_ids)
        targets[i, :end] = torch.tensor(row.supervised)
    if any(row.segments for row in rows):
        return Batch(ids.to(device), targets.to(device), position_ids=_positions(rows, length).to(device))
    lengths = torch.tensor([len(row.input_ids) for row in rows])
    mask = (torch.arange(length) < lengths[:, None]).long()
    for i, row in enumerate(rows):
        mask[i, list(row.hidden)] = 0
    return Batch(ids.to(device), targets.to(device), attention_mask=mask.to(device))


def labels(row: Encoded) -> list[int]:
    """A row's labels as transformers' losses take them: the ids that are targets, IGNORED elsewhere."""
    pairs = zip(row.input_ids, row.supervised, strict=True)
    return [token if wanted else IGNORED for token, wanted in pairs]


def _positions(rows: Sequence[Encoded], length: int) -> torch.Tensor:
    """Positions that start at 0 in each part of each row; the padding is one more part."""
    positions = torch.empty((len(rows), length), dtype=torch.long)
    for i, row in enumerate(rows):
        parts = [*row.segments, length - len(row.input_ids)]
        positions[i] = torch.cat([torch.arange(part) for part in parts])
    return positions


def pad_prompts(
    prompts: Sequence[Sequence[int]], *, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """(input_ids, attention_mask) of shape (prompts, longest), padded on the left for generation.

    Each prompt is padded with its own first token: a repetition penalty looks at the ids without
    the mask, and a foreign id there would make an answer depend on its batch.
    """
    length = max(map(len, prompts))
    ids = [[prompt[0]] * (length - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
