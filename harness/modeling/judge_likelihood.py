"""How likely a causal language model would go on with each of a few verdicts.

A verdict of several tokens counts as a whole: its log-likelihood is the sum over its tokens, each predicted
from the prompt and the tokens before it (teacher forcing). Verdicts that share their first tokens share a
forward pass, so verdicts of one token each take a single one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch.nn.functional import linear
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.errors import StageError
from harness.modeling.batching import collate
from harness.modeling.devices import pick_device
from harness.modeling.failures import memory_errors_explained
from harness.modeling.likelihood import target_logits
from harness.modeling.loading import load_model, load_tokenizer, max_positions
from harness.modeling.supervision import Encoded, Renderer
from harness.records import Message, ModelRef, Prompting

# Nothing is ever cut here: what is too long is found by counting.
WHOLE = 2**31
VOCABULARY_AT_ONCE = 16_384
PLAIN_SEPARATOR = "\n\nBetter answer: "


@dataclass(frozen=True, slots=True)
class Likelihoods:
    """Log-likelihoods in nats, one for each continuation; None where the prompt is too long for the model."""

    prompt_tokens: int
    values: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class _Request:
    """A prompt with its continuations, as ids."""

    prompt: list[int]
    continuations: list[list[int]]

    @property
    def length(self) -> int:
        """Tokens of the longest row."""
        return len(self.prompt) + max(map(len, self.continuations))


class ContinuationModel:
    """A causal model with its tokenizer and prompt template.

    `max_length` is the longest row in tokens, prompt and continuation together; None: as many as the model
    has positions for. `limit` is what came of both.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompting: Prompting,
        max_length: int | None = None,
    ) -> None:
        self._model = model
        self._renderer = Renderer(tokenizer, prompting)
        self._filler = tokenizer.pad_token_id or 0  # stands under the mask, where no id matters
        limits = (max_length, max_positions(model.config))
        self.limit = min((limit for limit in limits if limit is not None), default=WHOLE)

    def log_likelihoods(
        self, prompts: Sequence[Sequence[Message]], continuations: Sequence[str], *, batch_size: int
    ) -> list[Likelihoods]:
        """One entry for each prompt, in their order; `batch_size` prompts a forward pass, of like length.

        Raises OutOfMemory, and StageError where a likelihood is not a number.
        """
        requests = [self._encode(prompt, continuations) for prompt in prompts]
        found = [Likelihoods(len(request.prompt), None) for request in requests]
        fitting = [i for i, request in enumerate(requests) if request.length <= self.limit]
        fitting.sort(key=lambda i: -requests[i].length)  # what does not fit into memory shows itself at once
        for start in range(0, len(fitting), batch_size):
            chunk = fitting[start : start + batch_size]
            for i, values in zip(chunk, self._forward([requests[i] for i in chunk]), strict=True):
                found[i] = Likelihoods(len(requests[i].prompt), values)
        return found

    def _encode(self, prompt: Sequence[Message], continuations: Sequence[str]) -> _Request:
        ids = self._renderer.prompt_ids(prompt)
        rows = [self._renderer.encode_reference(prompt, text).input_ids for text in continuations]
        return _Request(ids, [row[len(ids) :] for row in rows])

    def _forward(self, requests: Sequence[_Request]) -> Iterator[tuple[float, ...]]:
        paths = [_covering(request.continuations) for request in requests]
        rows = [
            _row(request.prompt, path)
            for request, covering in zip(requests, paths, strict=True)
            for path in covering
        ]
        fix = "lower the judge's batch_size or max_length"
        with (
            memory_errors_explained(f"a batch of {len(rows)}", fix),
            torch.no_grad(),
            _exact_head(self._model),
        ):
            batch = collate(rows, self._filler, device=self._model.device)
            logits = target_logits(self._model, batch).logits
            log_probabilities = logits.float().log_softmax(dim=-1).cpu()
        start = 0
        for request, covering in zip(requests, paths, strict=True):
            count = sum(map(len, covering))
            yield _sums(log_probabilities[start : start + count], covering, request.continuations)
            start += count


@contextmanager
def _exact_head(model: PreTrainedModel) -> Iterator[None]:
    """While open, an output embedding in half precision computes its logits in float32.

    Logits of 16 and more are an eighth apart in bfloat16: a preference would move in steps of 0.03.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or head.weight.dtype == torch.float32:
        yield
        return

    def exact(
        _: torch.nn.Module, arguments: tuple[torch.Tensor, ...], _rounded: torch.Tensor
    ) -> torch.Tensor:
        hidden = arguments[0].float()
        # In parts, for a copy of the whole matrix may not fit.
        parts = [linear(hidden, part.float()) for part in torch.split(head.weight, VOCABULARY_AT_ONCE)]
        logits = torch.cat(parts, dim=-1)
        return logits if head.bias is None else logits + head.bias.float()

    handle = head.register_forward_hook(exact)
    try:
        yield
    finally:
        handle.remove()


def _row(prompt: list[int], path: list[int]) -> Encoded:
    return Encoded("", prompt + path, [False] * len(prompt) + [True] * len(path))


def _covering(continuations: Sequence[list[int]]) -> list[list[int]]:
    """The continuations whose forward passes predict every token of the others too."""
    covering: list[list[int]] = []
    for ids in sorted(continuations, key=len, reverse=True):
        if not any(_leads(path, ids) for path in covering):
            covering.append(ids)
    return covering


def _leads(path: Sequence[int], ids: Sequence[int]) -> bool:
    """Whether `path` begins with all but the last of `ids`, so that its logits predict each of `ids`."""
    return list(path[: len(ids) - 1]) == list(ids[:-1])


def _sums(
    log_probabilities: torch.Tensor, covering: Sequence[list[int]], continuations: Sequence[list[int]]
) -> tuple[float, ...]:
    """The log-likelihood of each continuation, from the (targets, vocabulary) of one path after another."""
    starts = [0]
    for path in covering:
        starts.append(starts[-1] + len(path))
    sums = []
    for ids in continuations:
        start = next(start for start, path in zip(starts, covering, strict=False) if _leads(path, ids))
        sums.append(math.fsum(float(log_probabilities[start + i, token]) for i, token in enumerate(ids)))
    if not all(map(math.isfinite, sums)):
        raise StageError(f"the judge's model gives log-likelihoods that are no numbers: {sums}")
    return tuple(sums)


def load_continuation_model(
    model: ModelRef, *, dtype: str | None, template: str | None, max_length: int | None
) -> ContinuationModel:
    """The model on the first GPU, or the CPU; ModelError if it cannot be loaded.

    `dtype` is torch's name of one; None: bfloat16 where the hardware computes in it. `template` None: `chat`
    where the tokenizer has one, else `plain`.
    """
    tokenizer = load_tokenizer(model)
    name = template or ("chat" if tokenizer.chat_template else "plain")
    prompting = Prompting(
        template=name,
        max_length=WHOLE,
        text_answer_separator=PLAIN_SEPARATOR,
        add_eos_token_to_answer=False,
    )
    weights = None if dtype is None else getattr(torch, dtype)
    loaded = load_model(model, device=pick_device(), dtype=weights)
    return ContinuationModel(loaded, tokenizer, prompting, max_length)
