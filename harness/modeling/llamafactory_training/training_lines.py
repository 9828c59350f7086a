"""The training lines of log.jsonl, made of the command's steps: while it runs, and again at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from harness.json_files import write_jsonl
from harness.modeling.llamafactory_training.steps import Steps
from harness.modeling.training.state import Interval, TrainingLog
from harness.modeling.training_settings import TrainingSettings

Lines = list[dict[str, Any]]


class TrainingLines:
    """Takes steps one after the other: means over tokens, our own counts and our own clock.

    `norms` are those of the gradients, by step; a line whose step has none says null.
    """

    def __init__(self, settings: TrainingSettings, steps: Steps, norms: Mapping[int, float]) -> None:
        self._steps, self._norms = steps, norms
        self._every = settings.logging_interval(steps.total)
        self._interval = Interval()

    def add(self, entry: Mapping[str, Any]) -> Lines:
        """Count a step; the line that is due after it, if one is."""
        step, seconds, interval = entry["step"], entry["seconds"], self._interval
        interval.add(entry["loss"], self._steps.tokens(step), self._steps.targets(step))
        if step % self._every and step != self._steps.total:
            return []
        self._interval = Interval(started=seconds)
        norm = self._norms.get(step)
        line = interval.line(step, self._steps.epoch(step), entry["learning_rate"], norm, seconds)
        return [{"type": "train", **line}]

    def of(self, entries: Iterable[Mapping[str, Any]]) -> Lines:
        """The lines that are due after any of these steps."""
        return [line for entry in entries for line in self.add(entry)]


class LiveLog:
    """log.jsonl while the command runs, for whoever follows it; gradient norms are told at the end."""

    def __init__(self, path: Path, settings: TrainingSettings, steps: Steps) -> None:
        self._path, self._settings, self._steps = path, settings, steps
        self._log = TrainingLog(path)
        self._lines = TrainingLines(settings, steps, {})

    def start(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Begin with the lines of the steps that an earlier attempt did, and nothing else."""
        self._lines = TrainingLines(self._settings, self._steps, {})
        write_jsonl(self._path, self._lines.of(entries))

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append the line that is due after a step, if one is."""
        for line in self._lines.add(entry):
            self._log.append(line.pop("type"), **line)
