"""Reading the parts of a suite, with every fault collected instead of only the first."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from harness import registry
from harness.errors import InputError, PluginError, SuiteError
from harness.records import PluginSpec
from harness.registry import Plugin
from harness.suite.keys import NAME
from harness.suite.settings import Section
from harness.validation import Fault, KeyPath, faults_of, shown, suggestion

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Written:
    """A value and where it stands."""

    value: Any
    path: KeyPath

    def at(self, *steps: str | int) -> KeyPath:
        """The place of something inside of the value."""
        return (*self.path, *steps)


@dataclass
class Reader:
    """Turns written values into settings. What is wrong goes into `faults`, and reading goes on.

    After a fault a placeholder stands for the value; the caller raises before anything uses it. `folder`
    is that of the suite: relative paths start there.
    """

    folder: Path
    faults: list[Fault] = field(default_factory=list)
    _plugins: dict[tuple[str, str], Plugin] = field(default_factory=dict)

    def fault(self, path: KeyPath, what: str, fix: str = "", kind: type[InputError] = SuiteError) -> None:
        """Note that something is wrong at a place."""
        self.faults.append(Fault(path, what, fix, kind))

    def mapping(self, written: Written, what: str = "a mapping of keys") -> dict[str, Any]:
        """The mapping that is written; nothing counts as an empty one."""
        if written.value is None:
            return {}
        if isinstance(written.value, dict):
            return written.value
        self.fault(written.path, f"expected {what}, got {shown(written.value)}")
        return {}

    def section(self, model: type[S], written: Written) -> S:
        """The keys of a section; those that are wrong have their default instead."""
        values = self.mapping(written)
        known = {key: value for key, value in values.items() if key in model.model_fields}
        for key in values:
            if key not in known:
                self.unknown(model, written.at(key), model.model_fields)
        try:
            return model.model_validate(known)
        except ValidationError as error:
            details = error.errors()
            self.faults += faults_of(details, written.path)
            wrong = {detail["loc"][0] for detail in details}
            return model.model_validate({key: value for key, value in known.items() if key not in wrong})

    def unknown(self, model: type[Section], path: KeyPath, known: Iterable[str], what: str = "") -> None:
        """Note a key that is not read, with what to write instead."""
        key = str(path[-1])
        fix = model.renamed.get(key) or suggestion(key, known, model.aliases)
        self.fault(path, what or "unknown key", fix)

    def choice(self, written: Written, what: str) -> tuple[str, Written] | None:
        """A name with options: `name`, or a mapping `{name: options}` with that one key."""
        match written.value:
            case str(name):
                return name, Written({}, written.path)
            case dict() as mapping if len(mapping) == 1:
                [(name, options)] = mapping.items()
                inner = Written(options, written.at(name))
                return name, Written(self.mapping(inner, "options"), inner.path)
            case dict() as mapping if mapping:
                self.fault(written.path, f"expected one {what}, got {', '.join(mapping)}")
            case _:
                self.fault(
                    written.path, f"expected {what} or {{{what}: options}}, got {shown(written.value)}"
                )
        return None

    def plugin(self, kind: str, spelled: str, path: KeyPath) -> Plugin | None:
        """The plugin that is spelled so; a fault if it is not to be had."""
        if (kind, spelled) not in self._plugins:
            try:
                self._plugins[kind, spelled] = registry.find(kind, spelled, self.folder)
            except PluginError as error:
                what = f"{error.where}: {error.what}" if error.where else error.what
                self.fault(path, what, error.fix, PluginError)
        return self._plugins.get((kind, spelled))

    def spec(self, plugin: Plugin, options: Written) -> PluginSpec | None:
        """The plugin with its options; a fault if it does not take them."""
        try:
            faults = registry.check_options(plugin.cls, options.value, options.path)
            self.faults += faults
            return None if faults else registry.make_spec(plugin, options.value, self.folder)
        except PluginError as error:
            self.fault(options.path, error.what, error.fix, PluginError)
            return None

    def name(self, value: Any, path: KeyPath) -> bool:
        """Whether a value can be a name; a fault if not."""
        if isinstance(value, str) and re.fullmatch(NAME, value):
            return True
        got = f"'{value}'" if isinstance(value, str) else shown(value)
        fix = "use letters, digits, '.', '_' and '-', the first a letter or digit"
        self.fault(path, f"{got} cannot be a name", fix)
        return False
