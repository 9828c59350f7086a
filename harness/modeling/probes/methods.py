"""Probes of a recipe: a candidate's method on its base model, over three real training steps."""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.errors import ModelError
from harness.modeling import artifacts
from harness.modeling.adapter_files import changes_base
from harness.modeling.devices import autocast, dtype_name, pick_device
from harness.modeling.probes.bench import Recipe
from harness.modeling.probes.results import ProbeResult, judged, skipped, within
from harness.modeling.random_state import seed_everything
from harness.modeling.training.metering import parameter_counts
from harness.modeling.training.optimization import Optimization
from harness.modeling.training.setup import TrainingSetup, set_up, weight_format
from harness.modeling.training.validation_loss import mean_loss
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.records import Example

STEPS = 3
"""At the first, LoRA's B is zero and A gets no gradient; by the third every intended tensor has moved."""
MOST_ATTEMPTS = 24
ROWS_PER_STEP = 2
FOREIGN_SEED = 987_654_321
LARGEST_START_DIFFERENCE = 1e-3
"""Where an initialisation splits the base's weights (PiSSA, OLoRA) and adds them up again."""

Digest = tuple[float, float, int]


class RecipeBench:
    """A recipe set up over a few examples; the probes below are to be called in their order."""

    def __init__(self, recipe: Recipe, examples: Sequence[Example], folder: Path) -> None:
        self.recipe, self._job = recipe, recipe.job(examples, folder)
        self._settings = TrainingSettings(**self._job.training)
        self._device = pick_device()

    @cached_property
    def setup(self) -> TrainingSetup:
        """The prepared model and its rows; ModelError where method and model do not fit."""
        return set_up(self._job, self._settings, self._device)

    def probe_method(self) -> ProbeResult:
        """The method fits the model."""
        trainable, total = parameter_counts(self.setup.model)
        figure = f"{trainable:,} of {total:,} parameters trained ({trainable / total:.2%})"
        return judged("method", trainable > 0, figure, "choose what is to be trained")

    def probe_start(self) -> ProbeResult:
        """Before it is trained, an adapter changes nothing."""
        name = self.recipe.method.name
        if name not in ADAPTERS or name == "prompt_tuning":
            return skipped("start", f"{name} starts from no adapter that could be neutral")
        adapted = self._logits(self.setup.model)
        if changes_base(self.setup.model):
            plain, allowed = self._logits(self._fresh_base()), LARGEST_START_DIFFERENCE
        else:
            with self.setup.model.disable_adapter():
                plain, allowed = self._logits(self.setup.model), 0.0
        error = float((adapted - plain).norm() / plain.norm())
        fix = "set init_lora_weights: true"
        return within("start", error, allowed, "adapted and base logits differ by", fix)

    def probe_dtypes(self) -> ProbeResult:
        """Trained weights are float32: in 16 bits small updates are lost, and fp16's cannot be unscaled."""
        trained = {dtype_name(p.dtype) for p in self.setup.model.parameters() if p.requires_grad}
        weights = weight_format(self.setup, self.recipe.method)
        figure = f"{weights} weights, {'+'.join(sorted(trained))} trained"
        figure += f", {dtype_name(self.setup.compute_dtype)} compute"
        return judged("dtypes", trained == {"float32"}, figure, "train float32 weights under bf16 or fp16")

    def probe_seed(self) -> ProbeResult:
        """The same seed gives the same new weights, whatever was drawn before."""
        if self.recipe.method.name not in ADAPTERS:
            return skipped("seed", f"{self.recipe.method.name} draws no new weights")
        mine = self._trainable(self.setup)
        seed_everything(FOREIGN_SEED)
        again = self._trainable(set_up(self._job, self._settings, self._device))
        same = sum(mine[name] == again.get(name) for name in mine)
        figure = f"{same} of {len(mine)} new tensors are the same when made again"
        return judged("seed", same == len(mine), figure, "report it: the seed must be set before the adapter")

    def probe_gradient_flow(self) -> ProbeResult:
        """After three steps, under the recipe's own optimizer and rate, just the intended tensors changed."""
        model = self.setup.model
        intended = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        before = _digests(model)
        self._train()
        after = _digests(model)
        changed = {name for name in before if before[name] != after[name]}
        still, moved = sorted(intended - changed), sorted(changed - intended)
        figure = f"{len(intended & changed)} of {len(intended)} trained tensors changed in {STEPS} steps"
        figure += f", and {len(moved)} of {len(before) - len(intended)} others"
        named = (still or moved or [""])[0]
        fix = f"first is {named}: check learning_rate, activation_checkpointing and the method"
        return judged("gradient_flow", not still and not moved, figure, fix)

    def probe_save_load(self) -> ProbeResult:
        """What is loaded afresh answers as what was in memory, added tokens included."""
        setup, recipe = self.setup, self.recipe
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "model"
            artifacts.save(setup.model, setup.tokenizer, recipe.method, recipe.seed, saved)
            loaded, tokenizer = artifacts.load_trained(recipe.model, saved, self._device)
        error = _relative(self._logits(loaded), self._logits(setup.model))
        tokens = len(tokenizer) - len(setup.tokenizer)
        figure = f"logits differ by {error:.1e} (allowed {self._rounding:.0e}), vocabulary by {tokens} tokens"
        passed = error <= self._rounding and tokens == 0
        return judged("save_load", passed, figure, "report it: what is shipped is not what was trained")

    def probe_merge(self) -> ProbeResult:
        """How far the loss moves when an adapter is merged into quantised weights; the last probe.

        A figure for whoever means to merge: what is scored and kept is the adapter beside its base, so that a
        large one is no fault.
        """
        if self.recipe.method.name != "qlora":
            return skipped("merge", "the base is not quantised")
        adapter = self._loss(self.setup.model)
        with warnings.catch_warnings():
            # The very rounding that is measured here.
            warnings.filterwarnings("ignore", message="Merge lora module to ")
            merged = self._loss(self.setup.model.merge_and_unload())
        drift = abs(merged - adapter) / adapter
        figure = f"loss {adapter:.4f} with the adapter, {merged:.4f} merged into the base: {drift:.1e} of it"
        return judged("merge", math.isfinite(drift), figure, "ship the adapter as it is")

    @property
    def _rounding(self) -> float:
        """What saving may change: PiSSA's base is split anew, and on a GPU the model is used in bfloat16."""
        return 1e-5 if self._device.type == "cpu" else 2e-2

    def _fresh_base(self) -> Any:
        recipe, setup = self.recipe, self.setup
        dtype = setup.compute_dtype
        return artifacts.load_base(
            recipe.model, setup.tokenizer, recipe.method, device=self._device, dtype=dtype
        ).eval()

    def _trainable(self, setup: TrainingSetup) -> dict[str, Digest]:
        return {n: _digest(p.data) for n, p in setup.model.named_parameters() if p.requires_grad}

    def _train(self) -> None:
        model, rows = self.setup.model, len(self.setup.train)
        if not rows:
            raise ModelError("no row has a target", fix="raise prompting.max_length")
        optimization = Optimization(self.setup, self._settings, STEPS)
        model.train()
        done = 0
        for attempt in range(MOST_ATTEMPTS):
            window = np.arange(attempt * ROWS_PER_STEP, (attempt + 1) * ROWS_PER_STEP) % rows
            report = optimization.step(done, np.unique(window))
            done += report.gradient_norm is not None  # None: float16 overflowed, the loss scale is lowered
            if done == STEPS:
                break
        model.eval()

    def _loss(self, model: Any) -> float:
        setup = self.setup
        loss, _ = mean_loss(
            model,
            setup.train,
            batch_size=ROWS_PER_STEP,
            pad_id=setup.pad_id,
            device=self._device,
            compute_dtype=setup.compute_dtype,
        )
        return loss

    def _logits(self, model: Any) -> torch.Tensor:
        ids = torch.tensor([self.setup.train.encoded[0].input_ids], device=self._device)
        model.eval()
        with torch.no_grad(), self._precision():
            logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits
        return logits.float()

    def _precision(self) -> AbstractContextManager[Any]:
        compute = self.setup.compute_dtype
        return nullcontext() if compute == torch.float32 else autocast(self._device, compute)


