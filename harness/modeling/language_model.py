"""A transformers model with its tokenizer and prompt template, as the LanguageModel of protocols.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.modeling.batching import collate
from harness.modeling.devices import device_name, dtype_name
from harness.modeling.failures import memory_errors_explained
from harness.modeling.generation import Decoder
from harness.modeling.likelihood import TokenLosses, token_losses
from harness.modeling.loading import max_positions, tokenizer_digest, within_positions
from harness.modeling.supervision import Renderer
from harness.protocols import Decoding
from harness.records import Completion, Message, Prompting, TokenSums


class TransformersLanguageModel:
    """Generates with `model` and scores under it, be it plain, PEFT-wrapped or quantised.

    The model is used as it is: neither vocabulary nor weights change, also without a pad token. A model
    that is being trained is put back into training mode after each call. `base_tokenizer` is the one that
    `tokenizer` is a copy of, perhaps with a pad token added.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompting: Prompting,
        base_tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self._model = model
        self._base_tokenizer = base_tokenizer or tokenizer
        self._positions = max_positions(model.config)
        self._renderer = Renderer(tokenizer, within_positions(prompting, model.config))
        self._filler = tokenizer.pad_token_id or 0  # stands under the mask, where no id matters

    @property
    def device(self) -> str:
        """Where the model computes: `cpu`, or a GPU's product name."""
        return device_name(self._model.device)

    @property
    def tokenizer(self) -> str:
        """The digest of the base's tokenizer: models that share it have tokens that can be compared."""
        return tokenizer_digest(self._base_tokenizer)

    @property
    def dtypes(self) -> Mapping[str, str]:
        """The dtypes of the weights, the commonest first: `uint8+float32` for a 4-bit model on a CPU."""
        counts: dict[str, int] = {}
        for parameter in self._model.parameters():
            name = dtype_name(parameter.dtype)
            counts[name] = counts.get(name, 0) + parameter.numel()
        return {"weights": "+".join(sorted(counts, key=lambda name: -counts[name]))}

    def generate(self, prompts: Sequence[Sequence[Message]], decoding: Decoding) -> list[Completion]:
        """One completion for each prompt, as one batch.

        Where prompt and max_new_tokens exceed the model's positions, the answer is as long as there is
        room; a prompt that leaves none has `error` set. Raises OutOfMemory.
        """
        decoder = Decoder(decoding.settings, self._renderer.stop_token_ids)
        encoded = [self._renderer.prompt_ids(prompt) for prompt in prompts]
        room = [self._room(len(ids), decoder.max_new_tokens) for ids in encoded]
        fitting = [i for i, space in enumerate(room) if space > 0]
        completions = [self._no_room(len(ids)) for ids in encoded]
        if fitting:
            with _inference(self._model, len(fitting)):
                rows = decoder.generate(
                    self._model,
                    [encoded[i] for i in fitting],
                    room=[room[i] for i in fitting],
                    seed=decoding.seed,
                )
            for i, ids in zip(fitting, rows, strict=True):
                completions[i] = self._completion(ids)
        return completions

    def score(self, pairs: Sequence[tuple[Sequence[Message], str]]) -> list[TokenSums | None]:
        """Teacher-forced sums of each reference, as one batch; None where prompt and reference are too long.

        Too long is more than `prompting.max_length` tokens or than the model has positions. Raises
        OutOfMemory.
        """
        rows = [self._renderer.encode_reference(messages, reference) for messages, reference in pairs]
        fitting = [i for i, row in enumerate(rows) if not row.truncated]
        sums: list[TokenSums | None] = [None] * len(rows)
        if fitting:
            batch = collate([rows[i] for i in fitting], self._filler, device=self._model.device)
            with _inference(self._model, len(fitting)):
                losses = token_losses(self._model, batch)
            for i, (nll, tokens, correct) in zip(fitting, _by_row(losses, len(fitting)), strict=True):
                sums[i] = TokenSums(nll, tokens, len(pairs[i][1].encode()), correct)
        return sums

    def _room(self, prompt_length: int, max_new_tokens: int) -> int:
        if prompt_length == 0:
            return 0  # a model starts from at least one token
        return max_new_tokens if self._positions is None else self._positions - prompt_length

    def _no_room(self, prompt_length: int) -> Completion:
        if prompt_length == 0:
            return Completion(None, error="the prompt is empty")
        limit = f"the model's {self._positions} positions"
        return Completion(None, error=f"the prompt's {prompt_length} tokens fill {limit}")

    def _completion(self, ids: list[int]) -> Completion:
        stopped = bool(ids) and ids[-1] in self._renderer.stop_token_ids
        return Completion(self._renderer.answer_text(ids), len(ids), "stop" if stopped else "length")


def _by_row(losses: TokenLosses, rows: int) -> Iterator[tuple[float, int, int]]:
    """(nll, tokens, correct) of each row; summed in float64, for a sum must not depend on its batch."""
    row = losses.row
    nll = torch.zeros(rows, dtype=torch.float64, device=row.device).index_add_(0, row, losses.nll.double())
    tokens = row.bincount(minlength=rows)
    correct = row[losses.correct].bincount(minlength=rows)
    yield from zip(nll.tolist(), tokens.tolist(), correct.tolist(), strict=True)


@contextmanager
def _inference(model: PreTrainedModel, rows: int) -> Iterator[None]:
    training = model.training
    model.eval()
    fix = "lower training.per_device_eval_batch_size"
    try:
        # Not inference_mode: buffers made under it (rotary tables) would break a later training step.
        with memory_errors_explained(f"a batch of {rows}", fix), torch.no_grad():
            yield
    finally:
        model.train(training)
