"""What there is, as text: plugins and their options, bundled suites, a plan."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from harness import registry
from harness.errors import InputError
from harness.plan import Plan
from harness.suite.yaml_source import read_document


def list_plugins(kind: str, suite_folder: Path | None) -> str:
    """Every plugin of a kind with its description and options."""
    blocks = [_plugin(kind, source, suite_folder) for source in registry.known(kind, suite_folder)]
    return "\n".join([f"{kind}s", *blocks, ""])


def _plugin(kind: str, source: registry.Source, suite_folder: Path | None) -> str:
    try:
        plugin = registry.find(kind, source.name, suite_folder)
    except InputError as error:
        return f"  {source.name:<16} cannot be used: {error}"
    description = registry.describe(plugin.cls)
    lines = [f"  {source.name:<16} {description.summary} ({source.origin})"]
    for option in description.options:
        default = "required" if option.required else f"= {option.default!r}"
        lines.append(f"      {option.name}: {option.type} {default}  {option.help}")
    return "\n".join(lines)


def bundled_suites() -> dict[str, str]:
    """The suites that come with the harness: name -> description."""
    paths = sorted(registry.bundled("suites").glob("*/suite.yaml"))
    return {path.parent.name: read_document(path, path.name).value.get("description", "") for path in paths}


def copy_bundled_suite(name: str, destination: Path) -> Path:
    """Copy a bundled suite with its data; InputError if it is unknown or `destination` exists."""
    names = bundled_suites()
    if name not in names:
        raise InputError(f"no bundled suite '{name}'", fix=f"known are {', '.join(names)}")
    if destination.exists():
        raise InputError("is there already", where=str(destination), fix="name another destination")
    ignore = shutil.ignore_patterns("__pycache__", ".harness", "reports")
    try:
        shutil.copytree(registry.bundled("suites") / name, destination, ignore=ignore)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(destination)) from error
    return destination


def describe_plan(plan: Plan) -> str:
    """What a run would do, a line a step, and how much of it is in the store already."""
    lines = [f"suite {plan.suite.name}: {len(plan.suite.candidates)} candidates, base among them"]
    lines += [f"data  {facts}" for facts in plan.data_facts]
    counts = Counter(plan.store.has(step.key) for step in plan.steps.values())
    width = max(40, *(len(name) for name in plan.steps))
    for step in plan.steps.values():
        state = "cached" if plan.store.has(step.key) else "to do"
        lines.append(f"  {state:<7} {step.name:<{width}} {step.key.rpartition('-')[2][:12]}")
    lines.append(f"{counts[False]} steps to do, {counts[True]} cached")
    return "\n".join(lines)
