"""Recipes that cannot work are refused before anything is trained, in a line each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import make_llama
from probe_subjects import SIZES, Rows, make_base, recipe, torn, unknown
from training_jobs import METHODS, examples

from harness.json_files import read_json, write_jsonl
from harness.modeling import memory
from harness.modeling.probes import gate
from harness.modeling.probes.bench import Recipe
from harness.records import Method, to_json


def faults(folder: Path, subject: Recipe, rows: Rows) -> list[str]:
    """What the gate says of one recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "train.jsonl", examples(rows))
    gate.run({"recipes": [to_json(subject)]}, {"data": folder}, folder, lambda done, total, note="": None)
    return [line for _, line in read_json(folder / gate.FAULTS)]


UNFIT = [
    (Method("lora", {"target_modules": ["nope"]}), {}, "linear layers of this model: down_proj, gate_proj"),
    (Method("freeze", {"last_layers": 3}), {}, "3 asked for, the model has 2 decoder layers"),
]


@pytest.mark.parametrize(("method", "training", "said"), UNFIT, ids=["targets", "layers"])
def test_the_gate_refuses_what_does_not_fit(
    tmp_path: Path, tiny_llama: Path, rows: Rows, method: Method, training: dict[str, Any], said: str
) -> None:
    (line,) = faults(tmp_path, recipe(tiny_llama, method, **training), rows)
    assert said in line


@pytest.mark.parametrize("name", METHODS)
def test_the_gate_lets_sound_recipes_pass(tmp_path: Path, tiny_llama: Path, rows: Rows, name: str) -> None:
    assert faults(tmp_path, recipe(tiny_llama, METHODS[name], packing=True), rows) == []


def test_the_gate_refuses_packing_with_the_figure(tmp_path: Path, rows: Rows) -> None:
    folder = make_base(tmp_path / "bloom", "bloom", n_layer=2, hidden_size=32, n_head=4)
    assert faults(tmp_path / "plain", recipe(folder, Method("full")), rows) == []
    (line,) = faults(tmp_path / "packed", recipe(folder, Method("full"), packing=True), rows)
    assert re.search(r"packing refused: bloom leaks .* differ by \d\.\de[-+]\d+ .*; set packing: false", line)


def test_the_gate_refuses_what_cannot_fit_unless_it_is_asked_for(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "available", lambda device: memory.OUTSIDE + 1_000_000)
    (line,) = faults(tmp_path, recipe(tiny_llama, METHODS["full"]), rows)
    assert "skip_memory_check: true" in line
    assert faults(tmp_path, recipe(tiny_llama, METHODS["full"], skip_memory_check=True), rows) == []


@pytest.mark.parametrize(("spoil", "said"), [(torn, "model.safetensors is torn"), (unknown, "nobody_knows")])
def test_the_gate_refuses_a_broken_model(
    tmp_path: Path, rows: Rows, spoil: Callable[[Path], None], said: str
) -> None:
    model = make_llama(tmp_path / "model")
    spoil(model)
    (line,) = faults(tmp_path / "out", recipe(model, METHODS["lora"]), rows)
    assert said in line


def test_the_gate_refuses_4_bit_on_a_model_that_cannot(tmp_path: Path, rows: Rows) -> None:
    """Mixtral's experts are one tensor, which bitsandbytes leaves whole."""
    experts = {"intermediate_size": 64, "num_local_experts": 8, "num_key_value_heads": 2}
    folder = make_base(tmp_path / "mixtral", "mixtral", **SIZES, **experts)
    subject = recipe(folder, METHODS["nf4"])
    (line,) = faults(tmp_path / "out", subject, rows)
    assert "bitsandbytes can quantise only" in line
    assert faults(tmp_path / "full", replace(subject, method=Method("full")), rows) == []


def test_recipes_of_one_shape_are_checked_once(
    tmp_path: Path, tiny_llama: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[Method] = []
    monkeypatch.setattr(gate, "check_method", lambda model, method: checked.append(method))
    points = [recipe(tiny_llama, METHODS["lora"], learning_rate=rate) for rate in (1e-4, 2e-4, 3e-4)]
    points.append(recipe(tiny_llama, METHODS["full"]))
    write_jsonl(tmp_path / "train.jsonl", examples(rows))
    recipes = {"recipes": [to_json(point) for point in points]}
    gate.run(recipes, {"data": tmp_path}, tmp_path, lambda done, total, note="": None)
    assert [method.name for method in checked] == ["lora", "full"]
