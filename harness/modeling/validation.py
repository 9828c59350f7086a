"""How a model in training does on held-out rows: its loss, and a few answers to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.losses import autocast, mean_loss
from harness.modeling.training_setup import TrainingSetup
from harness.protocols import Decoding
from harness.records import Prompting


class Validator:
    """Validates `setup.model` as it is at the moment of a call, and leaves it in training mode.

    Draws no random number, so validating more often does not change what is trained.
    """

    def __init__(
        self, setup: TrainingSetup, prompting: Prompting, generation: Mapping[str, Any], batch_size: int
    ) -> None:
        self._setup, self._batch_size = setup, batch_size
        self._language_model = TransformersLanguageModel(setup.model, setup.tokenizer, prompting)
        self._decoding = Decoding({**generation, "do_sample": False})

    def loss(self) -> tuple[float, int]:
        """(nats per target, targets) over the whole validation set."""
        setup = self._setup
        assert setup.validation is not None
        return mean_loss(
            setup.model,
            setup.validation,
            batch_size=self._batch_size,
            pad_id=setup.pad_id,
            device=setup.device,
            compute_dtype=setup.compute_dtype,
        )

    def answers(self) -> list[dict[str, Any]]:
        """Greedy answers to the first validation examples: id, the last turn of the prompt, the answer."""
        samples = self._setup.samples
        if not samples:
            return []
        with autocast(self._setup.device, self._setup.compute_dtype):
            completions = self._language_model.generate(
                [example.prompt for example in samples], self._decoding
            )
        return [
            {"id": example.id, "prompt": example.prompt[-1].content, "answer": completion.text}
            for example, completion in zip(samples, completions, strict=True)
        ]
