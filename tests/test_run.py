"""The whole way, by the command: run, run again, change something, break something, kill it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from commands import artifacts, counting, harness, results, start, untimed, write_suite

SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 2, eval: 6}
prompting: {max_length: 96}
training: {num_train_epochs: 2, per_device_train_batch_size: 4, validation_samples: 1}
generation: {max_new_tokens: 8}
evaluators: [perplexity, token_accuracy]
candidates:
  full: {training: {learning_rate: 1e-3}}
  lora: {method: {lora: {r: 4}}, training: {learning_rate: 1e-2}}
"""
SLOW_JUDGE = '''\
"""A judge that prefers the longer answer and takes its time."""

import time
from dataclasses import dataclass

from harness import Question, Verdict


@dataclass(frozen=True)
class Slow:
    """The longer answer wins."""

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        time.sleep(0.2)
        if len(first) == len(second):
            return Verdict("tie")
        return Verdict("first" if len(first) > len(second) else "second")
'''


@pytest.fixture(scope="module")
def rows_of_module() -> list[dict[str, str]]:
    return counting(30)


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path, rows_of_module: list[dict[str, str]]
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder in which the suite was run once, undisturbed, and what the command said."""
    folder = tmp_path_factory.mktemp("finished")
    write_suite(folder, tiny_llama, rows_of_module, SUITE)
    return folder, harness("run", "suite.yaml", folder=folder)


@pytest.fixture
def copied(finished: tuple[Path, Any], tmp_path: Path) -> Path:
    """A copy of the finished folder, for a test that changes something in it."""
    folder = tmp_path / "copy"
    subprocess.run(["cp", "-a", finished[0], folder], check=True)
    return folder


def names(done: dict[str, Any]) -> list[str]:
    return [candidate["name"] for candidate in done["candidates"]]


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "suite.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_run_ends_with_the_board_and_the_page(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, said = finished
    assert said.returncode == 0, said.stderr
    page = folder / "reports" / "trial" / "index.html"
    assert said.stdout.rstrip().endswith(str(page))
    assert page.read_text().startswith("<!doctype html>")
    assert names(results(folder))[0] == "base"
    assert set(names(results(folder))) == {"base", "full", "lora"}
    for name in ("base", "full", "lora"):
        assert name in said.stdout


def test_every_candidate_is_scored_on_the_same_rows(finished: tuple[Path, Any]) -> None:
    done = results(finished[0])
    for candidate in done["candidates"]:
        assert candidate["status"] == "ok"
        assert {metric: score["n"] for metric, score in candidate["scores"].items()} == {
            "perplexity": 6,
            "token_accuracy": 6,
        }


def test_a_second_run_does_nothing_and_imports_nothing_heavy(finished: tuple[Path, Any]) -> None:
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    again = harness("run", "suite.yaml", folder=folder, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert again.returncode == 0
    assert "everything was already done" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
    imported = {line.rsplit("|", 1)[1].strip() for line in again.stderr.splitlines() if line.count("|") == 2}
    assert "harness.plan" in imported
    assert imported.isdisjoint({"torch", "transformers", "peft", "datasets", "evaluate", "pandas", "openai"})


def test_changing_one_candidate_retrains_only_that_one(copied: Path) -> None:
    before = artifacts(copied)
    edit(copied, "lora: {r: 4}", "lora: {r: 2}")
    assert harness("run", "suite.yaml", folder=copied).returncode == 0
    made = sorted(key.split("-")[0] for key in artifacts(copied) - before)
    assert made == ["evaluate", "evaluate", "judge", "predict", "rank", "train"]


def test_adding_an_evaluator_trains_and_generates_nothing(copied: Path) -> None:
    before = artifacts(copied)
    edit(copied, "[perplexity, token_accuracy]", "[perplexity, token_accuracy, chrf]")
    assert harness("run", "suite.yaml", folder=copied).returncode == 0
    made = sorted(key.split("-")[0] for key in artifacts(copied) - before)
    assert made == ["evaluate", "evaluate", "evaluate", "rank"]


def test_adding_a_judge_trains_and_generates_nothing(copied: Path) -> None:
    before = artifacts(copied)
    (copied / "judges").mkdir()
    (copied / "judges" / "slow.py").write_text(SLOW_JUDGE)
    edit(copied, "candidates:", "judges: [reference, slow]\ncandidates:")
    assert harness("run", "suite.yaml", folder=copied).returncode == 0
    made = sorted(key.split("-")[0] for key in artifacts(copied) - before)
    assert made == ["judge", "judge", "rank"]
    lora = next(c for c in results(copied)["candidates"] if c["name"] == "lora")
    assert lora["win_rates"]["slow"]["n"] == 6


def test_what_cannot_change_a_result_changes_nothing(copied: Path) -> None:
    before = artifacts(copied)
    edit(
        copied, "validation_samples: 1", "validation_samples: 1, per_device_eval_batch_size: 3, save_steps: 1"
    )
    assert harness("run", "suite.yaml", folder=copied).returncode == 0
    made = {key.split("-")[0] for key in artifacts(copied) - before}
    assert made <= {"rank"}  # the page shows the suite as written


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        ("{training: {learning_rate: 1e30}}", "nan"),
        ("{training: {dataloader_drop_last: true, per_device_train_batch_size: 512}}", "make no step"),
    ],
)
def test_a_candidate_that_fails_is_a_red_row_and_the_others_finish(
    copied: Path, candidate: str, reason: str
) -> None:
    edit(copied, "  lora:", f"  broken: {candidate}\n  lora:")
    said = harness("run", "suite.yaml", folder=copied)
    assert said.returncode == 1, said.stderr
    done = {c["name"]: c for c in results(copied)["candidates"]}
    assert list(done)[-1] == "broken"
    assert done["broken"]["status"] == "failed"
    assert done["broken"]["failure"]["stage"] == "train"
    assert reason in done["broken"]["failure"]["message"].lower()
    assert [done[name]["status"] for name in ("base", "full", "lora")] == ["ok"] * 3
    assert (copied / "reports" / "trial" / "index.html").is_file()


def test_recipes_that_cannot_work_are_refused_before_any_training(copied: Path) -> None:
    """All faults of all candidates, a line each; what is trained already needs no check."""
    before = artifacts(copied)
    unfit = (
        "  targets: {method: {lora: {target_modules: [query_key_value]}}}\n"
        "  layers: {method: {freeze: {last_layers: 9}}}\n"
        "  lora:"
    )
    edit(copied, "  lora:", unfit)
    said = harness("run", "suite.yaml", folder=copied)
    assert (said.returncode, said.stdout) == (2, "")
    complaints = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert len(complaints) == 2
    assert complaints[0].startswith("error: suite.yaml: candidates.targets: lora: ")
    assert "query_key_value" in complaints[0]
    assert complaints[0].endswith("down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj")
    assert complaints[1].startswith("error: suite.yaml: candidates.layers: freeze.last_layers: 9 asked for")
    assert artifacts(copied) == before


MANY_STEPS = SUITE.replace(
    "num_train_epochs: 2",
    "num_train_epochs: 30, save_steps: 5, eval_strategy: 'no', per_device_eval_batch_size: 1",
).replace("candidates:", "judges: [slow]\ncandidates:")


def killable(folder: Path, model: Path, rows: list[dict[str, str]]) -> None:
    write_suite(folder, model, rows, MANY_STEPS)
    (folder / "judges").mkdir()
    (folder / "judges" / "slow.py").write_text(SLOW_JUDGE)


def wait_until(condition: Any, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_partial(folder: Path, pattern: str) -> bool:
    """Whether something is there that a stage leaves in its folder when it has done a part of its work."""
    found = list(folder.glob(f".harness/store/{pattern}"))
    return any(path.is_dir() or path.stat().st_size for path in found)


@pytest.mark.slow
def test_kill_9_in_every_stage_and_the_results_are_those_of_an_undisturbed_run(
    tmp_path: Path, tiny_llama: Path, rows_of_module: list[dict[str, str]]
) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for folder in (calm, killed):
        killable(folder, tiny_llama, rows_of_module)
    assert harness("run", "suite.yaml", folder=calm).returncode == 0
    for stage, evidence in [
        ("training", "train-*.partial/checkpoint*"),
        ("predicting", "predict-*.partial/batches.jsonl"),
        ("judging", "judge-*.partial/progress.json"),
    ]:
        process = start("run", "suite.yaml", folder=killed)
        wait_until(lambda evidence=evidence: has_partial(killed, evidence), process)
        process.kill()
        process.wait()
        assert not (killed / "reports").exists(), f"too late to kill in the middle of {stage}"
    said = harness("run", "suite.yaml", folder=killed)
    assert said.returncode == 0, said.stderr
    assert untimed(results(killed)) == untimed(results(calm))
    assert weights(killed) == weights(calm)


def weights(folder: Path) -> dict[str, bytes]:
    """The trained weights, by artifact."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.glob(".harness/store/train-*/model/*.safetensors")
    }


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(
    tmp_path: Path, tiny_llama: Path, rows_of_module: list[dict[str, str]]
) -> None:
    killable(tmp_path, tiny_llama, rows_of_module)
    process = start("run", "suite.yaml", folder=tmp_path)
    wait_until(lambda: has_partial(tmp_path, "train-*.partial/checkpoint*"), process)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert b"the same command goes on from here" in (tmp_path / "started.log").read_bytes()
    assert harness("run", "suite.yaml", folder=tmp_path).returncode == 0
