"""Trackers: what is in their files after a training, and what a resumed or failing one leaves there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from commands import harness, results, write_suite

from harness import tracking
from harness.json_files import dump_line, iter_json_lines
from harness.protocols import TrainOutcome
from harness.tracking import Follower, TrackedRun

SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 2, eval: 6}
judges: []
evaluators: [perplexity]
prompting: {max_length: 96}
generation: {max_new_tokens: 4}
training:
  max_steps: 4
  logging_steps: 2
  per_device_train_batch_size: 4
  eval_strategy: steps
  report_to: [tensorboard, mlflow]
candidates:
  lora: {method: {lora: {r: 2}}, training: {run_name: small}}
"""
KNOWN = "tensorboard, mlflow, wandb, trackio"
OUTCOME = TrainOutcome(
    steps=4, epochs=1.0, tokens_seen=400, tokens_supervised=200, rows_used=16, rows_truncated=0,
    rows_dropped=0, trainable_parameters=10, total_parameters=100, artifact_bytes=40,
    seconds={"load": 1.0, "train": 2.0}, tokens_per_second=200.0, peak_memory_bytes=1000,
    memory_kind="process RSS", device="cpu", dtypes={"weights": "float32"}, effective_batch_size=4,
    final_train_loss=2.5,
)  # fmt: skip


def line(kind: str, step: int, loss: float) -> dict[str, Any]:
    return {"type": kind, "step": step, "loss": loss}


def write_log(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(map(dump_line, lines)))
    return path


def a_run(folder: Path) -> TrackedRun:
    return TrackedRun("project", "lora", folder / "tracking", {"seed": 0, "training": {"optim": "sgd"}})


def follow(folder: Path, log: Path, *trackers: str, key: str = "key") -> list[str]:
    with Follower(trackers, a_run(folder), log, key) as follower:
        return follower.finish(OUTCOME)


def tensorboard_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        name: [(event.step, event.value) for event in accumulator.Scalars(name)]
        for name in accumulator.Tags()["scalars"]
    }


