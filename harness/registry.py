"""Names to plugins, and options to instances. Nothing is imported until it is chosen.

A plugin is one file with one public dataclass that has its protocol's methods; the file's stem is its
name. Three spellings find it: a bare name (built in, in `judges/`, `evaluators/` or `backends/` beside the
suite, or an entry point), `package.module:Class`, `./file.py:Class`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError, InputError, PluginError
from harness.plugin_files import load_class
from harness.records import PluginSpec
from harness.validation import Fault, KeyPath, faults_of, in_words, shown, suggestion

if TYPE_CHECKING:
    from pydantic import TypeAdapter

PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Source:
    """Where a bare name leads: `location` is a file, `package.module` or `package.module:Class`.

    `origin` is `built in`, `beside the suite`, or `entry point of <distribution>`.
    """

    name: str
    location: str
    origin: str


@dataclass(frozen=True)
class Plugin:
    """A plugin that was found and imported; `location` and `code` are those of its PluginSpec."""

    kind: str
    name: str
    location: str
    code: str
    cls: type


@dataclass(frozen=True)
class OptionInfo:
    """An option of a plugin; `default` is None where it is `required`."""

    name: str
    type: str
    required: bool
    default: Any
    help: str
    changes_result: bool


@dataclass(frozen=True)
class Description:
    """What `harness plugins` says of a plugin: its docstring's first line, and its options."""

    summary: str
    options: tuple[OptionInfo, ...]


