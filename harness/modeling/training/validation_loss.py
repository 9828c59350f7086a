"""How a model in training does on held-out rows: its loss, and a few answers to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from harness.modeling.batching import collate
from harness.modeling.devices import autocast
from harness.modeling.failures import memory_errors_explained, require_finite
from harness.modeling.language_model import TransformersLanguageModel
from harness.modeling.likelihood import token_losses
from harness.modeling.training.processes import ALONE, Processes
from harness.modeling.training.sampling_order import length_sorted_batches
from harness.modeling.training.setup import Rows, TrainingSetup
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

    def line(self, step: int, epoch: float) -> dict[str, Any]:
        """The entries of the log's line of a validation after `step`: loss, tokens, samples.

        Raises OutOfMemory, and TrainingDiverged for a loss that is not finite.
        """
        place, fix = f"validation at step {step}", "lower per_device_eval_batch_size"
        with memory_errors_explained(place, fix):
            loss, targets = self.loss()
            require_finite(step, "validation loss", loss)
            answers = self.answers()
        return {"step": step, "epoch": round(epoch, 4), "loss": loss, "tokens": targets, "samples": answers}

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
            processes=setup.processes,
        )

    def answers(self) -> list[dict[str, Any]]:
        """Greedy answers to the first validation examples: id, the last turn of the prompt, the answer."""
        samples = self._setup.samples
        if not samples or not self._setup.processes.first:
            return []
        with autocast(self._setup.device, self._setup.compute_dtype):
            completions = self._language_model.generate(
                [example.prompt for example in samples], self._decoding
            )
        return [
            {"id": example.id, "prompt": example.prompt[-1].content, "answer": completion.text}
            for example, completion in zip(samples, completions, strict=True)
        ]


def mean_loss(
    model: nn.Module,
    rows: Rows,
    *,
    batch_size: int,
    pad_id: int,
    device: torch.device,
    compute_dtype: torch.dtype,
    processes: Processes = ALONE,
) -> tuple[float, int]:
    """(mean negative log-likelihood in nats, targets) over all rows, with dropout off.

    Several processes share the rows out, and each has the result.

    The model is left in the mode it came in.
    """
    total = torch.zeros((), dtype=torch.float64, device=device)
    training = model.training
    model.eval()
    try:
        for indices in processes.share(length_sorted_batches(rows.lengths, batch_size)):
            batch = collate(rows.take(indices), pad_id, device=device)
            with torch.no_grad(), autocast(device, compute_dtype):
                total += token_losses(model, batch).nll.double().sum()
    finally:
        model.train(training)
    targets = sum(rows.targets)
    return processes.sum(total).item() / targets, targets
