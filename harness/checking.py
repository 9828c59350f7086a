"""What `harness check` does: probes in a worker, judges here, and a table of what was found."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry, worker
from harness.errors import InputError
from harness.executors.local import LocalExecutor
from harness.gate import recipes_of
from harness.json_files import read_json, read_jsonl
from harness.modeling.probes.results import (
    BASE_PROBES,
    JUDGE_PROBES,
    RECIPE_PROBES,
    RESULTS,
    ProbeResult,
)
from harness.plan import Plan, compile_plan
from harness.protocols import Reaches, answerable
from harness.records import PluginSpec, to_json
from harness.store import Store, canonical
from harness.suite import EvaluatorSpec, JudgeSpec, load_suite
from harness.validation import suggestion

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class Served:
    """A candidate that a server answers for; it is asked whether it would, as a judge is."""

    name: str
    plugin: PluginSpec


Asking = JudgeSpec | EvaluatorSpec | Served
CHECKS = "harness.modeling.probes.checking"
PROBES = (*BASE_PROBES, *RECIPE_PROBES, *JUDGE_PROBES)
POLL_SECONDS = 0.1
STYLES = {"pass": "green", "fail": "bold red", "skipped": "dim"}


def chosen_probes(only: Collection[str]) -> tuple[str, ...]:
    """The probes that are asked for, all of them if none is named; InputError for an unknown name."""
    for name in only:
        if name not in PROBES:
            raise InputError(f"no probe '{name}'", where="--only", fix=suggestion(name, PROBES))
    return tuple(name for name in PROBES if not only or name in only)


def plan_without_judges(path: Path, overrides: Sequence[str], store: Path) -> tuple[Plan, list[Asking]]:
    """A suite's plan without judging, and its judges, with all else that asks a server as they do.

    One that could not run is to be a row of the table; a plan would not come about with it.
    """
    suite = load_suite(path, overrides)
    judges: dict[str, Asking] = {}
    candidates = []
    for candidate in suite.candidates:
        asking = [
            e for e in candidate.evaluators if isinstance(answerable(registry.create(e.plugin)), Reaches)
        ]
        judges |= {judge.name: judge for judge in candidate.judges}
        judges |= {evaluator.name: evaluator for evaluator in asking}
        if isinstance(answerable(registry.create(candidate.backend)), Reaches):
            judges |= {f"candidate {candidate.name}": Served(candidate.name, candidate.backend)}
        offline = tuple(e for e in candidate.evaluators if e not in asking)
        candidates.append(replace(candidate, judges=(), evaluators=offline))
    plan = compile_plan(replace(suite, judges=(), candidates=tuple(candidates)), Store(store))
    return plan, list(judges.values())


def check(plan: Plan, judges: Sequence[Asking], probes: Collection[str]) -> list[ProbeResult]:
    """What a worker found; `prepare` must have been run."""
    params = {
        "bases": _bases(plan),
        "recipes": _unlike(recipes_of(plan.steps.values())),
        "prompting": to_json(plan.suite.prompting),
        "judges": [{"name": judge.name, "plugin": to_json(judge.plugin)} for judge in judges],
        "only": list(probes),
    }
    inputs = {"data": plan.store.open(plan.steps["prepare"].key)}
    executor = LocalExecutor()
    try:
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            future = executor.submit(worker.make_aside, CHECKS, params, inputs, Path(folder))
            _watch(future, Path(folder) / worker.PROGRESS)
            future.result()
            return read_jsonl(Path(folder) / RESULTS, ProbeResult)
    finally:
        executor.shutdown()


def _bases(plan: Plan) -> list[dict[str, Any]]:
    """Each base model of the suite once; whether a candidate packs rows for it, and how one quantises it."""
    bases: dict[str, dict[str, Any]] = {}
    for candidate in plan.suite.candidates:
        model = plan.identities.model(candidate.model)
        name = "base" if candidate.model == plan.suite.model else Path(model.name_or_path).name
        fresh = {"name": name, "model": to_json(model), "packing": False, "quantization": None}
        base = bases.setdefault(model.identity, fresh)
        packs = any(candidate.training.get(key) for key in ("packing", "padding_free"))
        base["packing"] = base["packing"] or packs
        options = candidate.method.options if candidate.method else {}
        base["quantization"] = base["quantization"] or to_json(options.get("quantization"))
    return list(bases.values())


def _unlike(recipes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of those recipes that differ only in numbers no probe depends on."""
    different: dict[str, dict[str, Any]] = {}
    for recipe in recipes:
        shape = {key: value for key, value in recipe["training"].items() if key in SHAPING}
        parts = [recipe["model"], recipe["method"], recipe["backend"], shape]
        different.setdefault(canonical(parts), recipe)
    return list(different.values())


SHAPING = frozenset({
    "activation_checkpointing", "bf16", "completion_only_loss", "deepspeed", "dropout", "fp16",
    "learning_rate", "optim", "optim_args", "packing", "padding_free", "per_device_train_batch_size",
    "gradient_accumulation_steps",
})  # fmt: skip
"""Training keys that a probe may depend on."""


def _watch(future: Future[None], path: Path) -> None:
    """Show in a terminal how far the worker is, until it is done."""
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("loading the model")) as status:
        while not future.done():
            time.sleep(POLL_SECONDS)
            try:
                seen = read_json(path)
            except (OSError, ValueError):
                continue  # not written yet, or being replaced
            status.update(Text(f"{seen['done']}/{seen['total']} {seen['note']}"))


def _table(results: Sequence[ProbeResult]) -> RenderableType:
    """One line a probe: verdict, subject, probe, figure, and below a failure its fix."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for head in ("result", "of", "probe"):
        shown.add_column(head, no_wrap=True)
    shown.add_column("figure", overflow="fold")
    for result in results:
        figure = Text(result.figure)
        if result.fix:
            figure.append(f"\nfix: {result.fix}", "yellow")
        shown.add_row(Text(result.status, STYLES[result.status]), result.subject, result.name, figure)
    return shown


def report_checks(results: Sequence[ProbeResult], *, as_json: bool) -> str:
    """All results as text: a table with a line that counts them, or JSON."""
    counts = {status: sum(result.status == status for result in results) for status in STYLES}
    if as_json:
        value = {"passed": counts["fail"] == 0, "counts": counts, "results": to_json(results)}
        return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    from rich.console import Console

    console = Console()
    with console.capture() as capture:
        console.print(_table(results))
    shown = "\n".join(line.rstrip() for line in capture.get().splitlines())
    return f"{shown}\n\n{counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} skipped\n"
