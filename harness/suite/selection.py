"""What a suite chooses: a backend, evaluators, judges, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness import registry
from harness.errors import PluginError, first_line
from harness.protocols import trait
from harness.records import PluginSpec
from harness.registry import Plugin
from harness.suite.sections import Reader, Written
from harness.text import well_formed
from harness.validation import shown

MAX_SEED = 2**32 - 1
"""numpy's generators take no larger one."""


class Chosen(NamedTuple):
    """A plugin of a list, under the name it has on the board, with its options as written."""

    name: str
    spec: PluginSpec
    options: Written


def read_backend(reader: Reader, written: Written) -> tuple[Plugin | None, PluginSpec]:
    """The backend; no plugin after a fault."""
    chosen = reader.choice(written, "backend")
    if chosen is not None:
        spelled, options = chosen
        plugin = reader.plugin("backend", spelled, options.path)
        if plugin is not None and (spec := reader.spec(plugin, options)) is not None:
            return plugin, spec
    return None, PluginSpec("backend", "", "")


def read_plugins(reader: Reader, kind: str, written: Written, reserved: frozenset[str]) -> list[Chosen]:
    """The evaluators or judges of a list; `reserved` are the keys beside a plugin's own options."""
    if not isinstance(written.value, list):
        reader.fault(written.path, f"expected a list of {kind}s, got {shown(written.value)}")
        return []
    found: list[Chosen] = []
    for index, item in enumerate(written.value):
        chosen = _chosen(reader, kind, Written(item, written.at(index)), reserved)
        if chosen is None:
            continue
        if any(other.name == chosen.name for other in found):
            fix = "give one of them another by name: in its options"
            reader.fault(chosen.options.path, f"two {kind}s are called '{chosen.name}'", fix)
            continue
        found.append(chosen)
    return found


def _chosen(reader: Reader, kind: str, item: Written, reserved: frozenset[str]) -> Chosen | None:
    choice = reader.choice(item, kind)
    if choice is None:
        return None
    spelled, options = choice
    plugin = reader.plugin(kind, spelled, options.path)
    if plugin is None:
        return None
    own = {key: value for key, value in options.value.items() if key not in reserved}
    spec = reader.spec(plugin, Written(own, options.path))
    name = options.value.get("name", plugin.name)
    if not reader.name(name, options.at("name")) or spec is None:
        return None
    return Chosen(name, spec, options)


def read_prompts(reader: Reader, chosen: Chosen) -> Mapping[str, str]:
    """The prompts that a judge or an evaluator sends a model, by name; it may have none."""
    name = f"{chosen.spec.kind} '{chosen.spec.name}'"
    made = registry.create(chosen.spec)
    try:
        found = dict(trait(made, "prompts"))
        return {well_formed(title): well_formed(text) for title, text in found.items()}
    except Exception as error:
        what = f"{name} has no readable prompts: {type(error).__name__}: {first_line(error)}"
        reader.fault(chosen.options.path, what, "prompts: name -> text", PluginError)
        return {}


def read_seeds(reader: Reader, written: Written) -> tuple[int, ...]:
    """One seed, or a list of them: each is a trial of its own."""
    several = isinstance(written.value, list)
    values = written.value if several else [written.value]
    for index, seed in enumerate(values):
        path = written.at(index) if several else written.path
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            reader.fault(path, f"expected a whole number from 0 to {MAX_SEED}, got {shown(seed)}")
        elif seed in values[:index]:
            reader.fault(path, f"seed {seed} is there twice", "each seed is one trial")
    if not values:
        reader.fault(written.path, "no seeds", "give at least one")
    return tuple(values)
