"""Trains the weights of a model's norms and nothing else: a backend of one's own, on a screen."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness import Example, LanguageModel, ModelRef, Prompting, TrainJob, TrainOutcome, option
from harness.backends.torch import Torch
from harness.json_files import read_jsonl, write_jsonl


@dataclass(frozen=True)
class Norms:
    """Layer-norm tuning with plain SGD: one row at a time, in the order of the data."""

    training_keys: ClassVar[frozenset[str]] = frozenset({"learning_rate", "num_train_epochs"})
    methods: ClassVar[frozenset[str]] = frozenset({"norms"})
    final_only: bool = option(False, help="train the last norm alone")

    def train(self, job: TrainJob) -> TrainOutcome:
        """Write `model/` and `log.jsonl` into `job.out`; a training of seconds needs no checkpoint."""
        import torch

        from harness.modeling.artifacts import save
        from harness.modeling.batching import collate
        from harness.modeling.likelihood import token_losses
        from harness.modeling.loading import ensure_pad_token, load_model, load_tokenizer
        from harness.modeling.training.setup import encode_rows

        started, device = time.monotonic(), torch.device("cpu")
        tokenizer = load_tokenizer(job.model)
        model = load_model(job.model, device=device, dtype=torch.float32)
        ensure_pad_token(tokenizer, model)
        trained = self._choose(model)
        rows = encode_rows(read_jsonl(job.train, Example), tokenizer, model.config, job.prompting)
        optimizer = torch.optim.SGD(trained, lr=job.training["learning_rate"])
        log: list[dict[str, Any]] = []
        order = list(rows.encoded) * round(job.training["num_train_epochs"])
        for step, row in enumerate(order, start=1):
            loss = token_losses(model, collate([row], tokenizer.pad_token_id, device=device)).nll.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            log.append({"type": "train", "step": step, "epoch": step / len(rows), "loss": loss.item()})
            job.progress(step, len(order), f"loss {loss.item():.3f}")
        save(model, tokenizer, job.method, job.seed, job.out / "model")
        write_jsonl(job.out / "log.jsonl", log)
        seconds, tokens = time.monotonic() - started, sum(len(row.input_ids) for row in order)
        return TrainOutcome(
            steps=len(order),
            epochs=len(order) / len(rows),
            tokens_seen=tokens,
            tokens_supervised=sum(sum(row.supervised) for row in order),
            rows_used=len(rows),
            rows_truncated=rows.truncated,
            rows_dropped=rows.dropped,
            trainable_parameters=sum(weight.numel() for weight in trained),
            total_parameters=model.num_parameters(),
            artifact_bytes=sum(file.stat().st_size for file in (job.out / "model").iterdir()),
            seconds={"train": seconds},
            tokens_per_second=tokens / seconds,
            peak_memory_bytes=0,
            memory_kind="not measured",
            device="cpu",
            dtypes={"weights": "float32", "optimizer": "none", "compute": "float32"},
            effective_batch_size=1,
            final_train_loss=log[-1]["loss"],
        )

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> LanguageModel:
        """As the torch backend does: what `save` wrote, or the base."""
        return Torch().load(model, trained, prompting)

    def _choose(self, model: Any) -> list[Any]:
        model.requires_grad_(False)
        norms = [weight for name, weight in model.named_parameters() if "norm" in name]
        chosen = norms[-1:] if self.final_only else norms
        for weight in chosen:
            weight.requires_grad_(True)
        return chosen
