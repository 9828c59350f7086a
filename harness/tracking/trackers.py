"""The trackers: what each calls a run, a point of a curve, and a figure at the end."""

from __future__ import annotations

import importlib.util
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_MLFLOW_VALUE_LENGTH = 500


@dataclass(frozen=True)
class TrackedRun:
    """What a training is called, below which folder trackers keep files, and the recipe it is trained by."""

    project: str
    name: str
    folder: Path
    recipe: Mapping[str, Any]


class Tracker(Protocol):
    """A run in a tracker. Any call may raise, block for a while, or be the last."""

    id: str
    """By which the run is found again when a training is resumed."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Points of curves, at a step not below those before."""
        ...

    def close(self, figures: Mapping[str, float] | None) -> None:
        """End the run with its final figures; None: the training was stopped or failed."""
        ...


def install_command(tracker: str) -> str | None:
    """How to install what a tracker needs; None where it is there."""
    return None if importlib.util.find_spec(tracker) else f"pip install {tracker}"


class TensorBoard:
    """Event files in a folder of the run's name; a resumed training adds another file to it."""

    def __init__(self, run: TrackedRun, known: str | None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        root = Path(os.environ.get("TENSORBOARD_LOGGING_DIR") or run.folder / "tensorboard") / run.project
        self.id = known or _unused(root, run.name)
        self._writer = SummaryWriter(str(root / self.id))
        if known is None:
            rows = "".join(f"\n| {key} | `{value}` |" for key, value in flat(run.recipe).items())
            self._writer.add_text("recipe", f"| key | value |\n|---|---|{rows}", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, figures: Mapping[str, float] | None) -> None:
        for name, value in (figures or {}).items():
            self._writer.add_scalar(name, value, 0)
        self._writer.close()


class MLflow:
    """A run in the experiment of the project's name, where MLFLOW_TRACKING_URI says or in a local store."""

    def __init__(self, run: TrackedRun, known: str | None) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI") or _local_store(run.folder))
        self.id = (
            known or self._client.create_run(self._experiment(run.project), run_name=run.name).info.run_id
        )
        self._client.update_run(self.id, status="RUNNING")
        if known is None:
            recipe = {key: str(value)[:_MLFLOW_VALUE_LENGTH] for key, value in flat(run.recipe).items()}
            self._client.log_batch(self.id, params=[Param(key, value) for key, value in recipe.items()])

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:  # another training was faster
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        return str(found.experiment_id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._client.log_batch(self.id, [Metric(name, value, now, step) for name, value in values.items()])

    def close(self, figures: Mapping[str, float] | None) -> None:
        if figures:
            self.log(0, figures)
        self._client.set_terminated(self.id, "KILLED" if figures is None else "FINISHED")


def _local_store(folder: Path) -> str:
    """A database, or where MLflow came without SQL (mlflow-skinny) a folder of files."""
    folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("sqlalchemy") is not None:
        return f"sqlite:///{folder / 'mlflow.db'}"
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return (folder / "mlflow").as_uri()


class WandB:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in the tracking folder."""

    def __init__(self, run: TrackedRun, known: str | None) -> None:
        import wandb

        run.folder.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=run.project,
            name=run.name,
            id=known,
            resume="allow" if known else None,
            config=dict(run.recipe),
            dir=str(run.folder),
            reinit="create_new",
            settings=wandb.Settings(console="off", silent=True),
        )
        self.id = str(self._run.id)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, figures: Mapping[str, float] | None) -> None:
        self._run.summary.update(dict(figures or {}))
        self._run.finish(exit_code=1 if figures is None else 0)


class Trackio:
    """A run of Trackio, in its own cache or in the Space that TRACKIO_SPACE_ID names."""

    def __init__(self, run: TrackedRun, known: str | None) -> None:
        import trackio

        self.id = known or f"{run.name}-{int(time.time())}"
        recipe = dict(run.recipe)
        self._run = trackio.init(
            project=run.project, name=self.id, resume="allow", config=recipe, embed=False
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self, figures: Mapping[str, float] | None) -> None:
        if figures:
            self._run.log(dict(figures))
        self._run.finish()


TRACKERS: Mapping[str, type[TensorBoard] | type[MLflow] | type[WandB] | type[Trackio]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WandB,
    "trackio": Trackio,
}
"""By name, which is also that of the package and its module."""


def flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        found |= flat(item, f"{prefix}{key}.") if isinstance(item, Mapping) else {f"{prefix}{key}": item}
    return found


def _unused(root: Path, name: str) -> str:
    """The name as a folder can have it, with a number behind it where an earlier training has it."""
    name = re.sub(r"[^A-Za-z0-9._#=,-]+", "-", name)
    number, free = 1, name
    while (root / free).exists():
        number += 1
        free = f"{name}-{number}"
    return free
