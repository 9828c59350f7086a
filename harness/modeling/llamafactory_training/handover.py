"""What the command is handed: rows with their labels in order, an adapter ready to train, a base, a config.

base/         the base as the method trains it, where the model's own folder is not that already
adapter/      the adapter that our own seed drew, or took out of the base
data/         tokenised rows, one after the other as the steps take them
config.yaml
"""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import datasets
import torch

from harness.errors import ModelError
from harness.json_files import read_json, write_json
from harness.modeling.artifacts import load_base
from harness.modeling.batching import IGNORED, labels
from harness.modeling.devices import dtype_name
from harness.modeling.llamafactory_training.arguments import method_arguments, training_arguments
from harness.modeling.llamafactory_training.steps import Steps
from harness.modeling.loading import added_tokens, load_config, load_tokenizer
from harness.modeling.methods import quantization
from harness.modeling.supervision import Encoded
from harness.modeling.training.setup import TrainingSetup
from harness.modeling.training_settings import ADAPTERS, TrainingSettings
from harness.protocols import TrainJob
from harness.records import Method


def hand_over(
    job: TrainJob,
    settings: TrainingSettings,
    setup: TrainingSetup,
    steps: Steps,
    folder: Path,
    *,
    checkpoint_interval: int,
) -> Path:
    """Write all of it into `folder`; the config's path. `setup.model` is of no use any more afterwards.

    Raises ModelError where LLaMA-Factory would train something else than the recipe says.
    """
    _require_token_mean(setup.model, settings)
    arguments = training_arguments(
        settings, setup, steps, checkpoint_interval=checkpoint_interval, seed=job.seed
    )
    arguments |= method_arguments(job, setup)
    folder.mkdir(parents=True, exist_ok=True)
    if job.method.name in ADAPTERS:
        _write_adapter(setup.model, folder / "adapter")
        arguments["adapter_name_or_path"] = str(folder / "adapter")
    arguments |= _base(job, setup, folder / "base")
    _write_rows(steps, settings.effective_batch_size, folder / "data")
    arguments |= {"tokenized_path": str(folder / "data"), "output_dir": str(folder / "out")}
    arguments["cutoff_len"] = max(steps.rows.lengths)
    config = folder / "config.yaml"
    write_json(config, arguments)  # JSON is YAML
    return config


def _require_token_mean(model: Any, settings: TrainingSettings) -> None:
    """ModelError where transformers' Trainer would average micro batches instead of tokens."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    parameters = inspect.signature(base.forward).parameters.values()
    if settings.gradient_accumulation_steps > 1 and all(p.kind is not p.VAR_KEYWORD for p in parameters):
        what = "llamafactory averages micro batches, not tokens, for this architecture"
        raise ModelError(what, fix="set gradient_accumulation_steps: 1")


def _write_rows(steps: Steps, batch: int, folder: Path) -> None:
    """A step with fewer rows than the others is filled with rows without a target: they change nothing."""
    rows = [_row(row) for row in steps.rows.encoded]
    rows.append({"input_ids": [rows[0]["input_ids"][0]], "attention_mask": [1], "labels": [IGNORED]})
    filler = len(rows) - 1
    order = [i for window in steps.windows for i in [*window.tolist(), *[filler] * (batch - len(window))]]
    shutil.rmtree(folder, ignore_errors=True)
    ordered = datasets.Dataset.from_list(rows).select(order)
    datasets.DatasetDict({"train": ordered}).save_to_disk(folder)


def _row(row: Encoded) -> dict[str, list[int]]:
    mask = [1] * len(row.input_ids)
    return {"input_ids": row.input_ids, "attention_mask": mask, "labels": labels(row)}


def _write_adapter(model: Any, folder: Path) -> None:
    """The adapter as it is before training, for the peft of LLaMA-Factory's environment."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    path = folder / "adapter_config.json"
    config = {key: value for key, value in read_json(path).items() if value is not None}
    if _took_from_base(model):
        config["init_lora_weights"] = True  # done already: `base/` is what the adapter left of the base
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _took_from_base(model: Any) -> bool:
    """Whether the adapter's first weights were taken out of the base's (PiSSA, OLoRA)."""
    return getattr(model, "initial_adapter", None) is not None


def _base(job: TrainJob, setup: TrainingSetup, folder: Path) -> dict[str, Any]:
    """Where the command finds the base: its own place, or a copy if it is not trained as it lies there."""
    if not _needs_copy(job, setup):
        revision = {"model_revision": job.model.revision} if job.model.revision else {}
        return {"model_name_or_path": job.model.name_or_path, **revision}
    if quantization(job.method):  # it quantises by itself
        model: Any = load_base(
            job.model,
            load_tokenizer(job.model),
            Method("full"),
            device=torch.device("cpu"),
            dtype=setup.compute_dtype,
        )
    else:
        model = setup.model.unload() if job.method.name in ADAPTERS else setup.model
    model.save_pretrained(folder)
    setup.tokenizer.save_pretrained(folder)
    return {"model_name_or_path": str(folder)}


def _needs_copy(job: TrainJob, setup: TrainingSetup) -> bool:
    if load_tokenizer(job.model).pad_token_id is None or added_tokens(setup.model):
        return True  # rows have ids that the base as it lies there has no embeddings for
    if job.method.name == "full":  # its weights are cast to float32 there as here
        return False
    if _took_from_base(setup.model):
        return True
    trained_in = setup.compute_dtype if job.method.name in ADAPTERS else torch.float32
    stored_in = getattr(load_config(job.model), "dtype", None)
    return stored_in is None or dtype_name(stored_in) != dtype_name(trained_in)
