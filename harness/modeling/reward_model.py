"""A reward model: a sequence classifier with one output, which grades an answer to a prompt.

The answer stands behind its prompt in the tokenizer's chat template or, for encoders without one, as the
second text of a pair. Nothing is ever cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import jinja2
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from harness.errors import ModelError, StageError
from harness.fences import transcript
from harness.modeling.devices import compute_dtype, pick_device
from harness.modeling.failures import memory_errors_explained
from harness.modeling.loading import (
    in_one_line,
    load_tokenizer,
    max_positions,
    require_all_weights,
    shown_name,
)
from harness.modeling.prompt_templates import template_source
from harness.records import Message, ModelRef, Prompting

Features = dict[str, list[int]]


@dataclass(frozen=True, slots=True)
class Grade:
    """A grade on the model's own scale; None where prompt and answer are too long for it."""

    tokens: int
    value: float | None


class RewardModel:
    """A sequence classifier with one output. `template` is `chat` or `pair`, `max_length` a limit in tokens.

    The limit is the model's positions, or the tokenizer's, where these are lower.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        template: str,
        max_length: int | None = None,
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._template = template_source(tokenizer, Prompting()) if template == "chat" else None
        limits = (max_length, max_positions(model.config), tokenizer.model_max_length)
        self._limit = min(limit for limit in limits if limit is not None)
        # Decoders find the last token by the pad token of their configuration.
        pad = model.config.get_text_config().pad_token_id
        self._pads = pad is not None and pad == tokenizer.pad_token_id

    def grades(self, answered: Sequence[tuple[Sequence[Message], str]], *, batch_size: int) -> list[Grade]:
        """The grade of each answer to its prompt, in order; `batch_size` at a time, of like length.

        A model that cannot tell padding is given one at a time. Raises OutOfMemory, and StageError where a
        grade is not a number.
        """
        rows = [self._encode(prompt, answer) for prompt, answer in answered]
        lengths = [len(row["input_ids"]) for row in rows]
        found = [Grade(length, None) for length in lengths]
        fitting = sorted((i for i, n in enumerate(lengths) if n <= self._limit), key=lambda i: -lengths[i])
        size = batch_size if self._pads else 1
        for start in range(0, len(fitting), size):
            chunk = fitting[start : start + size]
            for i, value in zip(chunk, self._forward([rows[i] for i in chunk]), strict=True):
                found[i] = Grade(lengths[i], value)
        return found

    def _encode(self, prompt: Sequence[Message], answer: str) -> Features:
        if self._template is None:
            return dict(self._tokenizer(transcript(prompt), answer, verbose=False))
        turns = [*prompt, Message("assistant", answer)]
        conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text = self._tokenizer.apply_chat_template(
                conversation, chat_template=self._template, tokenize=False
            )
        except (jinja2.TemplateError, TypeError) as error:
            roles = ", ".join(turn.role for turn in turns)
            raise StageError(
                f"the reward model's template refuses a conversation of {roles}: {error}"
            ) from error
        return dict(self._tokenizer(text, add_special_tokens=False, verbose=False))

    def _forward(self, rows: Sequence[Features]) -> Iterator[float]:
        fix = "lower the judge's batch_size or max_length"
        with memory_errors_explained(f"a batch of {len(rows)}", fix), torch.no_grad():
            values = self._model(**self._batch(rows)).logits.float().reshape(len(rows)).tolist()
        for value in values:
            if not math.isfinite(value):
                raise StageError(f"the reward model grades an answer {value}")
            yield value

    def _batch(self, rows: Sequence[Features]) -> Mapping[str, torch.Tensor]:
        """Rows padded on the right to the longest of them."""
        fillers = {
            "input_ids": self._tokenizer.pad_token_id or 0,
            "token_type_ids": self._tokenizer.pad_token_type_id,
        }
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            name: torch.tensor(
                [row[name] + [fillers.get(name, 0)] * (longest - len(row[name])) for row in rows],
                device=self._model.device,
            )
            for name in rows[0]
        }


def load_reward_model(
    model: ModelRef, *, dtype: str | None, template: str | None, max_length: int | None
) -> RewardModel:
    """The model on the first GPU, or the CPU; ModelError if it cannot be loaded or is no reward model.

    `dtype` is torch's name of one; None: bfloat16 where the hardware computes in it. `template` None: `chat`
    where the tokenizer has one, else `pair`.
    """
    device = pick_device()
    tokenizer = load_tokenizer(model)
    loaded, report = in_one_line(
        model,
        "it cannot be loaded as a sequence classifier",
        lambda: AutoModelForSequenceClassification.from_pretrained(
            model.name_or_path,
            revision=model.revision,
            dtype=compute_dtype(device) if dtype is None else getattr(torch, dtype),
            device_map={"": device},
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        ),
    )
    require_all_weights(model, report)
    if loaded.config.num_labels != 1:
        what = f"it has {loaded.config.num_labels} outputs, and a reward model has one"
        raise ModelError(what, where=shown_name(model), fix="name a reward model")
    return RewardModel(
        loaded, tokenizer, template or ("chat" if tokenizer.chat_template else "pair"), max_length
    )
