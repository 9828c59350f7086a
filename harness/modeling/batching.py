"""Rows of unequal length as tensors.

What stands under the padding is inert: attention never sees it and no target lies there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.modeling.supervision import Encoded


@dataclass(frozen=True, slots=True)
class Batch:
    """Right-padded rows: three tensors of shape (rows, length).

    There are no position ids: with padding on the right every model's own default is right, and some
    architectures (BLOOM, MPT) take none.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    targets: torch.Tensor
    """True where the token is to be predicted from those before it."""


def collate(rows: Sequence[Encoded], pad_id: int, *, device: torch.device) -> Batch:
    """The rows padded on the right to the longest of them."""
    length = max(len(row.input_ids) for row in rows)
    ids = torch.full((len(rows), length), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), length), dtype=torch.long)
    targets = torch.zeros((len(rows), length), dtype=torch.bool)
    for i, row in enumerate(rows):
        end = len(row.input_ids)
        ids[i, :end] = torch.tensor(row.input_ids)
        mask[i, :end] = 1
        targets[i, :end] = torch.tensor(row.supervised)
    return Batch(ids.to(device), mask.to(device), targets.to(device))


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
