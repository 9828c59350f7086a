"""Whether a recipe fits into the memory of this machine's device."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from harness.format import size
from harness.modeling import memory
from harness.modeling.devices import pick_device
from harness.modeling.loading import load_config, load_tokenizer
from harness.modeling.probes.bench import Recipe
from harness.modeling.probes.results import ProbeResult
from harness.modeling.training.setup import Rows, encode_rows
from harness.records import Example, characters

LONGEST = 64
"""Rows that are tokenized, besides a batch of them, to find the largest batch."""


def require_memory(recipe: Recipe, examples: Sequence[Example]) -> memory.MemoryEstimate:
    """The estimate for the recipe's largest batch; ModelError where the device has less."""
    device, rows = pick_device(), longest_rows(recipe, examples)
    needed = memory.estimate(
        recipe.model,
        recipe.method,
        recipe.training,
        recipe.prompting,
        rows.lengths,
        targets=rows.targets,
        device=device,
    )
    memory.require_fit(needed, device, recipe.training, recipe.method)
    return needed


def probe_memory(recipe: Recipe, examples: Sequence[Example]) -> ProbeResult:
    """The training fits."""
    needed = require_memory(recipe, examples)
    return ProbeResult("memory", "pass", f"{needed}; there are {size(memory.available(pick_device()))}")


def longest_rows(recipe: Recipe, examples: Sequence[Example]) -> Rows:
    """The rows that are longest by their characters: the largest batch is made of some of these."""
    count = LONGEST + recipe.training["per_device_train_batch_size"]
    return encode_rows(
        heapq.nlargest(count, examples, key=characters),
        load_tokenizer(recipe.model),
        load_config(recipe.model),
        recipe.prompting,
        completion_only_loss=recipe.training["completion_only_loss"],
    )
