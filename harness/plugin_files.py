"""From a location to a plugin's class: import, and see that it is one.

A location is `package.module` or `/absolute/file.py`. A file is run as a module of its own, in every
process under the same name, and never as a part of a package: a plugin is one file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import protocols
from harness.errors import PluginError, first_line
from harness.validation import suggestion

PROTOCOLS: Mapping[str, type] = {
    "backend": protocols.Backend,
    "evaluator": protocols.Evaluator,
    "judge": protocols.Judge,
}


def load_class(kind: str, location: str, name: str = "") -> tuple[type, str]:
    """The plugin's class and the sha256 of the source it came from.

    Without a `name` the module must hold one public class of this kind. PluginError if it cannot be
    imported or is not a plugin.
    """
    module, code = _import(kind, location)
    cls = _named_class(kind, module, location, name) if name else _only_class(kind, module, location)
    return cls, code


def _import(kind: str, location: str) -> tuple[ModuleType, str]:
    """The module of a location, and the digest of its source."""
    if location.endswith(".py"):
        return _import_file(kind, Path(location))
    try:
        module = importlib.import_module(location)
    except Exception as error:
        raise PluginError(f"{kind} {location} cannot be imported: {_told(error)}") from error
    file = Path(module.__file__) if module.__file__ else None
    return module, _digest(file.read_bytes()) if file else ""


def _import_file(kind: str, path: Path) -> tuple[ModuleType, str]:
    """Run a file as a module whose name is made from its path and content.

    Such a name is the same in every process and meets no other; a changed file is a new module.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise PluginError(f"{kind} cannot be read: {error.strerror}", where=str(path)) from error
    code = _digest(source)
    name = f"harness_plugin_{_digest(str(path).encode() + source)[:16]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name], code
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    try:
        # exec, not a loader: its .pyc, found by mtime and size, would outlive a quick edit.
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except SyntaxError as error:
        del sys.modules[name]
        raise PluginError(f"not Python: {error.msg}", where=f"{path}:{error.lineno}") from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise PluginError(f"{kind} cannot be imported: {_told(error)}", where=where) from error
    return module, code


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _told(error: BaseException) -> str:
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def _named_class(kind: str, module: ModuleType, location: str, name: str) -> type:
    cls = getattr(module, name, None)
    if not isinstance(cls, type):
        classes = [key for key, value in vars(module).items() if _is_own_class(value, module)]
        raise PluginError(f"no class '{name}'", where=location, fix=suggestion(name, classes))
    _demand(kind, cls, location)
    return cls


def _only_class(kind: str, module: ModuleType, location: str) -> type:
    own = [value for value in vars(module).values() if _is_own_class(value, module)]
    complete = [cls for cls in own if not _lacking(kind, cls)]
    if len(complete) > 1:
        names = " and ".join(sorted(cls.__name__ for cls in complete))
        fix = f"name one, as {location}:{complete[0].__name__}, or start the others' names with '_'"
        raise PluginError(f"more than one {kind}: {names}", where=location, fix=fix)
    nearest: list[type] = complete or sorted(own, key=lambda cls: len(_lacking(kind, cls)))
    if not nearest:
        raise PluginError(f"no class that is a {kind}", where=location, fix=f"it needs {_needs(kind)}")
    _demand(kind, nearest[0], location)
    return nearest[0]


def _is_own_class(value: Any, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and value.__name__[0] != "_"


def _members(kind: str) -> list[str]:
    protocol = PROTOCOLS[kind]
    return [n for n in (*vars(protocol), *inspect.get_annotations(protocol)) if not n.startswith("_")]


def _needs(kind: str) -> str:
    methods = vars(PROTOCOLS[kind])
    return ", ".join(f"{name}()" if name in methods else name for name in sorted(_members(kind)))


def _lacking(kind: str, cls: type) -> list[str]:
    return [name for name in _members(kind) if not hasattr(cls, name)]


def _demand(kind: str, cls: type, location: str) -> None:
    """PluginError if a class is not a plugin of this kind."""
    if lacking := _lacking(kind, cls):
        missing = ", ".join(sorted(lacking))
        what = f"class {cls.__name__} is no {kind}: it lacks {missing}"
        raise PluginError(what, where=location, fix=f"needed are {_needs(kind)}")
    if not dataclasses.is_dataclass(cls):
        fix = "put @dataclass(frozen=True) above it"
        raise PluginError(f"class {cls.__name__} is not a dataclass", where=location, fix=fix)
