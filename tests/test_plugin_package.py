"""A stranger's backend: a package that is really installed, found by its entry point, to a board's row."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import artifacts, harness, results, write_suite
from safetensors.torch import load_file

Rows = list[dict[str, str]]
SUITE = """\
model: {model}
name: trial
data: {train: data.json, validation: null, eval: 4}
evaluators: [perplexity]
prompting: {max_length: 128}
generation: {max_new_tokens: 2}
candidates:
  norms:
    backend: {norms: {final_only: true}}
    method: norms
    training: {learning_rate: 1.0, num_train_epochs: 1}
"""


@pytest.fixture(scope="module")
def installed(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed in it, as pip does it without the network."""
    source = tmp_path_factory.mktemp("plugin") / "package"
    shutil.copytree(repo / "tests" / "plugin_package", source, ignore=shutil.ignore_patterns("__pycache__"))
    target = source.with_name("installed")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*pip, "--target", target, source], check=True, capture_output=True)
    return target


@pytest.mark.slow
def test_an_installed_backend_is_listed_with_where_it_comes_from(installed: Path, tmp_path: Path) -> None:
    said = harness("plugins", "backend", folder=tmp_path, env={"PYTHONPATH": str(installed)}).stdout
    assert "norms" in said
    assert "entry point of harness-norms" in said
    assert "train the last norm alone" in said


@pytest.mark.slow
def test_an_installed_backend_trains_to_a_row_of_the_board(
    installed: Path, tmp_path: Path, tiny_llama: Path, rows: Rows
) -> None:
    suite = write_suite(tmp_path, tiny_llama, rows, SUITE)
    run = harness("run", suite, folder=tmp_path, env={"PYTHONPATH": str(installed)})
    assert run.returncode == 0, run.stdout + run.stderr
    by_name = {row["name"]: row for row in results(tmp_path)["candidates"]}
    assert by_name.keys() == {"base", "norms"}
    assert by_name["norms"]["scores"] != by_name["base"]["scores"]
    assert changed_weights(tmp_path, tiny_llama) == {"model.norm.weight"}


def changed_weights(folder: Path, base: Path) -> set[str]:
    """The names of the weights in the store's one trained model that are not the base's."""
    models = [folder / ".harness" / "store" / key / "model" for key in artifacts(folder)]
    (trained,) = [model for model in models if model.is_dir()]
    before, after = (load_file(path / "model.safetensors") for path in (base, trained))
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.mark.slow
def test_without_the_package_the_backend_is_unknown(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    suite = write_suite(tmp_path, tiny_llama, rows, SUITE)
    plan = harness("plan", suite, folder=tmp_path)
    assert plan.returncode == 2
    assert "unknown backend 'norms'" in plan.stderr
