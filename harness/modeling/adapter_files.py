"""Adapters on disk, as peft writes and reads them.

PiSSA and OLoRA split the base's weights into an adapter and a residue. Doing that again at loading would
repeat a decomposition that rounds differently on other hardware, and need a changed base. So what is
written is the same model as a plain LoRA over the untouched base, as peft's documentation recommends:
W - s B0 A0 + s B A = W + s [B, -B0] [A; A0], at twice the rank.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from harness.modeling.loading import reserve_positions
from harness.modeling.training_settings import BASE_CHANGING


def remember_initial_adapter(model: Any) -> None:
    """Keep a copy of a fresh adapter that was taken out of the base; `save_adapter` needs it."""
    if changes_base(model):
        state = get_peft_model_state_dict(model, save_embedding_layers=False)
        model.initial_adapter = {n: t.detach().cpu().clone() for n, t in state.items() if ".lora_" in n}


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors, for the base as it was before training."""
    # The base is loaded and resized again in the same way, so its embeddings need no copy; "auto" would
    # ask the Hub for the base's config.
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's blank model card
    if changes_base(model):
        _as_plain_lora(folder, model.initial_adapter)


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter of `folder` on its base model, frozen."""
    with quiet_peft():
        adapted = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    reserve_positions(model.config, virtual_tokens(adapted))
    return adapted


def virtual_tokens(model: nn.Module) -> int:
    """How many trained embeddings stand before each row; 0 without prompt tuning."""
    if not isinstance(model, PeftModel) or not model.active_peft_config.is_prompt_learning:
        return 0
    return int(model.active_peft_config.num_virtual_tokens)


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Drop what peft warns of where nobody can do anything about it."""
    with warnings.catch_warnings():
        # peft 0.21 itself calls what transformers 5.23 has deprecated.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # Of its own conversion to plain LoRA, which is not the one below.
        warnings.filterwarnings("ignore", message="Using Rank-Stabilized LoRA with rank_pattern")
        # Of patterns that it has made up itself, for experts that are one tensor for all.
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys did not match")
        yield


def changes_base(model: nn.Module) -> bool:
    """Whether the adapter was taken out of the base's weights (PiSSA, OLoRA), which are changed by it."""
    if not isinstance(model, PeftModel):
        return False
    initialisation = getattr(model.active_peft_config, "init_lora_weights", None)
    return isinstance(initialisation, str) and initialisation.startswith(BASE_CHANGING)


def _as_plain_lora(folder: Path, initial: dict[str, torch.Tensor]) -> None:
    """Rewrite a saved adapter so that it no longer needs a changed base."""
    weights = load_file(folder / "adapter_model.safetensors")
    for name, trained in weights.items():
        if ".lora_A." in name:
            weights[name] = torch.cat([trained, initial[name].to(trained)], dim=0)
        elif ".lora_B." in name:
            weights[name] = torch.cat([trained, -initial[name].to(trained)], dim=1)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The scale is alpha / r, and under rsLoRA alpha / sqrt(r); it has to stay.
    factor = math.sqrt(2) if config["use_rslora"] else 2
    config |= {
        "init_lora_weights": True,
        "r": 2 * config["r"],
        "lora_alpha": factor * config["lora_alpha"],
        "rank_pattern": {key: 2 * rank for key, rank in config["rank_pattern"].items()},
        "alpha_pattern": {key: factor * alpha for key, alpha in config["alpha_pattern"].items()},
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")
