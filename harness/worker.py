"""What a worker process does with one step: lock, make, commit."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError, StageError
from harness.json_files import write_json
from harness.records import to_json
from harness.store import Store

PROGRESS = "progress.json"
LOG = "output.log"
ERROR = "error.txt"
SECONDS_BETWEEN_WRITES = 0.2


@dataclass(frozen=True)
class Work:
    """What a worker is told of a step. `inputs`: input name -> key of an artifact."""

    key: str
    stage: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str]


@dataclass
class FileProgress:
    """Progress as a small file that whoever waits for the step may read, on any machine."""

    path: Path
    written: float = 0.0

    def __call__(self, done: int, total: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self.written >= SECONDS_BETWEEN_WRITES or done == total:
            write_json(self.path, {"done": done, "total": total, "note": note})
            self.written = now


def make(store: Store, step: Work, env: Mapping[str, str]) -> None:
    """Make an artifact, unless another process has made it while this one waited for the lock."""
    os.environ.update(env)
    with store.lock(step.key):
        if store.has(step.key):
            return
        folder = store.create(step.key)
        _catch_output(folder / LOG)
        try:
            _make(store, step, folder)
        except InputError:
            raise
        except BaseException:
            folder.mkdir(exist_ok=True)
            (folder / ERROR).write_text(traceback.format_exc(), encoding="utf-8", errors="replace")
            raise


def make_aside(module: str, params: Mapping[str, Any], inputs: Mapping[str, Path], folder: Path) -> None:
    """Have a module's `run` write into a folder that is no artifact: its caller reads and deletes it."""
    _catch_output(folder / LOG)
    importlib.import_module(module).run(params, inputs, folder, FileProgress(folder / PROGRESS))


def _make(store: Store, step: Work, folder: Path) -> None:
    started = time.time()
    (folder / ERROR).unlink(missing_ok=True)
    _require_planned_model(store, step)
    run = importlib.import_module(f"harness.stages.{step.stage}").run
    folders = {name: store.open(source) for name, source in step.inputs.items()}
    run(step.params, folders, folder, FileProgress(folder / PROGRESS))
    (folder / PROGRESS).unlink(missing_ok=True)
    _require_planned_model(store, step)
    seconds = time.time() - started
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    store.commit(step.key, {**to_json(step), "seconds": seconds, **versions})


def _require_planned_model(store: Store, step: Work) -> None:
    """StageError, and nothing kept, if a local base model is no longer what the key says it is."""
    model = step.params.get("model")
    if not isinstance(model, Mapping) or not Path(model["name_or_path"]).is_absolute():
        return
    path = Path(model["name_or_path"])
    if not path.is_dir() or store.content_digest(path) != model["identity"]:
        shutil.rmtree(store.partial(step.key), ignore_errors=True)
        raise StageError(f"the base model {path.name} was changed after the run began; run again")


def _catch_output(path: Path) -> None:
    """Libraries print what they like: it goes into the artifact's log, not into the progress display."""
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
