"""What training does to its rows on the way into the model, and validation does not.

Rows are cut and masked as lists, before they are put into batches: a step is then the same however it is
cut into micro batches, and what is drawn is a function of (seed, step), so that a resumed run draws the same.
Noise on the embeddings draws from torch's generators, whose state is in every checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from harness.modeling.supervision import Encoded


def cut_to_quantile(rows: Sequence[Encoded], quantile: float, bos_id: int | None) -> list[Encoded]:
    """The rows of a step, none longer than this quantile of their lengths.

    What is too long loses tokens from the left, as in H2O LLM Studio (`batch_padding`, which looks at each
    batch of the data loader; here it is the whole step): the end of the answer stays, and a leading BOS.
    """
    limit = math.floor(np.quantile([len(row.input_ids) for row in rows], quantile))
    return [row if len(row.input_ids) <= limit else _cut_left(row, limit, bos_id) for row in rows]


def _cut_left(row: Encoded, length: int, bos_id: int | None) -> Encoded:
    ids, supervised = row.input_ids[-length:], row.supervised[-length:]
    if row.input_ids[0] == bos_id:
        ids[0] = row.input_ids[0]
    supervised[0] = False  # nothing stands before the first token that could predict it
    return replace(row, input_ids=ids, supervised=supervised, truncated=True)


class TokenMasking:
    """Hides random tokens of training rows, as H2O LLM Studio's `token_mask_probability` does.

    Each token, of prompt or answer, is hidden with the same probability: the unknown token (or the mask or
    the pad token, where there is none) stands in its place, attention does not see it, and it is no target.
    The first token of a row stays, for those behind it must have something to attend to; so does the last
    target of a row that would have none left.
    """

    def __init__(self, probability: float, tokenizer: PreTrainedTokenizerBase, seed: int) -> None:
        candidates = (tokenizer.unk_token_id, tokenizer.mask_token_id, tokenizer.pad_token_id)
        self._probability, self._seed = probability, seed
        self._id = int(next(id_ for id_ in candidates if id_ is not None))

    def __call__(self, step: int, rows: Sequence[Encoded]) -> list[Encoded]:
        """The rows of a step with some tokens hidden."""
        generator = np.random.default_rng((self._seed, step))
        return [self._masked(row, generator) for row in rows]

    def _masked(self, row: Encoded, generator: np.random.Generator) -> Encoded:
        hidden = generator.random(len(row.input_ids)) < self._probability
        hidden[0] = False
        targets = np.flatnonzero(row.supervised)
        if hidden[targets].all():
            hidden[targets[-1]] = False
        return replace(
            row,
            input_ids=[self._id if h else id_ for id_, h in zip(row.input_ids, hidden, strict=True)],
            supervised=[t and not h for t, h in zip(row.supervised, hidden, strict=True)],
            hidden=tuple(np.flatnonzero(hidden).tolist()),
        )


@contextmanager
def noisy_embeddings(model: nn.Module, alpha: float | None) -> Iterator[None]:
    """While open, add NEFTune's noise to the input embeddings of a model in training mode.

    None or 0 add none. It is uniform in +-alpha / sqrt(L d), L being the tokens of the row and d the width of
    the embeddings (Jain et al. 2023, algorithm 1). As in the authors' code, L does not count padding and
    padding gets no noise; transformers takes the padded length of the batch, which makes the noise of a row
    depend on its batch. In a packed row L is the length of each part.
    """
    if not alpha:
        yield
        return
    counts: list[torch.Tensor] = []

    def measure(module: nn.Module, _arguments: tuple[Any, ...], inputs: dict[str, Any]) -> None:
        if module.training:
            counts[:] = [_token_counts(inputs.get("attention_mask"), inputs.get("position_ids"))]

    def add(module: nn.Module, _arguments: tuple[Any, ...], embedded: torch.Tensor) -> torch.Tensor:
        if not module.training:
            return embedded
        size = counts[0].unsqueeze(-1) * embedded.shape[-1]
        magnitude = torch.where(size > 0, alpha / size.clamp(min=1).sqrt(), 0.0)
        return embedded + torch.empty_like(embedded).uniform_(-1, 1) * magnitude.to(embedded)

    handles = [
        model.register_forward_pre_hook(measure, with_kwargs=True),
        model.get_input_embeddings().register_forward_hook(add),  # type: ignore[operator]
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _token_counts(mask: torch.Tensor | None, positions: torch.Tensor | None) -> torch.Tensor:
    """(rows, length): for each token the length of the row or part that it is in, 0 for padding."""
    if mask is not None:
        return mask * mask.sum(dim=1, keepdim=True)
    assert positions is not None
    part = (positions == 0).cumsum(dim=1) - 1
    lengths = torch.zeros_like(positions).scatter_add_(1, part, torch.ones_like(positions))
    return lengths.gather(1, part)
