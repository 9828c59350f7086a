"""Every probe on every subject, one after another: what `harness check` has a worker do."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from harness.errors import InputError, StageError, first_line
from harness.json_files import dump_line, read_jsonl
from harness.modeling.devices import release_memory
from harness.modeling.probes import methods
from harness.modeling.probes.accumulation import probe_accumulation
from harness.modeling.probes.batching import probe_generation, probe_scoring
from harness.modeling.probes.bench import Bench, Recipe, load_bench
from harness.modeling.probes.judges import probe_judge
from harness.modeling.probes.memory import probe_memory
from harness.modeling.probes.packing import probe_packing
from harness.modeling.probes.parity import probe_parity
from harness.modeling.probes.results import BASE_PROBES, RECIPE_PROBES, RESULTS, ProbeResult, skipped
from harness.modeling.probes.supervision import probe_bos, probe_eos, probe_mask, probe_truncation
from harness.modeling.training_settings import METHODS
from harness.protocols import Progress
from harness.records import Example, ModelRef, PluginSpec, Prompting, characters, from_json

FEW = 4
"""Examples that a recipe is trained on."""

Probe = Callable[[], ProbeResult]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write one ProbeResult a line as they come.

    `params` holds `bases`, `recipes`, `judges`, `prompting`, and in `only` the names of the probes.
    """
    examples = read_jsonl(inputs["data"] / "train.jsonl", Example)
    only, prompting = frozenset(params["only"]), from_json(Prompting, params["prompting"])
    recipes = [from_json(Recipe, recipe) for recipe in params["recipes"]]
    total = len(only.intersection(BASE_PROBES)) * len(params["bases"])
    total += len(only.intersection(RECIPE_PROBES)) * len(recipes)
    done = 0
    with (out / RESULTS).open("w", encoding="utf-8") as file:
        found = _results(params["bases"], recipes, prompting, examples, only)
        for result in chain(found, _on_judges(params["judges"]) if "judge" in only else ()):
            file.write(dump_line(result))
            file.flush()
            done += 1
            progress(min(done, total), total, f"{result.subject}: {result.name}")


def _results(
    bases: Sequence[Mapping[str, Any]],
    recipes: Sequence[Recipe],
    prompting: Prompting,
    examples: Sequence[Example],
    only: frozenset[str],
) -> Iterator[ProbeResult]:
    for base in bases if only.intersection(BASE_PROBES) else ():
        ref = from_json(ModelRef, base["model"])
        for result in _on_base(ref, base, prompting, examples, only):
            yield replace(result, subject=base["name"])
        release_memory()
    for recipe in recipes if only.intersection(RECIPE_PROBES) else ():
        for result in _on_recipe(recipe, examples, only):
            yield replace(result, subject=recipe.name)
        release_memory()


def _on_base(
    ref: ModelRef,
    base: Mapping[str, Any],
    prompting: Prompting,
    examples: Sequence[Example],
    only: frozenset[str],
) -> Iterator[ProbeResult]:
    made: list[Bench] = []

    def load() -> ProbeResult:
        made.append(load_bench(ref, prompting, examples, base["quantization"]))
        return ProbeResult("load", "pass", f"{made[0].model.num_parameters():,} parameters")

    loaded = attempt("load", load)
    if not made:
        yield loaded
        return
    probes: Mapping[str, Callable[[Bench], ProbeResult]] = {
        "mask": probe_mask,
        "bos": probe_bos,
        "eos": probe_eos,
        "truncation": probe_truncation,
        "scoring": probe_scoring,
        "generation": probe_generation,
        "packing": partial(probe_packing, asked=base["packing"]),
        "accumulation": probe_accumulation,
    }
    for name, probe in probes.items():
        if name in only:
            yield attempt(name, partial(probe, made[0]))


def _on_recipe(recipe: Recipe, examples: Sequence[Example], only: frozenset[str]) -> Iterator[ProbeResult]:
    if recipe.method.name not in METHODS:
        yield skipped("method", f"'{recipe.method.name}' is known to its backend '{recipe.backend}' alone")
        return
    if "memory" in only:
        yield attempt("memory", partial(probe_memory, recipe, examples))
    with tempfile.TemporaryDirectory() as folder:
        bench = methods.RecipeBench(recipe, _few(examples), Path(folder))
        fits = attempt("method", bench.probe_method)
        if fits.status == "fail" or "method" in only:
            yield fits
        for name, probe in methods.PROBES:
            if fits.status == "pass" and name in only and name != "method":
                yield attempt(name, partial(probe, bench))
        if fits.status == "pass" and "parity" in only:
            yield attempt("parity", partial(probe_parity, recipe, _few(examples), Path(folder) / "parity"))


def _on_judges(judges: Sequence[Mapping[str, Any]]) -> Iterator[ProbeResult]:
    for judge in judges:
        spec = from_json(PluginSpec, judge["plugin"])
        yield replace(attempt("judge", partial(probe_judge, spec)), subject=judge["name"])


def _few(examples: Sequence[Example]) -> list[Example]:
    """Short examples, for what is asked of a recipe does not depend on their length."""
    return sorted(examples, key=characters)[:FEW]


def attempt(name: str, probe: Probe) -> ProbeResult:
    """What the probe found; a probe that raises has found something too."""
    try:
        return probe()
    except InputError as error:
        where = f"{error.where}: " if error.where else ""
        return ProbeResult(name, "fail", f"{where}{error.what}", error.fix)
    except StageError as error:
        return ProbeResult(name, "fail", str(error))
    except Exception as error:
        traceback.print_exc()
        return ProbeResult(name, "fail", f"{type(error).__name__}: {first_line(error)}")
