"""What is uploaded of an artifact: weights, tokenizer, configuration and the card; nothing of this machine.

A file arrives as it is, unless it is a configuration that names folders of this machine: of those the last
part is left, and a base model from the Hub goes by its id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.json_files import read_json
from harness.pushing.finding import Chosen
from harness.report.outputs.hub_ids import hub_model
from harness.report.outputs.model_card import REPO, Base, model_card
from harness.report.outputs.names import folder_names
from harness.report.outputs.writing import card_path
from harness.report.text import name_of

Json = Mapping[str, Any]

CARD = "README.md"
_WEIGHTS = ".safetensors"
_KINDS = (_WEIGHTS, ".json", ".jinja", ".model", ".txt", ".tiktoken", ".vocab")
_NOT_WEIGHTS = ("trainer_state.json", "training_args.json")
_CONFIGURATIONS = re.compile(r"(\w+_)?config\.json|method\.json|special_tokens_map\.json")
_FOLDER = re.compile(r"(/[^/\0\n]+){2,}/?|[A-Za-z]:[\\/].*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class File:
    """A file to upload: `content` where it is not what lies at `path`."""

    name: str
    path: Path | None
    content: bytes | None = None

    @property
    def size(self) -> int:
        return len(self.content) if self.content is not None else self._source.stat().st_size

    @property
    def source(self) -> Path | bytes:
        """What huggingface_hub takes."""
        return self.content if self.content is not None else self._source

    @property
    def _source(self) -> Path:
        assert self.path is not None, "a file has a path or content"
        return self.path


@dataclass(frozen=True, slots=True)
class Payload:
    """All files of an upload, and what is left behind of the artifact."""

    files: tuple[File, ...]
    left_out: tuple[str, ...]
    edited_card: bool


def make_payload(chosen: Chosen, repo: str) -> Payload:
    """The files for the repository; InputError where the artifact holds no weights."""
    folder = chosen.artifact / "model"
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    taken = [path for path in paths if _belongs(path.relative_to(folder))]
    if not any(path.suffix == _WEIGHTS for path in taken):
        what = f"no {_WEIGHTS} file in {folder}"
        raise InputError(what, fix="the backend keeps its weights elsewhere; upload them by `hf upload`")
    base = _base(chosen)
    files = [_file(path, path.relative_to(folder).as_posix(), base) for path in taken]
    card, edited = _card(chosen, repo, base)
    left_out = [path.relative_to(folder).as_posix() for path in paths if path not in taken]
    return Payload((*files, File(CARD, None, card.encode("utf-8"))), tuple(left_out), edited)


def _belongs(path: Path) -> bool:
    """Whether a file is weights, tokenizer or configuration: no checkpoint, no optimizer, nothing hidden."""
    hidden = any(part.startswith((".", "checkpoint")) for part in path.parts)
    return not hidden and path.suffix in _KINDS and path.name not in _NOT_WEIGHTS


def _base(chosen: Chosen) -> Base:
    """The base as the training knew it: its artifact's manifest tells a folder from a Hub id."""
    model = (chosen.manifest.get("params") or {}).get("model") or {}
    name, revision = str(model.get("name_or_path") or ""), model.get("revision")
    if not name or revision is None:
        return Base(name_of(str(chosen.candidate["model"] or "")))
    return Base(name, hub_model(name), str(revision))


def _file(path: Path, name: str, base: Base) -> File:
    if not _CONFIGURATIONS.fullmatch(path.name):
        return File(name, path)
    try:
        found = read_json(path)
    except ValueError:
        return File(name, path)
    public = _public(found, base)
    if public == found:
        return File(name, path)
    return File(name, path, (json.dumps(public, indent=2, ensure_ascii=False) + "\n").encode())


def _public(value: Any, base: Base, key: str = "") -> Any:
    """A configuration without folders of this machine."""
    if isinstance(value, dict):
        return {name: _public(item, base, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_public(item, base) for item in value]
    if not isinstance(value, str) or not _FOLDER.fullmatch(value):
        return value
    return base.hub_id if key == "base_model_name_or_path" and base.hub_id else name_of(value.rstrip("/"))


def _card(chosen: Chosen, repo: str, base: Base) -> tuple[str, bool]:
    """The card, and whether somebody wrote into it; of such a card only the repository's name is ours."""
    results, candidate = chosen.results, chosen.candidate
    names = folder_names([one["name"] for one in results["candidates"]])
    path = card_path(chosen.report, names[candidate["name"]])
    made = model_card(results, candidate, repo, base, chosen.seed)
    if not path.is_file():
        return made, False
    lying = path.read_text(encoding="utf-8")
    if lying == model_card(results, candidate):
        return made, False
    return lying.replace(REPO, repo), True


def lines(payload: Payload) -> Iterator[tuple[str, int, str]]:
    """(file, bytes, what is to be said of it)."""
    for file in payload.files:
        changed = file.content is not None and file.path is not None
        said = "folders of this machine taken out" if changed else ""
        if file.name == CARD:
            said = "the card, as it was edited" if payload.edited_card else "the card"
        yield file.name, file.size, said
