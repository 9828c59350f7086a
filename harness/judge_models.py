"""Models of this machine that judge: what their plugins have in common, without torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from harness import hub
from harness.errors import PluginError
from harness.protocols import Pair, option
from harness.records import ModelRef, Question, Verdict
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


def model_option(text: str) -> Any:
    """The option `model`: in the key through `identity`, since its folder is too large to be read twice."""
    return option(help=text, changes_result=False)


def revision_option() -> Any:
    """The option `revision` of a model on the Hub; in the key through `identity` as well."""
    return option(None, help="the Hub's branch, tag or commit; null: main", changes_result=False)


class ModelJudge(ABC):
    """A judge by a model of this machine: a dataclass with the options `model` and `revision`."""

    needs_device: ClassVar[bool] = True

    model: str
    revision: str | None

    def preflight(self) -> None:
        """PluginError where the model's folder holds none."""
        require_folder(self.model)

    def identity(self) -> str:
        """What else a verdict depends on: the model's files, or its commit."""
        return f"model:{find_model(self.model, self.revision).identity}"

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        """One comparison by itself; the stage asks for many at once."""
        return self.compare_many([(question, first, second)])[0]

    @abstractmethod
    def compare_many(self, pairs: Sequence[Pair]) -> list[Verdict]:
        """A verdict for each pair."""
