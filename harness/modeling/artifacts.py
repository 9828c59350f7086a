"""Trained models on disk: saved after training, loaded again in a fresh process with the same logits.

model/method.json                     the method and the seed it was prepared with
model/{tokenizer,chat_template,...}   a pad token that was added stays
model/model.safetensors, config.json  full and freeze: a model like any other
model/adapter_*.{safetensors,json}    an adapter, as peft writes it
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.json_files import read_json, write_json
from harness.modeling.adapter_files import load_adapter, save_adapter
from harness.modeling.adapters import prepare_quantized
from harness.modeling.devices import compute_dtype
from harness.modeling.loading import ensure_pad_token, load_config, load_model, load_tokenizer
from harness.modeling.methods import quantization, require_base
from harness.modeling.training_settings import ADAPTERS
from harness.records import Method, ModelRef, from_json


def save(model: Any, tokenizer: PreTrainedTokenizerBase, method: Method, seed: int, folder: Path) -> None:
    """Write a trained model into `folder`, whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if method.name in ADAPTERS:
        save_adapter(model, partial)
    else:
        model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    write_json(partial / "method.json", {"method": method, "seed": seed})
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def load_trained(
    base: ModelRef, folder: Path, device: torch.device
) -> tuple[nn.Module, PreTrainedTokenizerBase]:
    """The model that `save` wrote, in evaluation mode, and its tokenizer.

    Weights have the dtype that the base is scored in too, so that the two differ by training alone; a
    base that was quantised in training is quantised here.
    """
    saved = read_json(folder / "method.json")
    method = from_json(Method, saved["method"])
    dtype = compute_dtype(device)
    if method.name not in ADAPTERS:
        here = ModelRef(str(folder))
        return load_model(here, device=device, dtype=dtype), load_tokenizer(here)
    model = load_base(base, load_tokenizer(base), method, device=device, dtype=dtype)
    if method.name == "qlora":
        model = prepare_quantized(model)
    return load_adapter(model, folder).eval(), load_tokenizer(ModelRef(str(folder)))


def load_base(
    base: ModelRef,
    tokenizer: PreTrainedTokenizerBase,
    method: Method,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> PreTrainedModel:
    """The base as the method trains it: quantised where it says so, with a pad token of its own."""
    require_base(load_config(base), method)
    model = load_model(base, device=device, dtype=dtype, quantization=quantization(method))
    ensure_pad_token(tokenizer, model)
    return model
