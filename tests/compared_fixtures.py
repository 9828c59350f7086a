"""Fixtures of the tests of `harness compare`: a run, one that became worse, and a copy to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from compared_runs import ENTRIES, WORSE, finished


@pytest.fixture(scope="session")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("worlds") / "old", ENTRIES)


@pytest.fixture(scope="session")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("worlds") / "worse", WORSE)


@pytest.fixture
def copied(old: Path, tmp_path: Path) -> Path:
    """A copy of the old run, to be changed."""
    shutil.copytree(old, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def lowered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `worse`, but with every candidate of the old run."""
    entries = {**WORSE, "full": ENTRIES["full"]}
    return finished(tmp_path_factory.mktemp("worlds") / "lowered", entries)
