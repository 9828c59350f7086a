"""A model as Unsloth makes it: the base with its kernels patched in, full or with a LoRA adapter.

Written against Unsloth 2026.10; it has not been run on a GPU.
"""

from __future__ import annotations

from typing import Any

import torch
import unsloth
from transformers import BitsAndBytesConfig, PreTrainedTokenizerBase

from harness.errors import ModelError, first_line
from harness.modeling.loading import ensure_pad_token
from harness.modeling.methods import quantization
from harness.modeling.training_settings import LORA_PRESETS, TrainingSettings
from harness.protocols import TrainJob


def unsloth_model(
    job: TrainJob,
    settings: TrainingSettings,
    tokenizer: PreTrainedTokenizerBase,
    device: torch.device,
    dtype: torch.dtype,
) -> Any:
    """The counterpart of `prepared_model`. ModelError where Unsloth refuses the model or the method."""
    options = dict(job.method.options)
    bits = quantization(job.method)
    if job.method.name == "qlora":
        options = dict(options.get("lora", {}))
    try:
        # Its tokenizer is left aside: Unsloth may repair it, and prompts must be those of all backends.
        model, _ = unsloth.FastLanguageModel.from_pretrained(
            job.model.name_or_path,
            revision=job.model.revision,
            max_seq_length=job.prompting.max_length,
            dtype=dtype,
            load_in_4bit=bits is not None and bool(bits.get("load_in_4bit")),
            load_in_8bit=bits is not None and bool(bits.get("load_in_8bit")),
            quantization_config=bits and BitsAndBytesConfig(**{"bnb_4bit_compute_dtype": dtype, **bits}),
            full_finetuning=job.method.name == "full",
            float32_mixed_precision=job.method.name == "full",
            device_map={"": device},
            random_state=job.seed,
            use_gradient_checkpointing="unsloth" if settings.activation_checkpointing else False,
            use_exact_model_name=True,  # not one of Unsloth's own uploads of it
            trust_remote_code=False,
        )
        ensure_pad_token(tokenizer, model)
        if job.method.name == "full":
            return model
        return unsloth.FastLanguageModel.get_peft_model(
            model,
            random_state=job.seed,
            use_gradient_checkpointing="unsloth" if settings.activation_checkpointing else False,
            **{**LORA_PRESETS.get(job.method.name, {}), **options},
        )
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise ModelError(f"unsloth: {first_line(error)}", fix="choose backend: trl") from error