def bundled(name: str) -> Path:
    """The folder `judges` or `suites` that comes with the harness: in the wheel, or in the clone.

    The wheel's is looked for first: site-packages may hold a stranger's `judges`.
    """
    for folder in (PACKAGE / "_bundled" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise HarnessError(f"this installation lacks its folder '{name}'; install sft-harness again")


def known(kind: str, suite_folder: Path | None = None) -> list[Source]:
    """All plugins that a bare name reaches, sorted by name; a name that is there twice is ambiguous."""
    folder = f"{kind}s"
    if kind == "judge":
        sources = [Source(path.stem, str(path), "built in") for path in _plugin_files(bundled(folder))]
    else:
        built_in = _plugin_files(PACKAGE / folder)
        sources = [Source(path.stem, f"harness.{folder}.{path.stem}", "built in") for path in built_in]
    if suite_folder is not None:
        comes_along = {source.name: Path(source.location) for source in sources if kind == "judge"}
        for path in _plugin_files(suite_folder / folder):
            if not _same_file(path, comes_along.get(path.stem)):
                sources.append(Source(path.stem, str(path), "beside the suite"))
    for entry in metadata.entry_points(group=f"harness.{folder}"):
        distribution = entry.dist.name if entry.dist else "an unknown distribution"
        sources.append(Source(entry.name, entry.value, f"entry point of {distribution}"))
    return sorted(dict.fromkeys(sources), key=lambda source: (source.name, source.location))


def _same_file(path: Path, other: Path | None) -> bool:
    """Whether two files hold the same: a suite in a clone has the bundled judges beside it once more."""
    return other is not None and path.read_bytes() == other.read_bytes()


def _plugin_files(folder: Path) -> list[Path]:
    return [path.resolve() for path in sorted(folder.glob("*.py")) if path.stem[0] not in "_."]


def find(kind: str, spelled: str, suite_folder: Path | None = None) -> Plugin:
    """The plugin that is spelled so; PluginError if there is none, more than one, or a broken one."""
    location, colon, attribute = spelled.partition(":")
    if location.endswith(".py") or "/" in location:
        path = ((suite_folder or Path.cwd()) / Path(location).expanduser()).resolve()
        return _plugin(kind, path.stem, str(path), attribute)
    if colon:
        return _plugin(kind, location.rpartition(".")[2], location, attribute)
    sources = known(kind, suite_folder)
    found = [source for source in sources if source.name == spelled]
    if not found:
        raise PluginError(f"unknown {kind} '{spelled}'", fix=_remedy(kind, spelled, sources))
    if len(found) > 1:
        places = " and ".join(f"{source.location} ({source.origin})" for source in found)
        raise PluginError(f"{kind} '{spelled}' is ambiguous: {places}", fix="rename one of them")
    location, _, attribute = found[0].location.partition(":")
    return _plugin(kind, spelled, location, attribute)


def _remedy(kind: str, spelled: str, sources: list[Source]) -> str:
    names = sorted({source.name for source in sources})
    listed = f"known are {', '.join(names)}" if names else f"no {kind} is installed"
    hint = suggestion(spelled, names)
    return f"{hint} {listed}" if hint.startswith("did") else listed


def _plugin(kind: str, name: str, location: str, attribute: str) -> Plugin:
    cls, code = load_class(kind, location, attribute)
    return Plugin(kind, name, f"{location}:{cls.__qualname__}", code, cls)


def check_options(cls: type, options: Mapping[str, Any], path: KeyPath = ()) -> list[Fault]:
    """What is wrong with options that stand at `path`: unknown, missing, or not of the field's type."""
    known_options = {info.name: info for info in describe(cls).options}
    faults = []
    for name in options:
        if name in known_options:
            faults += _type_faults(cls, known_options[name], options[name], (*path, name))
        else:
            fix = suggestion(name, known_options) or "it takes no options"
            faults.append(Fault((*path, name), "unknown option", fix, PluginError))
    for info in known_options.values():
        if info.required and info.name not in options:
            faults.append(
                Fault((*path, info.name), f"missing, needs {in_words(info.type)}", info.help, PluginError)
            )
    return faults


def _type_faults(cls: type, info: OptionInfo, value: Any, path: KeyPath) -> list[Fault]:
    from pydantic import ValidationError

    try:
        _convert(_adapters(cls)[info.name], value)
    except ValidationError as error:
        details = error.errors()
        if len(details) > 1 or details[0]["type"].endswith("_type"):  # each branch of a union reports
            return [Fault(path, f"expected {in_words(info.type)}, got {shown(value)}", kind=PluginError)]
        return [fault._replace(kind=PluginError) for fault in faults_of(details, path)]
    return []


def make_spec(plugin: Plugin, options: Mapping[str, Any], folder: Path | None = None) -> PluginSpec:
    """A chosen plugin with valid options, defaults filled in; PluginError if it refuses them.

    Texts that start with `./` or `../`, and all options of type Path or of several, are relative to `folder`.
    """
    adapters = _adapters(plugin.cls)
    filled: dict[str, Any] = {}
    for f in _fields(plugin.cls):
        if f.name in options:
            filled[f.name] = _anchored(options[f.name], adapters[f.name], folder)
        else:
            default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
            filled[f.name] = adapters[f.name].dump_python(default, mode="json")
    spec = PluginSpec(plugin.kind, plugin.name, plugin.location, filled, plugin.code)
    _instance(spec, plugin.cls)
    return spec


def _anchored(value: Any, adapter: TypeAdapter[Any], folder: Path | None) -> Any:
    if folder is None or not isinstance(value, str | list):
        return value
    converted = _convert(adapter, value)
    if isinstance(value, str):
        is_path = value.startswith(("./", "../")) or isinstance(converted, Path)
        return _absolute(value, folder) if is_path else value
    if not all(isinstance(item, Path) for item in converted):
        return value
    return [_absolute(item, folder) for item in value]


def _absolute(path: str, folder: Path) -> str:
    return str((folder / Path(path).expanduser()).resolve())


def create(spec: PluginSpec) -> Any:
    """The plugin of a spec, in any process; PluginError if its source is not what was planned with."""
    plugin = _load(spec)
    if spec.code and plugin.code != spec.code:
        what = f"the source of {spec.kind} '{spec.name}' has changed since the plan was made"
        raise PluginError(what, where=spec.location.rpartition(":")[0], fix="run again")
    return _instance(spec, plugin.cls)


def key_options(spec: PluginSpec) -> dict[str, Any]:
    """The options that can change a result, as they belong in a cache key: a path counts by content."""
    fields = _fields(_load(spec).cls)
    volatile = {f.name for f in fields if not f.metadata.get("changes_result", True)}
    return {name: _by_content(value) for name, value in spec.options.items() if name not in volatile}


def _by_content(value: Any) -> Any:
    """A file, or a folder's files of one level below, by content, also in a list; other values as they are.

    Not deeper: a text that happens to name a large folder must not cost the reading of a disk.
    """
    if isinstance(value, list):
        return [_by_content(item) for item in value]
    if not isinstance(value, str) or not Path(value).is_absolute() or not Path(value).exists():
        return value
    root = Path(value)
    files = [root] if root.is_file() else sorted(p for p in root.iterdir() if p.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _load(spec: PluginSpec) -> Plugin:
    location, _, attribute = spec.location.rpartition(":")
    return _plugin(spec.kind, spec.name, location, attribute)


def _instance(spec: PluginSpec, cls: type) -> Any:
    adapters = _adapters(cls)
    try:
        return cls(**{name: _convert(adapters[name], value) for name, value in spec.options.items()})
    except InputError:
        raise
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise PluginError(f"{spec.kind} '{spec.name}' refuses its options: {reason}") from error


@cache
def _adapters(cls: type) -> dict[str, TypeAdapter[Any]]:
    """What validates and converts each option of a plugin."""
    from pydantic import TypeAdapter

    try:
        hints = typing.get_type_hints(cls, include_extras=True)
        return {f.name: TypeAdapter(hints[f.name]) for f in _fields(cls)}
    except Exception as error:  # a name that only a type checker sees, a type that pydantic does not know
        raise PluginError(
            f"the options of class {cls.__name__} have types that cannot be read: {error}"
        ) from error


def _convert(adapter: TypeAdapter[Any], value: Any) -> Any:
    # Strict, but by JSON's rules: a list is a tuple's form there, and a text a path's.
    return adapter.validate_json(json.dumps(value), strict=True)


def _fields(cls: type) -> list[dataclasses.Field[Any]]:
    return [f for f in dataclasses.fields(cls) if f.init]


def describe(cls: type) -> Description:
    """A plugin's description and options, from its docstring and its dataclass fields."""
    text = inspect.getdoc(cls) or ""
    generated = text.startswith(f"{cls.__name__}(")  # what @dataclass writes where there is no docstring
    return Description("" if generated else text.partition("\n")[0], tuple(map(_option_info, _fields(cls))))


def _option_info(f: dataclasses.Field[Any]) -> OptionInfo:
    name = f.type if isinstance(f.type, str) else inspect.formatannotation(f.type)
    if f.default_factory is not dataclasses.MISSING:
        required, default = False, f.default_factory()
    else:
        required = f.default is dataclasses.MISSING
        default = None if required else f.default
    text = f.metadata.get("help", "")
    return OptionInfo(f.name, name, required, default, text, f.metadata.get("changes_result", True))
