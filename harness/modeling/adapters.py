"""LoRA and its kin through peft: creating an adapter, saving it, loading it again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import peft
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, PeftModel
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from harness.errors import ModelError
from harness.modeling.failures import first_line


def add_adapter(model: PreTrainedModel, options: Mapping[str, Any]) -> PeftModel:
    """Freeze the model and add a fresh LoRA adapter; `options` are keys of peft's LoraConfig.

    Draws from torch's random state: seed it first. What is trained is float32 whatever the base has.
    Raises ModelError where the options do not fit the model; a target that matches nothing is answered
    with the names of the model's linear layers.
    """
    try:
        config = LoraConfig(**{"task_type": "CAUSAL_LM", **options})
        with _peft_calling_old_names():
            adapted = peft.get_peft_model(model, config)
    except (ValueError, TypeError) as error:
        names = ", ".join(linear_layer_names(model))
        reason = first_line(error).rstrip(".")
        raise ModelError(f"lora: {reason}", fix=f"linear layers of this model: {names}") from error
    _require_saved_modules(model, options)
    for parameter in adapted.parameters():
        # peft does so for adapters, but not for `modules_to_save` or `bias`, which are trained as well.
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return adapted


def _require_saved_modules(model: PreTrainedModel, options: Mapping[str, Any]) -> None:
    """ModelError for a name under `modules_to_save` that peft would pass over in silence."""
    names = {part for name, _ in model.named_modules() for part in (name, name.rpartition(".")[2])}
    for wanted in options.get("modules_to_save") or []:
        if wanted not in names:
            raise ModelError(f"lora: modules_to_save: the model has no module '{wanted}'")


def linear_layer_names(model: nn.Module) -> list[str]:
    """What `target_modules` may name: the last part of each linear layer's name, without repetition."""
    kinds = (nn.Linear, Conv1D)
    return sorted({n.rpartition(".")[2] for n, module in model.named_modules() if isinstance(module, kinds)})


def prepare_quantized(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze a quantised model and raise what is not quantised (norms, embeddings, head) to float32.

    The very same must be done before an adapter is loaded, or its logits differ from those in training.
    """
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first forward in eval
            # mode, for good, and the repacked matmul has no backward: after one validation the gradients
            # would silently be wrong. It would also make scores depend on the kind of CPU.
            module.support_avx512bf16_for_cpu = False
    prepared: PreTrainedModel = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    return prepared


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, as peft reads them."""
    # The base is loaded and resized again in the same way, so its embeddings need no copy; "auto" would
    # ask the Hub for the base's config.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's blank model card


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter of `folder` on its base model, frozen.

    Initialisations that change the base (PiSSA, OLoRA) are done again by peft: seed first.
    """
    with _peft_calling_old_names():
        return PeftModel.from_pretrained(model, str(folder), is_trainable=False)


@contextmanager
def _peft_calling_old_names() -> Iterator[None]:
    """Drop the deprecation that peft 0.21 itself causes in transformers 5.23: no user can act on it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        yield
