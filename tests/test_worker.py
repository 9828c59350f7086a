"""What a worker refuses: a base model that is no longer the one in the step's key."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import worker
from harness.errors import StageError
from harness.store import Store


def test_a_model_that_changed_since_the_plan_is_refused_and_nothing_kept(tmp_path: Path) -> None:
    store, model = Store(tmp_path / "store"), tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    params = {"model": {"name_or_path": str(model), "identity": store.content_digest(model)}}
    step = worker.Work("train-1", "train", params, {})
    (store.create(step.key) / "checkpoint").write_text("half")
    worker._require_planned_model(store, step)
    assert store.partial(step.key).is_dir()
    (model / "config.json").write_text("{ }")
    with pytest.raises(StageError, match="the base model model was changed after the run began; run again"):
        worker._require_planned_model(store, step)
    assert not store.partial(step.key).exists()