def mlflow_runs(folder: Path, experiment: str, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Name, status, parameters and curves of each run in the local store of a tracking folder."""
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient((folder / "mlflow").as_uri())
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return [
        {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "curves": {
                name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            },
        }
        for run in client.search_runs([found.experiment_id])
    ]


@pytest.mark.slow
def test_a_run_is_in_the_files_of_every_tracker_it_names(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_suite(tmp_path, tiny_llama, rows, SUITE)
    done = harness("run", "suite.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tracking" in done.stderr

    (log,) = tmp_path.glob(".harness/store/train-*/log.jsonl")
    logged = [entry for entry in iter_json_lines(log) if entry["type"] == "train"]
    steps = [(entry["step"], pytest.approx(entry["loss"])) for entry in logged]
    assert [step for step, _ in steps] == [2, 4]
    folder = tmp_path / ".harness" / "tracking"
    scalars = tensorboard_scalars(folder / "tensorboard" / "trial" / "small")
    assert scalars["train/loss"] == steps
    assert {"train/learning_rate", "train/grad_norm", "eval/loss", "outcome/seconds.train"} <= scalars.keys()
    (run,) = mlflow_runs(folder, "trial", monkeypatch)
    assert (run["name"], run["status"]) == ("small", "FINISHED")
    assert run["curves"]["train/loss"] == steps
    assert run["params"]["method.options.r"] == "2"
    assert run["params"]["training.max_steps"] == "4"
    warnings = [c["warnings"] for c in results(tmp_path)["candidates"] if c["name"] == "lora"]
    assert not any("report" in warning for found in warnings for warning in found)

    silent = harness("run", "suite.yaml", "--set", "training.report_to=none", folder=tmp_path)
    assert "run_name: would not be read; set report_to" in silent.stderr
    again = harness("run", "suite.yaml", "--set", "training.project=other", folder=tmp_path)
    assert "train lora" not in again.stderr  # how a training is called is in no key


@pytest.mark.slow
def test_a_training_that_was_done_before_is_reported_once(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SUITE.replace("  report_to: [tensorboard, mlflow]\n", "").replace("{run_name: small}", "{}")
    write_suite(tmp_path, tiny_llama, rows, text)
    assert "tracking" not in harness("run", "suite.yaml", folder=tmp_path).stderr
    for _ in range(2):
        again = harness("run", "suite.yaml", "--set", "training.report_to=mlflow", folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert "train lora" not in again.stderr
        (run,) = mlflow_runs(tmp_path / ".harness" / "tracking", "trial", monkeypatch)
        assert (run["name"], run["status"]) == ("lora", "FINISHED")
        assert [step for step, _ in run["curves"]["train/loss"]] == [2, 4]


def test_each_step_is_told_once_though_a_resumed_log_has_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_log(tmp_path / "log.jsonl", line("train", 2, 4.0), line("validation", 2, 3.9))
    with pytest.raises(KeyboardInterrupt), Follower(["tensorboard", "mlflow"], a_run(tmp_path), log, "key"):
        raise KeyboardInterrupt
    (run,) = mlflow_runs(tmp_path / "tracking", "project", monkeypatch)
    assert run["status"] == "KILLED"
    write_log(log, line("train", 2, 4.0), line("validation", 2, 3.9), line("train", 4, 3.0))
    assert follow(tmp_path, log, "tensorboard", "mlflow") == []

    scalars = tensorboard_scalars(tmp_path / "tracking" / "tensorboard" / "project" / "lora")
    assert (scalars["train/loss"], scalars["eval/loss"]) == ([(2, 4.0), (4, 3.0)], [(2, pytest.approx(3.9))])
    (run,) = mlflow_runs(tmp_path / "tracking", "project", monkeypatch)
    assert run["status"] == "FINISHED"
    assert run["curves"]["train/loss"] == [(2, 4.0), (4, 3.0)]
    assert run["curves"]["outcome/tokens_per_second"] == [(0, 200.0)]


def test_another_training_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", line("train", 2, 4.0))
    for key in ("one", "two"):
        assert follow(tmp_path, log, "tensorboard", key=key) == []
    names = {folder.name for folder in (tmp_path / "tracking" / "tensorboard" / "project").iterdir()}
    assert names == {"lora", "lora-2"}


def test_lines_are_told_while_the_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.follower, "POLL_SECONDS", 0.05)
    told: list[int] = []

    class Listening:
        id = "1"

        def __init__(self, run: TrackedRun, known: str | None) -> None: ...

        def log(self, step: int, values: Any) -> None:
            told.append(step)

        def close(self, figures: Any) -> None: ...

    monkeypatch.setitem(tracking.follower.TRACKERS, "tensorboard", Listening)
    log = tmp_path / "log.jsonl"
    with Follower(["tensorboard"], a_run(tmp_path), log, "key") as follower:
        for step in (1, 2):
            with log.open("a") as file:
                file.write(dump_line(line("train", step, 1.0)))
            for _ in range(200):
                if len(told) == step:
                    break
                follower._threads[0].join(0.05)
            assert told == list(range(1, step + 1))
        assert follower.finish(OUTCOME) == []
    assert told == [1, 2]


def test_a_server_that_is_down_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log = write_log(tmp_path / "log.jsonl", line("train", 2, 4.0))
    (warning,) = follow(tmp_path, log, "mlflow", "tensorboard")
    assert warning.startswith("mlflow: not all was reported: MlflowException: API request")
    scalars = tensorboard_scalars(tmp_path / "tracking" / "tensorboard" / "project" / "lora")
    assert scalars["train/loss"] == [(2, 4.0)]


def test_a_tracker_that_hangs_is_waited_for_so_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking.follower, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(tracking.follower, "PATIENCE_SECONDS_STOPPED", 0.1)
    hold = tracking.follower.threading.Event()

    def hang(run: TrackedRun, known: str | None) -> Any:
        hold.wait(20)

    monkeypatch.setitem(tracking.follower.TRACKERS, "wandb", hang)
    log = write_log(tmp_path / "log.jsonl")
    assert follow(tmp_path, log, "wandb") == ["wandb: did not take the last lines within 0 s"]
    hold.set()


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            "{report_to: tensorbord}",
            "report_to: no tracker 'tensorbord'; known: tensorboard, mlflow, wandb, trackio",
        ),
        (
            "{report_to: 3}",
            "report_to: expected a list of tensorboard, mlflow, wandb, trackio, got the number 3",
        ),
        ("{report_to: [wandb]}", "report_to: wandb is not installed; pip install wandb"),
        ("{project: x}", "project: would not be read; set report_to"),
        (
            "{report_to: [tensorboard], run_name: x}",
            "run_name: would call the runs of all candidates alike; write it in a candidate",
        ),
    ],
)
def test_bad_settings_are_refused_before_any_work(
    training: str, expected: str, tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from harness.errors import SuiteError
    from harness.suite import load_suite

    found = tracking.trackers.importlib.util.find_spec
    monkeypatch.setattr(
        tracking.trackers.importlib.util, "find_spec", lambda name: None if name == "wandb" else found(name)
    )
    text = f"model: {{model}}\ndata: data.json\ntraining: {training}\ncandidates: {{full: {{}}}}\n"
    path = write_suite(tmp_path, tiny_llama, rows, text)
    with pytest.raises(SuiteError) as refused:
        load_suite(path)
    assert expected in str(refused.value)


def test_every_number_of_an_outcome_is_a_figure() -> None:
    figures = tracking.follower._figures(dataclasses.replace(OUTCOME, mfu=0.4))
    assert figures["outcome/mfu"] == 0.4
    assert figures["outcome/seconds.train"] == 2.0
    assert "outcome/device" not in figures
    assert "outcome/energy_joules" not in figures  # not measured
