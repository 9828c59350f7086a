"""Several processes train a trial to the losses and weights of one with the same effective batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_jobs import METHODS, job_from_file, job_to_file, make_job, train

from harness.errors import ModelError, StageError
from harness.json_files import iter_json_lines
from harness.protocols import TrainJob, TrainOutcome
from harness.records import Method, PluginSpec
from harness.stages.train.launching import train_launched

pytestmark = pytest.mark.slow

TORCH = PluginSpec("backend", "torch", "harness.backends.torch:Torch")
TWO = {"num_processes": 2}
Rows = list[dict[str, str]]


def job_of(
    out: Path, model: Path, rows: Rows, method: Method, *, processes: int, **training: Any
) -> TrainJob:
    """An effective batch of 4 rows, and 3 in the last window of an epoch."""
    batch = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4 // processes}
    job = make_job(out, model, rows, method, **{"logging_steps": 1, **batch, **training})
    return replace(job, launch=TWO if processes == 2 else {})


def launched(job: TrainJob) -> TrainOutcome:
    return train_launched(TORCH, job)


def lines(job: TrainJob, kind: str) -> list[dict[str, Any]]:
    return [line for line in iter_json_lines(job.out / "log.jsonl") if line["type"] == kind]


def weights(job: TrainJob) -> torch.Tensor:
    (file,) = (job.out / "model").glob("*.safetensors")
    return torch.cat([tensor.float().flatten() for _, tensor in sorted(load_file(file).items())])


@pytest.mark.parametrize("method", ["full", "lora"])
def test_two_processes_train_as_one(tmp_path: Path, tiny_llama: Path, rows: Rows, method: str) -> None:
    alone = job_of(tmp_path / "alone", tiny_llama, rows, METHODS[method], processes=1)
    both = job_of(tmp_path / "both", tiny_llama, rows, METHODS[method], processes=2)
    expected, outcome = train(alone), launched(both)
    for kind in ("train", "validation"):
        pairs = zip(lines(alone, kind), lines(both, kind), strict=True)
        for one, two in pairs:
            assert two["loss"] == pytest.approx(one["loss"], rel=1e-4)
            assert two.get("grad_norm", 0.0) == pytest.approx(one.get("grad_norm", 0.0), rel=1e-3)
    # Adam divides a gradient by its size: where that is rounding alone, a weight may step either way.
    torch.testing.assert_close(weights(both), weights(alone), rtol=1e-2, atol=1e-4)
    for name in ("steps", "tokens_seen", "tokens_supervised", "rows_used", "effective_batch_size"):
        assert getattr(outcome, name) == getattr(expected, name), name
    assert (expected.process_count, outcome.process_count) == (1, 2)
    assert sorted(path.name for path in both.out.iterdir()) == ["log.jsonl", "model"]


def test_an_error_in_a_process_is_the_trials(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    method = Method("lora", {"r": 4, "target_modules": ["W_pack"]})
    job = job_of(tmp_path / "out", tiny_llama, rows, method, processes=2)
    with pytest.raises(ModelError, match=r"W_pack.*linear layers of this model: .*q_proj"):
        launched(job)


def test_a_divergence_is_the_trials(tmp_path: Path, tiny_llama: Path, rows: Rows) -> None:
    job = job_of(
        tmp_path / "out", tiny_llama, rows, METHODS["full"], processes=2, learning_rate=1e30, warmup_steps=0
    )
    with pytest.raises(StageError, match=r"step \d+: .* is (nan|inf)"):
        launched(job)


def start(job: TrainJob) -> subprocess.Popen[bytes]:
    file = job_to_file(job, job.out.with_suffix(".json"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen([sys.executable, __file__, file], env=environment)


def still_working_on(job: TrainJob) -> list[int]:
    """Processes that have the job's folder on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if str(job.out).encode() in words:
            found.append(int(folder.name))
    return found


def wait_for(condition: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> TrainJob:
    """A job of two processes that was trained without a disturbance."""
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}."} for n in range(24)]
    out = tmp_path_factory.mktemp("launched") / "undisturbed"
    long = {"num_train_epochs": 12, "save_steps": 3}
    job = job_of(out, tiny_llama, rows, METHODS["full"], processes=2, **long)
    launched(job)
    return job


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again_it_ends_with_the_same_weights(
    tmp_path: Path, undisturbed: TrainJob, how: signal.Signals
) -> None:
    job = replace(undisturbed, out=tmp_path / "killed")
    job.out.mkdir()
    process = start(job)
    log = job.out / "log.jsonl"
    wait_for(lambda: process.poll() is not None or (log.exists() and log.read_bytes().count(b"\n") > 9), 120)
    assert process.poll() is None, "the training ended before it could be killed"
    process.send_signal(how)
    process.wait(60)
    wait_for(lambda: not still_working_on(job), 30)  # nobody goes on writing
    assert not (job.out / "model").exists()
    launched(job)
    assert torch.equal(weights(job), weights(undisturbed))


if __name__ == "__main__":
    launched(job_from_file(Path(sys.argv[1])))
