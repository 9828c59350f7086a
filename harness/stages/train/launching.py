"""Training one trial in several processes: accelerate's launcher on GPUs, torchrun with gloo on a CPU.

Each process runs this file as a module: it makes the same backend and trains the same job, and finds its
place among the others in the environment that the launcher set. They speak to the stage through two small
files in the trial's folder, progress and the first error; the first process alone writes anything else.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import errors, registry
from harness.errors import HarnessError, InputError, StageError, first_line
from harness.json_files import read_json, write_json
from harness.protocols import Backend, Progress, TrainJob, TrainOutcome
from harness.records import Method, ModelRef, PluginSpec, Prompting, from_json

JOB, PROGRESS, ERROR, OUTCOME = (
    "launch.json",
    "launch-progress.json",
    "launch-error.json",
    "launch-outcome.json",
)
POLL_SECONDS = 0.2


def train_launched(spec: PluginSpec, job: TrainJob) -> TrainOutcome:
    """What `Backend.train` returns, done by `job.launch["num_processes"]` processes.

    Raises what the first process that failed raised. A SIGTERM is handed on, so that a checkpoint is written.
    """
    write_json(job.out / JOB, {"backend": spec, "job": _plain(job)})
    for stale in (PROGRESS, ERROR, OUTCOME):
        (job.out / stale).unlink(missing_ok=True)
    process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
        [*_launcher(job.launch), "-m", __name__, str(job.out)],
        env={**os.environ, "HARNESS_LAUNCHED_BY": str(os.getpid())},
    )
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        _wait(process, job)
    finally:
        signal.signal(signal.SIGTERM, before)
        if process.poll() is None:
            process.kill()
    if (job.out / ERROR).exists():
        raise _rebuilt(read_json(job.out / ERROR))
    if process.returncode:
        raise StageError(f"the launched processes ended with exit code {process.returncode}; see output.log")
    outcome = from_json(TrainOutcome, read_json(job.out / OUTCOME))
    for name in (JOB, PROGRESS, OUTCOME):
        (job.out / name).unlink(missing_ok=True)
    return outcome


def _launcher(launch: Mapping[str, Any]) -> list[str]:
    import torch

    count = str(launch["num_processes"])
    if not torch.cuda.is_available():
        # accelerate's own launcher starts one process on a CPU; under torchrun its state finds gloo.
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", count]
    return [*command, "--main_process_port", "0"]


def _plain(job: TrainJob) -> dict[str, Any]:
    return {name: getattr(job, name) for name in job.__dataclass_fields__ if name != "progress"}


def _wait(process: subprocess.Popen[bytes], job: TrainJob) -> None:
    while process.poll() is None:
        time.sleep(POLL_SECONDS)
        try:
            seen = read_json(job.out / PROGRESS)
        except (OSError, ValueError):
            continue  # not written yet, or being replaced
        job.progress(seen["done"], seen["total"], seen["note"])


def _rebuilt(told: Mapping[str, Any]) -> HarnessError:
    kind = getattr(errors, told["kind"])
    if issubclass(kind, InputError):
        failure: HarnessError = kind(told["what"], where=told["where"], fix=told["fix"])
        return failure
    return StageError(told["what"]) if kind is HarnessError else kind(told["what"])


def main(folder: Path) -> None:
    """One of the launched processes: train, and let the first of them write the outcome."""
    threading.Thread(target=_end_with, args=(int(os.environ["HARNESS_LAUNCHED_BY"]),), daemon=True).start()
    told = read_json(folder / JOB)
    backend: Backend = registry.create(from_json(PluginSpec, told["backend"]))
    first = os.environ["RANK"] == "0"
    try:
        outcome = backend.train(_job(told["job"], _file_progress(folder) if first else _unheard))
    except Exception as error:
        _tell(folder, error)
        raise
    if first:
        write_json(folder / OUTCOME, outcome)


def _job(told: Mapping[str, Any], progress: Progress) -> TrainJob:
    paths = {name: told[name] and Path(told[name]) for name in ("train", "validation", "out")}
    records = {
        "model": from_json(ModelRef, told["model"]),
        "method": from_json(Method, told["method"]),
        "prompting": from_json(Prompting, told["prompting"]),
    }
    return replace(TrainJob(**{**told, **paths, **records}), progress=progress)


def _file_progress(folder: Path) -> Progress:
    written = 0.0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal written
        if time.monotonic() - written >= POLL_SECONDS or done == total:
            write_json(folder / PROGRESS, {"done": done, "total": total, "note": note})
            written = time.monotonic()

    return progress


def _unheard(done: int, total: int, note: str = "") -> None:
    """The progress of all processes but the first."""


def _tell(folder: Path, error: Exception) -> None:
    """Leave the error for the stage, unless another process was first: the rest only lose their neighbour."""
    told = {"kind": "HarnessError", "what": f"{type(error).__name__}: {first_line(error)}"}
    if isinstance(error, InputError):
        told = {"kind": _kind(error), "what": error.what, "where": error.where, "fix": error.fix}
    elif isinstance(error, StageError):
        told = {"kind": _kind(error), "what": str(error)}
    if not (folder / ERROR).exists():
        write_json(folder / ERROR, told)


def _kind(error: HarnessError) -> str:
    """The name of the error's class in the error tree: a plugin may have made a kind of its own of it."""
    return next(kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__)


def _end_with(pid: int) -> None:
    """End this process when the stage's, or the launcher's, is gone: an orphan would go on writing."""
    launcher = os.getppid()
    while os.getppid() == launcher and _is_alive(pid):
        time.sleep(POLL_SECONDS)
    os._exit(1)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
