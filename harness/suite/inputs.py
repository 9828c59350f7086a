"""What a suite points to: base models, datasets and templates, looked up on the disk before any work."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from harness.data.formats import COLUMNS
from harness.data.sources import FILE_KINDS, SourceSpec
from harness.errors import DataError, ModelError
from harness.records import ModelRef, Prompting
from harness.suite.keys import PLAIN_KEYS, ModelKeys, PromptingKeys, SourceKeys
from harness.suite.sections import Reader, Written
from harness.suite.specs import DataSpec
from harness.validation import KeyPath, shown, suggestion

HUB_MODEL = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
HUB_DATASET = re.compile(r"\w[\w-]*|\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""Without an owner it has no dot: `rows.jsn` is a file's name with a slip in it."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
)
TEMPLATES = ("chat", "alpaca", "plain")


def read_model(reader: Reader, written: Written) -> ModelRef:
    """A base model: a folder relative to the suite, or a Hub id with its revision."""
    place = written.at("name_or_path")
    if isinstance(written.value, str):
        written, place = Written({"name_or_path": written.value}, written.path), written.path
    elif not isinstance(written.value, dict):
        what = f"expected a folder, a Hub id or {{name_or_path: ...}}, got {shown(written.value)}"
        reader.fault(written.path, what)
        return ModelRef("")
    keys = reader.section(ModelKeys, written)
    if not keys.name_or_path:
        if not isinstance(written.value.get("name_or_path"), bool | int | float | list | dict):
            reader.fault(place, "missing", "give a folder or a Hub id")
        return ModelRef("")
    if not _is_local(keys.name_or_path, reader.folder):
        if not HUB_MODEL.fullmatch(keys.name_or_path):
            fix = _neighbour(_resolved(keys.name_or_path, reader.folder))
            reader.fault(place, f"no such folder: {keys.name_or_path}", fix, ModelError)
        return ModelRef(keys.name_or_path, keys.revision or "main")
    if keys.revision is not None:
        reader.fault(written.at("revision"), "a folder has no revision", "leave it out")
    folder = _resolved(keys.name_or_path, reader.folder)
    if trouble := _model_trouble(folder):
        what, fix = trouble
        reader.fault(place, f"{keys.name_or_path}: {what}", fix or _neighbour(folder), ModelError)
    return ModelRef(str(folder))


def _is_local(text: str, folder: Path) -> bool:
    return text.startswith((".", "/", "~")) or _resolved(text, folder).exists()


def _resolved(text: str, folder: Path) -> Path:
    return (folder / Path(text).expanduser()).resolve()


def _neighbour(path: Path) -> str:
    """The remedy for a path that is not there: a name beside it that is near."""
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"did you mean '{near[0]}'?" if near else "paths are relative to the suite's file"


def _model_trouble(folder: Path) -> tuple[str, str] | None:
    """(what, fix) if a folder holds no model that can be loaded; no fix where the folder is missing."""
    if not folder.is_dir():
        return (
            ("is not a folder", "give the folder that holds config.json")
            if folder.exists()
            else ("no such folder", "")
        )
    if not (folder / "config.json").is_file():
        return "has no config.json", "give a folder that save_pretrained wrote"
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return f"config.json is not JSON ({error})", "download the model again"
    if trouble := _weights_trouble(folder):
        return trouble
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return "has no tokenizer", "save the tokenizer into the same folder"
    return None


def _weights_trouble(folder: Path) -> tuple[str, str] | None:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError):
            return f"{index.name} is not an index of weights", "download the model again"
        missing = [name for name in shards if not (folder / name).is_file()]
        return (
            (f"lacks {missing[0]}, which {index.name} names", "download the model again") if missing else None
        )
    if (folder / "model.safetensors").is_file():
        return None
    if any(folder.glob("pytorch_model*.bin")):
        return "holds pickled weights alone, which are never loaded", "save the model as safetensors"
    return "has no model.safetensors", "give a folder that save_pretrained wrote"


def read_sources(reader: Reader, written: Written) -> tuple[SourceSpec, ...]:
    """One source, or a list of them that is read as one mixture."""
    value = written.value
    if not isinstance(value, list):
        return _found(_source(reader, written))
    if not value:
        reader.fault(written.path, "the list is empty", "give at least one dataset")
    found = [_source(reader, Written(item, written.at(index))) for index, item in enumerate(value)]
    return tuple(source for source in found if source is not None)


def _found(source: SourceSpec | None) -> tuple[SourceSpec, ...]:
    return () if source is None else (source,)


def _source(reader: Reader, written: Written) -> SourceSpec | None:
    place = written.at("path")
    if isinstance(written.value, str):
        written, place = Written({"path": written.value}, written.path), written.path
    elif not isinstance(written.value, dict):
        what = f"expected a file, a folder, a Hub id or {{path: ...}}, got {shown(written.value)}"
        reader.fault(written.path, what)
        return None
    keys = reader.section(SourceKeys, written)
    if keys.path is None:
        if written.value.get("path") is None:
            reader.fault(place, "missing", "give a file, a folder or a Hub id")
        return None
    for column in keys.columns or {}:
        if column not in COLUMNS:
            reader.fault(written.at("columns", column), "unknown column of ours", suggestion(column, COLUMNS))
    local = _is_local_source(keys.path, reader.folder)
    path = _resolved(keys.path, reader.folder)
    if local:
        _check_hub_keys(reader, written, keys)
        _check_path(reader, place, keys.path, path)
    return SourceSpec(
        path=str(path) if local else keys.path,
        format=keys.format,
        columns=keys.columns or {},
        split=keys.split,
        name=keys.name,
        revision=keys.revision,
        local=local,
    )


def _is_local_source(text: str, folder: Path) -> bool:
    return text.lower().endswith(FILE_KINDS) or _is_local(text, folder) or not HUB_DATASET.fullmatch(text)


def _check_hub_keys(reader: Reader, written: Written, keys: SourceKeys) -> None:
    for key in ("name", "revision"):
        if getattr(keys, key) is not None:
            reader.fault(written.at(key), "would not be read", "it is for datasets of the Hub")


def _check_path(reader: Reader, place: KeyPath, text: str, path: Path) -> None:
    if not path.exists():
        reader.fault(place, f"no such file or folder: {text}", _neighbour(path), DataError)
    elif path.is_file() and path.suffix.lower() not in FILE_KINDS:
        reader.fault(place, f"unknown kind of file: {text}", f"known are {', '.join(FILE_KINDS)}", DataError)


def check_apart(reader: Reader, data: DataSpec) -> None:
    """A fault where one part of the data is the same as another that is held out of it."""
    if data.overlap != "remove":
        return
    parts = {"eval": _identities(data.eval), "validation": _identities(data.validation)}
    for held_out, name in (("eval", "train"), ("validation", "train"), ("eval", "validation")):
        part = _identities(data.train) if name == "train" else parts[name]
        if part and part <= parts[held_out]:
            what = f"is the same data as data.{name}, none of which would be left"
            default = "leave it out, and some rows of train are held out"
            fix = default if held_out == "eval" else "give a share of train, such as 0.1"
            reader.fault(("data", held_out), what, f"give other data, or {fix}", DataError)
            return


def _identities(split: Any) -> set[tuple[Any, ...]]:
    """The sources of a part of the data, by what is read of them."""
    sources = split if isinstance(split, tuple) else ()
    return {(source.path, source.split, source.name, source.revision) for source in sources}


def read_split(reader: Reader, written: Written) -> float | int | tuple[SourceSpec, ...]:
    """A share of the training data, a number of its examples, or sources of its own."""
    value = written.value
    if isinstance(value, str | list | dict):
        return read_sources(reader, written)
    if isinstance(value, bool) or not isinstance(value, int | float):
        reader.fault(written.path, f"expected a share, a number of examples or a source, got {shown(value)}")
        return 1
    if not (0 < value < 1 if isinstance(value, float) else value >= 1):
        fix = "a float is a share below 1, a whole number a number of examples"
        reader.fault(written.path, f"must be above 0, and below 1 as a float, got {value}", fix)
    return value


def read_prompting(reader: Reader, written: Written) -> Prompting:
    """The template, with its source where it is a file of the user's, and the limits of a row."""
    keys = reader.section(PromptingKeys, written)
    if keys.template != "plain":
        for key in PLAIN_KEYS:
            if key in keys.model_fields_set:
                reader.fault(written.at(key), "would not be read", "set template: plain")
    for key in ("max_length_prompt", "max_length_answer"):
        limit = getattr(keys, key)
        if limit is not None and limit >= keys.max_length:
            what = f"cannot be reached: max_length, for both together, is {keys.max_length}"
            reader.fault(written.at(key), what, f"raise max_length, or lower or leave out {key}")
    options = keys.model_dump(exclude={"template"})
    if keys.template in TEMPLATES:
        return Prompting(keys.template, **options)
    source = _template_file(reader, written.at("template"), keys.template)
    return Prompting() if source is None else Prompting("jinja", source, **options)


def _template_file(reader: Reader, place: KeyPath, text: str) -> str | None:
    path = _resolved(text, reader.folder)
    if path.suffix != ".jinja":
        hint = suggestion(text, TEMPLATES)
        fix = f"{hint} {_TEMPLATE_FIX}" if hint.startswith("did") else _TEMPLATE_FIX
        reader.fault(place, f"unknown template '{text}'", fix)
    elif not path.is_file():
        reader.fault(place, f"no such file: {text}", _neighbour(path))
    else:
        return _template_source(reader, place, path, text)
    return None


_TEMPLATE_FIX = "use chat, alpaca, plain or the path of a .jinja file"


def _template_source(reader: Reader, place: KeyPath, path: Path, text: str) -> str:
    import jinja2

    try:
        source = path.read_text(encoding="utf-8")
        # The extensions are those that transformers renders chat templates with.
        environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])  # noqa: S701 - parsed alone
        environment.parse(source)
    except jinja2.TemplateSyntaxError as error:
        reader.fault(place, f"{text}:{error.lineno}: not Jinja: {error.message}")
    except (OSError, UnicodeDecodeError) as error:
        reader.fault(place, f"{text} cannot be read: {error}")
    else:
        return source
    return ""
