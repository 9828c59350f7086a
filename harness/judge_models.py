"""Models that judge: what stands for one in a key, and whether it is there, without torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from harness import hub
from harness.errors import PluginError
from harness.records import ModelRef
from harness.store import Store

SHOWN_DIGITS = 12


def find_model(name_or_path: str, revision: str | None) -> ModelRef:
    """The model with its identity: `folder@<digest of its files>` or `org/name@<commit>`.

    A folder's name is left out of its digest, and an absolute path is a folder. InputError where the Hub is
    asked and does not know; a folder is read once in a process.
    """
    folder = Path(name_or_path)
    if folder.is_absolute():
        content = _folder_digest(folder)
        return ModelRef(name_or_path, identity=f"{folder.name}@{content[:SHOWN_DIGITS]}")
    commit = hub.pin(name_or_path, revision, "model")
    return ModelRef(name_or_path, commit, f"{name_or_path}@{commit[:SHOWN_DIGITS]}")


@cache
def _folder_digest(folder: Path) -> str:
    return Store(folder).content_digest(folder)


def require_folder(name_or_path: str) -> None:
    """PluginError where an absolute path is no folder with a model in it; says nothing of Hub ids."""
    folder = Path(name_or_path)
    if folder.is_absolute() and not (folder / "config.json").is_file():
        what = "holds no model (no config.json)" if folder.is_dir() else "is no folder"
        raise PluginError(f"model: {folder} {what}", fix="give the folder of a model, or its Hub id")
