"""Plugins that a report names: what is installed here may be run for it, but no code that came with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import registry
from harness.errors import PluginError

_PATH_MARKS = ("/", "\\", ":", ".py")


def is_plain(name: str) -> bool:
    """Whether a report may name a plugin so: by a bare name, which leads to no file of its choice."""
    return bool(name) and not any(mark in name for mark in _PATH_MARKS)


def made(kind: str, plugin: Mapping[str, Any], suite_folder: Path | None) -> Any:
    """The plugin {name, options} as it is found now: bundled, installed, or in its folder beside the suite.

    PluginError where there is none, or where it cannot be made with the options it had.
    """
    found = registry.find(kind, plugin["name"], suite_folder)
    if faults := registry.check_options(found.cls, plugin["options"]):
        fault = faults[0]
        raise PluginError(f"{'.'.join(map(str, fault.path))}: {fault.what}", fix=fault.fix)
    return registry.create(registry.make_spec(found, plugin["options"], suite_folder))
