"""What the command says of its steps, kept by step, and the checkpoints that it leaves.

steps.jsonl           a line for each step: loss, learning rate, our own seconds, joules, peak memory
out/checkpoint-120/   as transformers' Trainer writes it; trainer_state.json is its last file
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.json_files import iter_json_lines, read_json
from harness.modeling.failures import require_finite
from harness.modeling.llamafactory_training.command import Command
from harness.modeling.llamafactory_training.memory import memory_after, memory_held
from harness.modeling.llamafactory_training.steps import Steps
from harness.modeling.llamafactory_training.training_lines import LiveLog
from harness.modeling.training.state import TrainingLog
from harness.protocols import Progress

_LAST_FILE = "trainer_state.json"
_ONLY_TO_RESUME = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")


class CommandJournal:
    """The steps of one training in `folder`, through any number of attempts.

    `kept` are the steps whose weights stay, besides the last. `live` is told of each step, and `joules` says
    what this attempt has drawn so far, or None where that is not known.
    """

    def __init__(
        self,
        folder: Path,
        steps: Steps,
        kept: list[int],
        progress: Progress,
        live: LiveLog,
        joules: Callable[[], float | None],
    ) -> None:
        self.output = folder / "out"
        self._live, self._joules = live, joules
        self._steps, self._kept, self._progress = steps, {*kept, steps.total}, progress
        self._path, self._log = folder / "steps.jsonl", TrainingLog(folder / "steps.jsonl")
        self._command_log = self.output / "trainer_log.jsonl"
        self._read = 0
        self._tidied: set[Path] = set()
        self._earlier_seconds = 0.0
        self._seconds = 0.0
        self.earlier_joules: float | None = 0.0
        """What earlier attempts drew, up to the checkpoint that this one goes on from; None: not known."""
        self._started = time.monotonic()
        self.last_step_seen: float | None = None

    @property
    def done(self) -> bool:
        """Whether the last step's weights are on disk."""
        return self._newest() == self._steps.total

    def start(self) -> None:
        """Go back to the newest whole checkpoint of an earlier attempt, or to the beginning."""
        for path in self.output.glob("checkpoint-*"):
            if not _is_whole(path):
                shutil.rmtree(path)
        newest = self._newest()
        if newest == 0:
            shutil.rmtree(self.output, ignore_errors=True)
        self._command_log.unlink(missing_ok=True)
        self._log.cut_after(newest)
        if newest:
            self._add_unseen(newest)
        done = self.lines()
        self._seconds = self._earlier_seconds = done[-1]["seconds"] if done else 0.0
        self.earlier_joules = done[-1]["energy_joules"] if done else 0.0
        self._live.start(done)
        self._started = time.monotonic()

    def look(self, command: Command) -> None:
        """Take over what the command has logged since the last look. Raises TrainingDiverged."""
        entries = [entry for entry in self._new_entries() if "loss" in entry]  # the last one is a summary
        if not entries:
            return
        before, joules = self._seconds, self._energy_joules()
        self.last_step_seen = time.monotonic()
        began = command.began_training or self._started
        self._seconds = self._earlier_seconds + self.last_step_seen - began
        for number, entry in enumerate(entries, start=1):
            step = entry["current_steps"]
            require_finite(step, "loss", entry["loss"], self._steps.example_ids(step))
            line = {
                "step": step,
                "loss": entry["loss"],
                "learning_rate": entry["lr"],
                # Steps that are seen together share the time since the last look.
                "seconds": before + (self._seconds - before) * number / len(entries),
                "energy_joules": joules,
                **memory_held(entry, command.process_id),
            }
            self._log.append("step", **line)
            self._live.add(line)
            self._progress(step, self._steps.total, f"loss {entry['loss']:.3f}")
            self._tidy()

    def lines(self) -> list[dict[str, Any]]:
        """What is known of each step, in order."""
        return list(iter_json_lines(self._path, torn_tail=True)) if self._path.exists() else []

    def catch_up(self) -> None:
        """Add the last steps of a command that was done before a worker could look, and was then killed."""
        self._log.cut_after(self._steps.total)  # a torn line
        self._add_unseen(self._steps.total)
        self.earlier_joules = self.lines()[-1]["energy_joules"]

    def _add_unseen(self, newest: int) -> None:
        """Add the steps up to a checkpoint that no worker saw, for it was killed a moment before."""
        known, state = self.lines(), self.weights(newest) / _LAST_FILE
        last = known[-1] if known else None
        done, seconds = (last["step"], last["seconds"]) if last else (0, 0.0)
        missing = [entry for entry in _history(state) if "loss" in entry and entry["step"] > done]
        began = self._path.stat().st_mtime if known else state.stat().st_mtime
        took = max(state.stat().st_mtime - began, 1e-3)
        for number, entry in enumerate(missing, start=1):
            self._log.append(
                "step",
                step=entry["step"],
                loss=entry["loss"],
                learning_rate=entry["learning_rate"],
                seconds=seconds + took * number / len(missing),
                energy_joules=None,  # nobody asked the GPU in time
                **memory_after(last),
            )

    def _energy_joules(self) -> float | None:
        now = self._joules()
        return None if now is None or self.earlier_joules is None else self.earlier_joules + now

    def gradient_norms(self) -> dict[int, float]:
        """Step -> norm of the gradient before clipping."""
        history = _history(self.weights(self._steps.total) / _LAST_FILE)
        return {entry["step"]: entry["grad_norm"] for entry in history if "grad_norm" in entry}

    def weights(self, step: int) -> Path:
        """The folder with the weights after a step that is kept."""
        return self.output / f"checkpoint-{step}"

    def _newest(self) -> int:
        whole = [path for path in self.output.glob("checkpoint-*") if _is_whole(path)]
        return max(map(_step_of, whole), default=0)

    def _new_entries(self) -> Iterator[dict[str, Any]]:
        if not self._command_log.exists():
            return
        with self._command_log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if line.endswith(b"\n"):
                    self._read += len(line)
                    yield json.loads(line)

    def _tidy(self) -> None:
        """Of all checkpoints but the newest keep no more than the weights that are still needed."""
        there = {path for path in self.output.glob("checkpoint-*") if path not in self._tidied}
        if not any(map(_is_whole, there)):
            return
        newest = self._newest()
        for path in there:
            if _step_of(path) >= newest:
                continue
            self._tidied.add(path)
            if _step_of(path) not in self._kept:
                shutil.rmtree(path)
            else:
                for name in _ONLY_TO_RESUME:
                    (path / name).unlink(missing_ok=True)


def _history(state: Path) -> list[dict[str, Any]]:
    """What the Trainer has logged of each step up to a checkpoint, and a summary after the last."""
    history: list[dict[str, Any]] = read_json(state)["log_history"]
    return history


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _is_whole(checkpoint: Path) -> bool:
    try:
        read_json(checkpoint / _LAST_FILE)
    except (OSError, ValueError):  # not there yet, or cut short
        return False
    return True
