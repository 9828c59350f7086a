"""What there is, as text: plugins and their options, bundled suites, a plan."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from harness import format as fmt
from harness import registry
from harness.errors import InputError
from harness.estimates import Estimate, estimates
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
    lacking = [f"a run needs first: {line}" for line in plan.lacking]
    return "\n".join([*lines, *_money(plan), *lacking])


def _money(plan: Plan) -> list[str]:
    """What servers will be asked, a line for each that asks, and whether the budget is enough."""
    expected, spent = estimates(plan)
    wanted = [estimate for estimate in expected if estimate.requests or not estimate.known]
    lines = [_asked(estimate) for estimate in wanted]
    if wanted:
        guess = "; answers that are not there yet are taken to be as long as the references"
        guessed = any(estimate.guessed for estimate in wanted)
        lines.insert(0, f"what servers will be asked, an estimate{guess if guessed else ''}")
    budget = plan.suite.budget_usd
    if budget is not None:
        lines.append(_budget(wanted, budget, spent.usd))
    return lines


def _asked(estimate: Estimate) -> str:
    if not estimate.known:
        return f"  {estimate.name}: not known before the data are loaded"
    if not estimate.told:
        what = "comparisons" if estimate.is_judge else "calls"
        return f"  {estimate.name}: about {fmt.about(estimate.requests)} {what}, tokens not known"
    cost = f"about {fmt.dollars(estimate.cost_usd)}" if estimate.cost_usd is not None else "price not known"
    return (
        f"  {estimate.name}: about {fmt.about(estimate.requests)} calls, "
        f"{fmt.parameters(estimate.prompt_tokens)} tokens in, "
        f"{fmt.parameters(estimate.completion_tokens)} out, {cost}"
    )


def _budget(expected: Sequence[Estimate], budget: float, spent: float) -> str:
    """Whether the budget is enough and, where it is not, for how many prompts of the dearest it is."""
    left = max(0.0, budget - spent)
    said = f"the budget of {fmt.dollars(budget)}" + (f", {fmt.dollars(left)} of it left," if spent else "")
    if not all(estimate.known and estimate.cost_usd is not None for estimate in expected):
        return f"{said} is held while servers are asked"
    costs = {estimate.name: estimate.cost_usd or 0.0 for estimate in expected}
    if sum(costs.values()) <= left:
        return f"{said} is enough"
    dearest = max(expected, key=lambda estimate: costs[estimate.name])
    remaining = left - (sum(costs.values()) - costs[dearest.name])
    prompts = int(dearest.prompts * remaining / costs[dearest.name])
    if prompts < 1 or not dearest.is_judge:
        return f"{said} is not enough for {fmt.dollars(sum(costs.values()))}"
    return f"{said} is enough for about {prompts} prompts of {dearest.name}: set max_prompts: {prompts}"
