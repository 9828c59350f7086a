"""What is uploaded of an artifact: weights, tokenizer, configuration and the card; nothing of this machine.

Of the artifact go the files that saving a model and its tokenizer writes, by their names. A file arrives as
it is, unless it is a configuration that names folders of this machine: of those the last part is left, and a
base model from the Hub goes by its id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.json_files import read_json
from harness.pushing.finding import Chosen
from harness.pushing.privacy import Folders, inside, no_link
from harness.report.outputs.card_head import Base
from harness.report.outputs.hub_ids import hub_model
from harness.report.outputs.model_card import REPO, WHOSE_WEIGHTS, model_card
from harness.report.outputs.names import folder_names
from harness.report.outputs.writing import card_path
from harness.report.text import name_of, one_line

Json = Mapping[str, Any]

CARD = "README.md"
_SAVED = r"(?:adapter_)?model(?:-\d{5}-of-\d{5})?\.safetensors"
_WEIGHTS = re.compile(_SAVED)
_TAKEN = re.compile(
    rf"{_SAVED}|(?:adapter_)?model\.safetensors\.index\.json|adapter_config\.json|method\.json"
    r"|(?:generation_|preprocessor_|processor_)?config\.json"
    r"|(?:tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|tekken)\.json"
    r"|(?:vocab|merges)\.txt|(?:chat_template|additional_chat_templates/[\w.-]+)\.jinja"
    r"|(?:tokenizer|spiece|sentencepiece\.bpe|[\w-]+)\.model|[\w.-]+\.tiktoken",
    re.ASCII,
)
_CONFIGURATIONS = re.compile(r"(\w+_)?config\.json|method\.json|special_tokens_map\.json")
_WHOSE = re.compile(rf"{WHOSE_WEIGHTS} (\d+)")


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
    inside(folder, chosen.artifact)
    names = sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() or p.is_symlink()
    )
    taken = [name for name in names if _TAKEN.fullmatch(name)]
    if not any(_WEIGHTS.fullmatch(name) for name in taken):
        what = f"no weights in {folder} (model.safetensors, adapter_model.safetensors, or their parts)"
        raise InputError(what, fix="the backend keeps its weights elsewhere; upload them by `hf upload`")
    base = _base(chosen)
    folders = Folders(base, str(_model(chosen).get("name_or_path") or ""))
    for name in taken:
        inside(folder / name, chosen.artifact)
    files = [_file(folder / name, name, folders) for name in taken]
    card, edited = _card(chosen, repo, base)
    content = card.encode("utf-8")
    folders.refuse(CARD, content, chosen.report)
    left_out = [one_line(name) for name in names if name not in taken]
    return Payload((*files, File(CARD, None, content)), tuple(left_out), edited)


def _model(chosen: Chosen) -> Json:
    params = chosen.manifest.get("params")
    model = params.get("model") if isinstance(params, dict) else None
    return model if isinstance(model, dict) else {}


def _base(chosen: Chosen) -> Base:
    """The base as the training knew it: its artifact's manifest tells a folder from a Hub id."""
    model = _model(chosen)
    name, revision = str(model.get("name_or_path") or ""), model.get("revision")
    if not name or revision is None:
        return Base(name_of(str(chosen.candidate["model"] or "")))
    return Base(name, hub_model(name), str(revision))


def _file(path: Path, name: str, folders: Folders) -> File:
    if _WEIGHTS.fullmatch(name):
        return File(name, path)
    file = File(name, path)
    if _CONFIGURATIONS.fullmatch(name):
        with suppress(ValueError, RecursionError):
            found = read_json(path)
            public = folders.public(found)
            if public != found:
                text = json.dumps(public, indent=2, ensure_ascii=False) + "\n"
                file = File(name, path, text.encode("utf-8", errors="surrogatepass"))
    folders.refuse(name, path.read_bytes() if file.content is None else file.content, path)
    return file


def _card(chosen: Chosen, repo: str, base: Base) -> tuple[str, bool]:
    """The card, and whether somebody wrote into it; of such a card only the repository's name is ours.

    InputError where such a card speaks of another seed's weights than those that are sent.
    """
    results, candidate = chosen.results, chosen.candidate
    names = folder_names([one["name"] for one in results["candidates"]])
    path = card_path(chosen.report, names[candidate["name"]])
    no_link(path, chosen.report)
    made = model_card(results, candidate, repo, base, chosen.seed)
    if not path.is_file():
        return made, False
    try:
        lying = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError("not UTF-8", where=str(path), fix="save it as UTF-8, or take it away") from None
    if lying == model_card(results, candidate):
        return made, False
    others = sorted({int(told) for told in _WHOSE.findall(lying)} - {chosen.seed})
    if others:
        what = f"was written into and speaks of the weights of seed {others[0]}, not of seed {chosen.seed}"
        fix = (
            f"push with --seed {others[0]}, change what it says of seeds and their figures, or move it away: "
            f"then a card is made for seed {chosen.seed}"
        )
        raise InputError(what, where=str(path), fix=fix)
    return lying.replace(REPO, repo), True


def lines(payload: Payload) -> Iterator[tuple[str, int, str]]:
    """(file, bytes, what is to be said of it)."""
    for file in payload.files:
        changed = file.content is not None and file.path is not None
        said = "folders of this machine taken out" if changed else ""
        if file.name == CARD:
            said = "the card, as it was edited" if payload.edited_card else "the card"
        yield file.name, file.size, said