PROBES: Sequence[tuple[str, Callable[[RecipeBench], ProbeResult]]] = (
    ("method", RecipeBench.probe_method),
    ("start", RecipeBench.probe_start),
    ("dtypes", RecipeBench.probe_dtypes),
    ("seed", RecipeBench.probe_seed),
    ("gradient_flow", RecipeBench.probe_gradient_flow),
    ("save_load", RecipeBench.probe_save_load),
    ("merge", RecipeBench.probe_merge),
)
"""In the order in which they must be called: the later ones train the model, the last one spoils it."""


def _relative(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _digests(model: Any) -> dict[str, Digest]:
    """A digest of every parameter and buffer: copies of a whole model would not fit beside it."""
    tensors: Iterator[tuple[str, torch.Tensor]] = iter([*model.named_parameters(), *model.named_buffers()])
    return {name: _digest(tensor.detach()) for name, tensor in tensors}


def _digest(tensor: torch.Tensor) -> Digest:
    """Sum, sum of magnitudes and exclusive or of all elements."""
    exclusive_or = torch.hash_tensor(tensor)
    total = tensor.sum(dtype=torch.float64)
    # Masks among the buffers are boolean, and have no magnitude.
    magnitudes = total if tensor.dtype == torch.bool else tensor.abs().sum(dtype=torch.float64)
    return total.item(), magnitudes.item(), int(exclusive_or.item())
