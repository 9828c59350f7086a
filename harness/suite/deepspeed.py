"""`training.deepspeed`: the part of DeepSpeed's configuration that nothing else in a suite decides.

Keys are verbatim DeepSpeed's; as in settings.py the tables are our own, and a test compares them with the
installed classes. Left out is what changes the result (quantised weights and gradients), what one machine has
no use for, and NVMe.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator

from harness.modeling.trl_settings import INSTALL_DEEPSPEED
from harness.records import Method
from harness.suite.sections import Reader, Written
from harness.suite.settings import Count, Section
from harness.validation import KeyPath, shown

METHODS = ("full", "freeze", "lora", "rslora")
"""What is trained under ZeRO here: quantised weights cannot be divided, and other adapters were not tried."""
OPTIMIZERS = ("adamw_torch", "adamw_torch_fused")
"""ZeRO lays all weights end to end, which Adafactor and 8-bit moments cannot; its offload has AdamW alone."""
_STAGE_3 = "stage3_"
_MICRO_BATCH = "write training.per_device_train_batch_size and training.gradient_accumulation_steps"
_PRECISION = "write training.bf16"
_SAVED_WHOLE = "leave it out, whole float32 weights are saved"


def _count_or_auto(value: Any) -> int | str:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value  # type: ignore[no-any-return]
    raise ValueError(f"expected a whole number or 'auto', got {shown(value)}")


CountOrAuto = Annotated[int | str, PlainValidator(_count_or_auto)]


class DeepSpeedKeys(Section):
    """DeepSpeed's configuration; `zero_optimization` is required."""

    zero_optimization: Any = None
    zero_force_ds_cpu_optimizer: bool = True

    renamed: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("train_batch_size", "train_micro_batch_size_per_gpu"), _MICRO_BATCH),
        "gradient_accumulation_steps": "write training.gradient_accumulation_steps",
        "gradient_clipping": "write training.max_grad_norm",
        "optimizer": "write training.optim, training.learning_rate and training.weight_decay",
        "scheduler": "write training.lr_scheduler_type and training.warmup_steps",
        **dict.fromkeys(("bf16", "fp16", "amp", "torch_autocast"), _PRECISION),
        "activation_checkpointing": "write training.activation_checkpointing",
        "steps_per_print": "write training.logging_steps",
        **dict.fromkeys(("tensorboard", "wandb", "csv_monitor", "comet"), "write training.report_to"),
    }


class OffloadKeys(Section):
    """Where optimizer or parameters are kept; `device` is required."""

    device: Literal["cpu", "none"] | None = None
    pin_memory: bool = True


class ZeroKeys(Section):
    """DeepSpeed's `zero_optimization`; `stage` is required."""

    stage: Literal[1, 2, 3] | None = None
    offload_optimizer: Any = None
    offload_param: Any = None
    overlap_comm: bool | None = None
    contiguous_gradients: bool = True
    reduce_scatter: bool = True
    reduce_bucket_size: CountOrAuto = 500_000_000
    allgather_partitions: bool = True
    allgather_bucket_size: Count = 500_000_000
    round_robin_gradients: bool = False
    sub_group_size: Annotated[int, Field(ge=0)] = 1_000_000_000
    stage3_prefetch_bucket_size: CountOrAuto = 50_000_000
    stage3_param_persistence_threshold: CountOrAuto = 100_000
    stage3_max_live_parameters: Annotated[int, Field(ge=0)] = 1_000_000_000
    stage3_max_reuse_distance: Annotated[int, Field(ge=0)] = 1_000_000_000

    renamed: ClassVar[Mapping[str, str]] = {
        "cpu_offload": "write offload_optimizer: {device: cpu}",
        "cpu_offload_params": "write offload_param: {device: cpu}",
        "stage3_gather_16bit_weights_on_model_save": _SAVED_WHOLE,
        "stage3_gather_fp16_weights_on_model_save": _SAVED_WHOLE,
    }


def check_deepspeed(
    reader: Reader, places: Mapping[str, KeyPath], training: Mapping[str, Any], method: Method | None
) -> None:
    """Note every fault of `training["deepspeed"]`; `places` says where a key was written, if it was."""
    written = Written(training.get("deepspeed"), places.get("deepspeed", ()))
    if written.value is None:
        return
    if find_spec("deepspeed") is None:
        reader.fault(written.path, "deepspeed is not installed", INSTALL_DEEPSPEED)
    keys = reader.section(DeepSpeedKeys, written)
    _check_zero(reader, Written(keys.zero_optimization, written.at("zero_optimization")), written.path)
    if training["optim"] not in OPTIMIZERS:
        what = f"cannot be combined with optim: {training['optim']}"
        reader.fault(written.path, what, f"choose {' or '.join(OPTIMIZERS)}")
    if training["fp16"]:
        reader.fault(written.path, "cannot be combined with fp16", "set bf16: true")
    if method is not None and method.name not in METHODS:
        reader.fault(
            written.path, f"cannot be combined with method {method.name}", f"choose {', '.join(METHODS)}"
        )


def _check_zero(reader: Reader, written: Written, outside: KeyPath) -> None:
    if written.value is None:
        reader.fault(outside, "lacks zero_optimization", "write zero_optimization: {stage: 2}")
        return
    zero = reader.section(ZeroKeys, written)
    if "stage" not in reader.mapping(written):
        reader.fault(written.path, "lacks stage", "write stage: 1, 2 or 3")
    for key in ("offload_optimizer", "offload_param"):
        offload = Written(getattr(zero, key), written.at(key))
        if offload.value is not None and "device" not in reader.mapping(offload):
            reader.fault(offload.path, "lacks device", "write device: cpu")
        reader.section(OffloadKeys, offload)
    if zero.stage in (1, 2):
        for key in sorted(zero.model_fields_set):
            if key.startswith(_STAGE_3) or key == "offload_param":
                reader.fault(written.at(key), "would not be read", "set stage: 3")
