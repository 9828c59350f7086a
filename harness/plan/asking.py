"""What a plugin is asked before any work: its errors name it, and none of them is a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness import registry
from harness.errors import HarnessError, InputError, PluginError, first_line
from harness.protocols import Identifies
from harness.records import PluginSpec
from harness.validation import shown


@contextmanager
def blaming(plugin: str, method: str) -> Iterator[None]:
    """PluginError that names plugin and method for whatever is raised inside and is no error of ours."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        what = f"{plugin} failed in {method}(): {type(error).__name__}: {first_line(error)}"
        raise PluginError(what, fix="mend the plugin") from error


def identity(spec: PluginSpec, where: str = "") -> str | None:
    """What else than its options a plugin's results depend on; None: nothing.

    InputError where it cannot say, at the plugin's place in the suite.
    """
    try:
        return _identity(spec)
    except InputError as error:
        if error.where or not where:
            raise
        raise type(error)(error.what, where=where, fix=error.fix) from error


def _identity(spec: PluginSpec) -> str | None:
    plugin, name = registry.create(spec), f"{spec.kind} '{spec.name}'"
    if not isinstance(plugin, Identifies):
        return None
    with blaming(name, "identity"):
        found: object = plugin.identity()
    if not isinstance(found, str):
        raise PluginError(f"{name} returned {shown(found)} from identity()", fix="return text")
    return found
