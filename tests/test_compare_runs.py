"""`harness compare` over runs that were made by `harness run`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import counting, harness, write_suite
from compared_runs import row, rows

from harness.stats.multiplicity import NO_DIFFERENCE

pytest_plugins = ["compared_fixtures"]

SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 4, eval: 30}
prompting: {max_length: 96}
training: {num_train_epochs: 6, per_device_train_batch_size: 4, learning_rate: 1e-2}
generation: {max_new_tokens: 16}
evaluators: [perplexity, token_accuracy, chrf]
judges: [reference]
candidates:
  lora: {method: {lora: {r: 4}}}
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A folder in which one suite was run with seed 0 and with seed 1."""
    folder = tmp_path_factory.mktemp("runs")
    write_suite(folder, tiny_llama, counting(90), SUITE)
    for seed in (0, 1):
        seeds = ("--set", f"seeds=[{seed}]", "--reports", str(seed))
        said = harness("run", "suite.yaml", *seeds, folder=folder)
        assert said.returncode == 0, said.stderr
    return folder


@pytest.mark.slow
class TestRealRuns:
    """Two trainings of one recipe, by the command."""

    def test_a_run_with_itself(self, reports: Path) -> None:
        said = harness("compare", "0/trial", "0/trial", "--fail-if", "any worse", folder=reports)
        assert said.returncode == 0, said.stderr
        assert "Nothing differs" in said.stdout

    def test_two_seeds(self, reports: Path) -> None:
        gates = ("--fail-if", "any worse", "--fail-if", "reference < -2pt")
        said = harness("compare", "0/trial", "1/trial", *gates, "--json", folder=reports)
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        assert {row["verdict"] for row in rows(found)} == {NO_DIFFERENCE}
        assert row(found, "perplexity", "lora")["value"] != 0
        assert [entry["only_seeds_differ"] for entry in found["candidates"]] == [True, True]

    def test_base_against_a_tuned_candidate(self, reports: Path) -> None:
        sides = ("0/trial:lora", "1/trial:base")
        said = harness("compare", *sides, "--fail-if", "perplexity worse", folder=reports)
        assert said.returncode == 3, said.stderr
        assert "gate tripped: perplexity worse: lora → base +" in said.stderr
        back = harness("compare", *sides[::-1], "--fail-if", "perplexity worse", folder=reports)
        assert back.returncode == 0, back.stderr
