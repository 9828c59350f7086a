"""Each probe of a recipe passes on what is sound and fails on what was broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import make_llama
from probe_subjects import Rows, recipe, torn, unknown
from training_jobs import EVERY_METHOD, LORA, METHODS, examples

from harness.json_files import read_jsonl, write_jsonl
from harness.modeling import memory
from harness.modeling.probes import checking, methods
from harness.modeling.probes.bench import Recipe
from harness.modeling.probes.memory import probe_memory
from harness.modeling.probes.methods import RecipeBench
from harness.modeling.probes.results import (
    BASE_PROBES,
    RECIPE_PROBES,
    ProbeResult,
)
from harness.modeling.training_settings import ADAPTERS
from harness.records import Method, to_json


@pytest.fixture(scope="module")
def untied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("untied"), tied=False)


def on(probe: str, subject: Recipe, rows: Rows, folder: Path) -> ProbeResult:
    """One probe of a recipe, those that it builds on done before."""
    torch.set_num_threads(1)
    made = RecipeBench(subject, examples(rows)[:4], folder)
    return checking.attempt(probe, lambda: dict(methods.PROBES)[probe](made))


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "recomputed"])
@pytest.mark.parametrize("name", EVERY_METHOD)
def test_a_sound_recipe_passes(
    tmp_path: Path, untied: Path, rows: Rows, name: str, checkpointing: bool
) -> None:
    torch.set_num_threads(1)
    method = EVERY_METHOD[name]
    subject = recipe(untied, method, activation_checkpointing=checkpointing)
    made = RecipeBench(subject, examples(rows)[:4], tmp_path)
    found = {probe: run(made) for probe, run in methods.PROBES}
    adapter = method.name in ADAPTERS
    assert {probe: result.status for probe, result in found.items()} == {
        "method": "pass",
        "start": "pass" if adapter and name != "prompt_tuning" else "skipped",
        "dtypes": "pass",
        "seed": "pass" if adapter else "skipped",
        "gradient_flow": "pass",
        "save_load": "pass",
        "merge": "pass" if method.name == "qlora" else "skipped",
    }


BROKEN_RECIPES = [
    ("method", Method("lora", {"target_modules": ["query_key_value"]}), {}, "gate_proj, k_proj, lm_head"),
    ("method", Method("freeze", {"last_layers": 9}), {}, "0 to 2"),
    ("start", Method("lora", {**LORA, "init_lora_weights": False}), {}, "init_lora_weights: true"),
    ("gradient_flow", Method("full"), {"learning_rate": 1e-14}, "learning_rate"),
]


@pytest.mark.parametrize(
    ("probe", "method", "training", "fix"), BROKEN_RECIPES, ids=["targets", "layers", "start", "rate"]
)
def test_a_broken_recipe_fails(
    tmp_path: Path,
    tiny_llama: Path,
    rows: Rows,
    probe: str,
    method: Method,
    training: dict[str, Any],
    fix: str,
) -> None:
    result = on(probe, recipe(tiny_llama, method, **training), rows, tmp_path)
    assert result.status == "fail"
    assert fix in result.fix


def test_a_frozen_tensor_that_moves_and_a_trained_one_that_does_not_are_named(
    tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    made = RecipeBench(recipe(tiny_llama, METHODS["lora"]), examples(rows)[:4], tmp_path)
    name, parameter = next((n, p) for n, p in made.setup.model.named_parameters() if "lora_B" in n)
    parameter.register_hook(torch.zeros_like)
    result = made.probe_gradient_flow()
    assert (result.status, name.partition("lora_B")[0] in result.fix) == ("fail", True)

    frozen = RecipeBench(recipe(tiny_llama, METHODS["lora"]), examples(rows)[:4], tmp_path)
    train = frozen._train

    def train_and_touch() -> None:
        train()
        with torch.no_grad():
            frozen.setup.model.get_input_embeddings().weight[0, 0] += 1

    frozen._train = train_and_touch  # type: ignore[method-assign]
    result = frozen.probe_gradient_flow()
    assert (result.status, "embed_tokens" in result.fix) == ("fail", True)


def test_an_adapter_drawn_before_the_seed_fails(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.modeling.methods.seed_everything", lambda seed: None)
    assert on("seed", recipe(tiny_llama, METHODS["lora"]), rows, tmp_path).status == "fail"


def test_weights_that_are_not_saved_fail(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = RecipeBench(recipe(tiny_llama, METHODS["lora"]), examples(rows)[:4], tmp_path)
    made.probe_gradient_flow()
    load = methods.artifacts.load_trained

    def load_without_adapter(*arguments: Any) -> Any:
        model, tokenizer = load(*arguments)
        return model.unload(), tokenizer

    monkeypatch.setattr(methods.artifacts, "load_trained", load_without_adapter)
    assert made.probe_save_load().status == "fail"


def test_16_bit_masters_fail(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    made = RecipeBench(recipe(tiny_llama, METHODS["full"]), examples(rows)[:4], tmp_path)
    assert made.probe_dtypes().status == "pass"
    made.setup.model.half()
    result = made.probe_dtypes()
    assert (result.status, "float16 trained" in result.figure) == ("fail", True)


def test_what_cannot_fit_fails_unless_it_is_asked_for(
    tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = recipe(tiny_llama, METHODS["full"])
    assert probe_memory(subject, examples(rows)).status == "pass"
    monkeypatch.setattr(memory, "available", lambda device: memory.OUTSIDE + 1_000_000)
    result = checking.attempt("memory", lambda: probe_memory(subject, examples(rows)))
    assert result.status == "fail"
    assert "per_device_train_batch_size: 1" in result.fix
    bold = recipe(tiny_llama, METHODS["full"], skip_memory_check=True)
    assert probe_memory(bold, examples(rows)).status == "pass"


def run_all(folder: Path, subject: Recipe, rows: Rows, *, packing: bool = False) -> dict[str, ProbeResult]:
    """All probes as a worker does them."""
    (folder / "data").mkdir(parents=True)
    write_jsonl(folder / "data" / "train.jsonl", examples(rows))
    params = {
        "bases": [
            {"name": "base", "model": to_json(subject.model), "packing": packing, "quantization": None}
        ],
        "recipes": [to_json(subject)],
        "judges": [],
        "prompting": to_json(subject.prompting),
        "only": [*BASE_PROBES, *RECIPE_PROBES],
    }
    checking.run(params, {"data": folder / "data"}, folder, lambda done, total, note="": None)
    return {result.name: result for result in read_jsonl(folder / checking.RESULTS, ProbeResult)}


def test_every_probe_reports_under_its_name(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    found = run_all(tmp_path, recipe(tiny_llama, METHODS["nf4"]), rows)
    assert set(found) == {*BASE_PROBES, *RECIPE_PROBES}
    assert {result.status for result in found.values()} == {"pass", "skipped"}


@pytest.mark.parametrize("spoil", [torn, unknown])
def test_a_broken_model_is_a_failure_and_no_crash(
    tmp_path: Path, rows: Rows, spoil: Callable[[Path], None]
) -> None:
    model = make_llama(tmp_path / "model")
    spoil(model)
    found = run_all(tmp_path / "out", recipe(model, METHODS["lora"]), rows)
    assert found["load"].status == found["method"].status == "fail"
    assert {name for name, result in found.items() if result.status == "pass"} <= {"memory"}
