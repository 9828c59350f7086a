"""What of an upload would tell of this machine: folders in configurations and texts, links to elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.report.outputs.card_head import Base
from harness.report.text import name_of, one_line

_FOLDER = re.compile(r"(/[^/\0\n]+){2,}/?|[A-Za-z]:[\\/].*", re.DOTALL)
_VOCABULARIES = re.compile(r"(tokenizer|vocab)\.json|(vocab|merges)\.txt|.*\.(model|tiktoken)")


def inside(path: Path, folder: Path) -> None:
    """InputError where a link leads out of the folder: what it leads to was never made by the run."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            "is a link that leaves its folder", where=str(path), fix="put the file itself there, or remove it"
        )


def no_link(path: Path, folder: Path) -> None:
    """InputError where a file of a report, or a folder that it lies in, is a link."""
    for part in (path, *path.parents):
        if part == folder:
            return
        if part.is_symlink():
            what = "is a symbolic link, and a link may lead to any file of this machine"
            raise InputError(what, where=str(part), fix="put the file itself there, or remove it")


class Folders:
    """The folders that must not be told: that of the base model, and the one that is home."""

    def __init__(self, base: Base, model: str) -> None:
        self._base = base
        self._own = model.rstrip("/") if _FOLDER.fullmatch(model) else ""
        home = str(Path.home())
        self._home = home if len(home) > 1 else ""

    def public(self, value: Any, key: str = "") -> Any:
        """A configuration without folders of this machine: a base model from the Hub goes by its id."""
        if isinstance(value, dict):
            return {name: self.public(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self.public(item) for item in value]
        if not isinstance(value, str):
            return value
        if _FOLDER.fullmatch(value):
            known = self._base.hub_id if key == "base_model_name_or_path" else None
            return known or name_of(value.rstrip("/"))
        for folder, name in self._names():
            value = name.join(re.split(rf"{re.escape(folder)}(?!\w)", value))
        return value

    def refuse(self, name: str, content: bytes, where: Path) -> None:
        """InputError where a text that is sent as it is names one of the folders.

        `/root` and its like may be words of a vocabulary: there the base's folder alone counts.
        """
        for folder, _ in self._names():
            if folder == self._home and _VOCABULARIES.fullmatch(name):
                continue
            if re.search(re.escape(os.fsencode(folder)) + rb"(?!\w)", content):
                what = f"names a folder of this machine, {one_line(folder)}"
                raise InputError(
                    what, where=str(where), fix="take that out of it: others read what is pushed"
                )

    def _names(self) -> Sequence[tuple[str, str]]:
        """Folder -> what stands for it."""
        both = ((self._own, name_of(self._own)), (self._home, "~"))
        return [(folder, name) for folder, name in both if folder]
