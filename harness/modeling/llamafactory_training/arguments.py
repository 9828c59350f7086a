"""The suite's settings as LLaMA-Factory's.

Its own defaults (reentrant checkpointing, a rank, a template, a seed of 42) count for nothing: everything
that shapes the weights is set here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from harness.errors import ModelError
from harness.modeling.llamafactory_training.steps import Steps
from harness.modeling.methods import quantization
from harness.modeling.trainer_settings import SAME_NAME_AND_MEANING
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.protocols import TrainJob


def training_arguments(
    settings: TrainingSettings, setup: TrainingSetup, steps: Steps, *, checkpoint_interval: int, seed: int
) -> dict[str, Any]:
    """Keys of LLaMA-Factory for tokenised rows that lie in the order of `steps`."""
    return {
        "stage": "sft",
        "do_train": True,
        "seed": seed,
        "max_steps": steps.total,
        "disable_shuffling": True,
        "warmup_steps": settings.warmup_length(steps.total, steps.per_epoch),
        "use_cpu": setup.device.type == "cpu",
        "bf16": setup.compute_dtype == torch.bfloat16,
        "disable_gradient_checkpointing": not settings.activation_checkpointing,
        "use_reentrant_gc": False,
        # Every step is reported, so that a loss that is no number stops the training at its own step.
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "eval_strategy": "no",
        "save_strategy": "steps",
        "save_steps": checkpoint_interval,
        # Rows come tokenised; these two are asked for and read nowhere.
        "template": "empty",
        "dataset": "tokenized",
        "neftune_noise_alpha": settings.neftune_noise_alpha,
        **{name: getattr(settings, name) for name in SAME_NAME_AND_MEANING},
    }


def method_arguments(job: TrainJob, setup: TrainingSetup) -> dict[str, Any]:
    """Keys of LLaMA-Factory that have it train the weights that the method means.

    An adapter is handed over ready to train, so its options need no keys. Raises ModelError where
    LLaMA-Factory cannot do the same.
    """
    if job.method.name in ADAPTERS:
        quantized = quantization(job.method)
        return {"finetuning_type": "lora"} | (_quantization(quantized, setup) if quantized else {})
    if job.method.name == "freeze":
        return {"finetuning_type": "freeze", **_freeze(setup)}
    return {"finetuning_type": "full"}


def _quantization(options: Mapping[str, Any], setup: TrainingSetup) -> dict[str, Any]:
    where = "method.qlora.quantization"
    for key, only in (("llm_int8_threshold", 6.0), ("llm_int8_skip_modules", None)):
        if options.get(key, only) != only:
            raise ModelError(f"llamafactory does not honour {key}", where=where, fix="leave it out")
    if options.get("load_in_8bit"):
        return {"quantization_bit": 8}
    # With bf16 off on a GPU it would compute in float16, whatever is asked for.
    computes_in = "bfloat16" if setup.compute_dtype == torch.bfloat16 else "float32"
    if options.get("bnb_4bit_compute_dtype", computes_in) != computes_in:
        what = f"llamafactory computes in {computes_in} here, as training.bf16 says"
        raise ModelError(what, where=f"{where}.bnb_4bit_compute_dtype", fix="leave it out")
    if computes_in == "float32" and setup.device.type == "cuda":
        raise ModelError("llamafactory would compute in float16", where="training.bf16", fix="set bf16: true")
    return {
        "quantization_bit": 4,
        "quantization_type": options["bnb_4bit_quant_type"],
        "double_quantization": options["bnb_4bit_use_double_quant"],
    }


def _freeze(setup: TrainingSetup) -> dict[str, Any]:
    """Read off the prepared model; LLaMA-Factory selects by parts of names, which may catch too much."""
    names = {name: parameter.requires_grad for name, parameter in setup.model.named_parameters()}
    trained = {name for name, trains in names.items() if trains}
    layers = {int(number[1]) for name in trained if (number := re.search(r"\.(\d+)\.", name))}
    extra = sorted({name.split(".")[-2] for name in trained if not re.search(r"\.\d+\.", name)})
    caught = [*(f".{layer}." for layer in layers), *extra]
    others = {name for name in names if any(part in name for part in caught)} - trained
    if others:
        what = f"freeze: llamafactory selects by parts of names and would train {min(others)} too"
        raise ModelError(what, fix="choose backend: torch")
    return {
        "freeze_trainable_layers": len(layers),
        **({"freeze_extra_modules": ",".join(extra)} if extra else {}),
    }
