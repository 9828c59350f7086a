"""The suite's training settings as TRL's SFTConfig.

TRL's own defaults (bf16, gradient checkpointing, packing, a seed of 42) count for nothing: everything that
shapes the weights is set here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig

from harness.modeling.trainer_settings import SAME_NAME_AND_MEANING
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training_settings import TrainingSettings
from harness.modeling.trl_settings import PACKING_KEYS
from harness.modeling.trl_training.rows import PACKING_STRATEGY

_FILLED_IN = dict.fromkeys(
    ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"), "auto"
)
"""Keys of DeepSpeed's configuration that transformers takes from the suite's."""


def sft_config(
    settings: TrainingSettings,
    training: Mapping[str, Any],
    setup: TrainingSetup,
    *,
    total_steps: int,
    steps_per_epoch: int,
    seed: int,
    output: Path,
) -> SFTConfig:
    """The config of a training of `total_steps`; `training` holds the keys of packing as well."""
    packing = {key: training[key] for key in PACKING_KEYS}
    deepspeed = training.get("deepspeed")
    config = SFTConfig(
        output_dir=str(output),
        seed=seed,
        max_steps=total_steps,
        warmup_steps=settings.warmup_length(total_steps, steps_per_epoch),
        # Told to use the CPU, accelerate would leave DeepSpeed out.
        use_cpu=setup.device.type == "cpu" and not deepspeed,
        deepspeed={**_FILLED_IN, **deepspeed} if deepspeed else None,
        bf16=setup.compute_dtype == torch.bfloat16 and not deepspeed,
        fp16=setup.compute_dtype == torch.float16,
        # Already switched on where asked for; a second time would add hooks for reentrant checkpointing.
        activation_checkpointing=False,
        # Rows come tokenised, labelled, cut to length and packed.
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        router_aux_loss_coef=0.0,  # the loss is that of the tokens alone, as in the torch loop
        dataloader_pin_memory=setup.device.type == "cuda",
        # Every step is reported, so that a loss that is no number stops the training at its own step.
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        # When to validate and to write a checkpoint is decided by the trainer below, as in the torch loop.
        eval_strategy="no",
        save_strategy="no",
        packing_strategy=PACKING_STRATEGY,
        dataloader_drop_last=settings.dataloader_drop_last,
        **packing,
        **{name: getattr(settings, name) for name in SAME_NAME_AND_MEANING},
    )
    if deepspeed and setup.compute_dtype == torch.bfloat16:
        # What `bf16` comes to, which is refused on a CPU unless that is asked for, as it cannot be here.
        config.mixed_precision = "bf16"
    return config
