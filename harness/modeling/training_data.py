"""Examples as token rows, encoded once before training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from harness.modeling.loading import max_positions
from harness.modeling.supervision import Encoded, Renderer
from harness.records import Example, Prompting


@dataclass(frozen=True)
class Rows:
    """Rows with at least one target each; `dropped` counts the examples that had none."""

    encoded: Sequence[Encoded]
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.encoded)

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.input_ids) for row in self.encoded]

    @cached_property
    def targets(self) -> list[int]:
        """Supervised tokens of each row."""
        return [sum(row.supervised) for row in self.encoded]

    @property
    def truncated(self) -> int:
        """How many rows lost part of their prompt or answer to the length limit."""
        return sum(row.truncated for row in self.encoded)

    def take(self, indices: Iterable[int]) -> list[Encoded]:
        """The rows at these indices."""
        return [self.encoded[index] for index in indices]


def encode_rows(
    examples: Iterable[Example],
    tokenizer: PreTrainedTokenizerBase,
    config: PretrainedConfig,
    prompting: Prompting,
    *,
    completion_only_loss: bool = True,
) -> Rows:
    """Encode examples for a model of this config, within its positions as well as `max_length`."""
    longest = min(prompting.max_length, max_positions(config) or prompting.max_length)
    renderer = Renderer(tokenizer, replace(prompting, max_length=longest))
    rows = [renderer.encode(example, completion_only_loss=completion_only_loss) for example in examples]
    kept = [row for row in rows if any(row.supervised)]
    return Rows(kept, dropped=len(rows) - len(kept))
