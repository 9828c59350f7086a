"""Batched generation whose answers do not depend on what else is in the batch.

Greedy and beam search are transformers' own. Sampling draws each answer from a random stream of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    PreTrainedModel,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from harness.modeling.adapter_files import virtual_tokens
from harness.modeling.batching import pad_prompts

SEARCH_KEYS = frozenset(
    {
        "max_new_tokens",
        "min_new_tokens",
        "num_beams",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "length_penalty",
        "early_stopping",
    }
)
# In the order in which transformers applies them. Absent means off: none has a default here.
WARPERS: Mapping[str, Callable[[Any], LogitsProcessor]] = {
    "temperature": lambda value: TemperatureLogitsWarper(float(value)),
    "top_k": lambda value: TopKLogitsWarper(int(value)),
    "top_p": lambda value: TopPLogitsWarper(float(value)),
    "min_p": lambda value: MinPLogitsWarper(float(value)),
}


class Decoder:
    """Generation settings, read once: keys of GenerationConfig, greedy unless they say otherwise.

    The settings of the model's own generation_config.json count for nothing, and those of sampling only
    with `do_sample`. Which keys there are, and which go together, the suite has checked.
    """

    def __init__(self, settings: Mapping[str, Any], stop_ids: Sequence[int]) -> None:
        chosen = {key: value for key, value in settings.items() if value is not None}
        self._stop_ids = list(stop_ids)
        self.max_new_tokens = int(chosen["max_new_tokens"])
        self._sampling = bool(chosen.get("do_sample", False))
        # top_k 0 is GenerationConfig's way to say off
        self._warpers = LogitsProcessorList(
            make(chosen[key]) for key, make in WARPERS.items() if self._sampling and chosen.get(key)
        )
        self._search = {key: value for key, value in chosen.items() if key in SEARCH_KEYS}

    def generate(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, room: Sequence[int], seed: int
    ) -> list[list[int]]:
        """The new ids for each prompt; the stop token is the last of them where it came.

        Row i gets at most `room[i]` new tokens, which must be one or more.
        """
        groups: dict[int, list[int]] = {}
        for i, space in enumerate(room):
            groups.setdefault(min(self.max_new_tokens, space), []).append(i)
        answers: dict[int, list[int]] = {}
        # All rows with room enough are one group. The others, grouped by length, take no padding: with it
        # the batch would be longer than the positions that some architectures (MPT) are built for.
        for limit, members in groups.items():
            rows = self._generate(model, [prompts[i] for i in members], limit, seed)
            answers.update(zip(members, rows, strict=True))
        return [answers[i] for i in range(len(prompts))]

    def _generate(
        self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], limit: int, seed: int
    ) -> list[list[int]]:
        ids, mask = pad_prompts(prompts, device=model.device)
        processors = LogitsProcessorList()
        if self._sampling:
            streams = _random_streams(prompts, limit, seed).to(model.device)
            processors.append(_SampleByRow(self._warpers, streams, ids.shape[1]))
        core = model.get_base_model() if isinstance(model, PeftModel) else model
        with _neutral_defaults(core):
            output = core.generate(
                input_ids=ids,
                **_inputs(model, core, ids, mask),
                generation_config=self._config(limit),
                logits_processor=processors,
            )
        return [self._until_stop(row) for row in output[:, ids.shape[1] :].tolist()]

    def _config(self, limit: int) -> GenerationConfig:
        lengths = {
            "max_new_tokens": limit,
            "min_new_tokens": min(self._search.get("min_new_tokens", 0), limit) or None,
        }
        return GenerationConfig(
            **{**self._search, **lengths},
            do_sample=False,  # to transformers the search is a greedy one; _SampleByRow samples
            use_cache=True,
            eos_token_id=self._stop_ids,
            pad_token_id=self._stop_ids[0],  # fills rows that are done, behind their stop token
        )

    def _until_stop(self, ids: list[int]) -> list[int]:
        end = next((i + 1 for i, token in enumerate(ids) if token in self._stop_ids), len(ids))
        return ids[:end]


def _inputs(
    model: PreTrainedModel, core: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The mask, and for prompt tuning the embeddings that the first forward pass reads instead of the ids.

    The virtual tokens stand right before each prompt, as in training, so behind the padding on its left;
    peft's own generate puts them before the padding, and answers would depend on the batch.
    """
    count = virtual_tokens(model)
    if count == 0:
        return {"attention_mask": mask}
    prompt = model.get_prompt(batch_size=len(ids))
    embedded = core.get_input_embeddings()(ids)
    kind = torch.cat([mask.new_ones(len(ids), count), 2 * mask], dim=1)  # 0 padding, 1 virtual, 2 prompt
    order = kind.argsort(dim=1, stable=True)
    joined = torch.cat([prompt.to(embedded), embedded], dim=1).take_along_dim(order[:, :, None], dim=1)
    return {"inputs_embeds": joined, "attention_mask": kind.take_along_dim(order, dim=1).clamp(max=1)}


@contextmanager
def _neutral_defaults(model: PreTrainedModel) -> Iterator[None]:
    # generate() fills whatever a config leaves open from the model's own generation_config.
    theirs = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = theirs


def _random_streams(prompts: Sequence[Sequence[int]], steps: int, seed: int) -> torch.Tensor:
    """(prompts, steps) uniform numbers; each row depends on the seed and its own prompt alone."""
    rows = []
    for prompt in prompts:
        digest = hashlib.sha256(f"{seed}:{list(prompt)}".encode()).digest()
        # On the CPU, so that the stream is the same for every device.
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        rows.append(torch.rand(steps, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


class _SampleByRow(LogitsProcessor):  # type: ignore[misc]
    """Draws each row's next token with that row's own random number, and leaves only it possible.

    The draw inverts the cumulative distribution after the warpers, so one number a token is enough.
    """

    def __init__(self, warpers: LogitsProcessorList, streams: torch.Tensor, prompt_length: int) -> None:
        self._warpers = warpers
        self._streams = streams
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = input_ids.shape[1] - self._prompt_length
        cumulative = self._warpers(input_ids, scores).double().softmax(dim=-1).cumsum(dim=-1)
        # Scaled by the total, which rounding leaves a little off 1: the draw stays inside the vocabulary.
        threshold = self._streams[:, step : step + 1] * cumulative[:, -1:]
        token = torch.searchsorted(cumulative, threshold, right=True)
        return torch.full_like(scores, float("-inf")).scatter_(1, token, 0.0)
