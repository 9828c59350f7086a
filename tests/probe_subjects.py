"""What the tests of probes and gate work on: random bases of any architecture, broken ones, recipes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from conftest import make_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from harness.modeling.probes.bench import Recipe
from harness.modeling.training_settings import KEYS
from harness.records import (
    Method,
    ModelRef,
    Prompting,
)
from harness.suite.settings import Training

Rows = list[dict[str, str]]
PROMPTING = Prompting(max_length=128)
SIZES = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}


def make_base(folder: Path, kind: str, **config: Any) -> Path:
    """A random base of any architecture, sharpened so that its answers differ."""
    tokenizer = make_tokenizer(folder)
    ids = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(kind, **config, vocab_size=len(tokenizer), **ids)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    model.save_pretrained(folder)
    return folder


def recipe(model: Path, method: Method, **training: Any) -> Recipe:
    """A candidate with the defaults of a suite."""
    settings = {key: value for key, value in Training().model_dump().items() if key in KEYS}
    return Recipe(
        name="candidate",
        backend="torch",
        model=ModelRef(str(model)),
        method=method,
        training={**settings, "learning_rate": 1e-3, **training},
        generation={},
        prompting=PROMPTING,
        seed=0,
    )


def torn(folder: Path) -> None:
    """Cut the weights' file short."""
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def unknown(folder: Path) -> None:
    """Say that the model is of a kind that there is not."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nobody_knows"}))
