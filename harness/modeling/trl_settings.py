"""The keys under `training:` that the trl and unsloth backends honour. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from harness.errors import PluginError
from harness.modeling.trainer_settings import settings_with
from harness.modeling.training_settings import KEYS as TORCH_KEYS
from harness.modeling.training_settings import TrainingSettings

NOT_HONOURED: Mapping[str, Any] = {"optim_args": None, "token_mask_probability": 0.0, "padding_quantile": 1.0}
"""Keys of the torch loop that Trainer has nothing for, each with the value that means off.

Trainer takes `optim_args`, but hands them to none of the optimizers that the suite gives them to.
"""
PACKING_KEYS = frozenset({"packing", "padding_free"})
"""Keys of SFTConfig, with its meaning: rows are packed by TRL and not by the torch loop."""
KEYS = (TORCH_KEYS - NOT_HONOURED.keys()) | PACKING_KEYS | {"deepspeed"}
INSTALL_DEEPSPEED = "pip install 'sft-harness[deepspeed]'"


def require_trl() -> None:
    """Raise PluginError where TRL is not installed."""
    if find_spec("trl") is None:
        raise PluginError("trl is not installed", fix="pip install 'sft-harness[trl]'")


def torch_settings(training: Mapping[str, Any]) -> TrainingSettings:
    """What the parts shared with the torch loop are told: the same settings, nothing packed by them."""
    return settings_with(training, {**NOT_HONOURED, **dict.fromkeys(PACKING_KEYS, False)})
