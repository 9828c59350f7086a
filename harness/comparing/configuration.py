"""What two runs were told to do: the keys in which they differ, old and new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harness.comparing.runs import Pair, Run
from harness.report.text import dotted, name_of

Json = dict[str, Any]
SEEDS = "seeds"
FEW, FEW_ROWS = 0.01, 2
"""By so many rows, as a share and at least, two splits of the same data may differ."""
_RECIPE = ("backend", "method", "model", "model_revision", SEEDS, "tokenizer", "recipe")
_SUITE = ("name", "rank_by", "overrides", "budget_usd")


def of_runs(old: Run, new: Run) -> list[Json]:
    """Data, environment and the suite's own keys: {key, old, new} of each that differs."""
    return _differing(_facts(old.results), _facts(new.results))


def of_candidates(old: Run, new: Run, pair: Pair) -> list[Json]:
    """Recipe, model, backend and seeds: {key, old, new} of each that differs."""
    before, after = (dict(_recipe(run.candidates[pair.of(run)])) for run in (old, new))
    return _differing(before, after)


def only_seeds_differ(old: Run, new: Run, differing: list[Json]) -> bool:
    """Whether two trainings by one recipe on the same data are compared, by other seeds."""
    return [row["key"] for row in differing] == [SEEDS] and _same_data(old, new)


def _same_data(old: Run, new: Run) -> bool:
    """Whether both trained on the same sources, used alike.

    A seed also splits, and rows near the held-out ones are then removed: a few rows more or less are the same
    data, as a limit of rows would not be.
    """
    before, after = (run.results["data"] for run in (old, new))
    if _trained_on(before) != _trained_on(after):
        return False
    counts = [
        [(data.get("rows") or {}).get(part) or 0 for part in ("train", "validation")]
        for data in (before, after)
    ]
    return all(abs(a - b) <= max(FEW_ROWS, FEW * max(a, b)) for a, b in zip(*counts, strict=True))


def _trained_on(data: Json) -> list[Any]:
    sources = [{**source, "path": name_of(str(source["path"]))} for source in data.get("sources") or []]
    trained = [source for source in sources if source.get("part") != "eval"]
    return [trained, data.get("max_length"), (data.get("overlap") or {}).get("action")]


def _facts(results: Json) -> Json:
    data = {
        key: value for key, value in results["data"].items() if key in ("eval_sha256", "rows", "max_length")
    }
    data |= {"sources": [_source(source) for source in results["data"].get("sources") or []]}
    suite = {key: results["suite"].get(key) for key in _SUITE}
    found = {"suite": suite, "data": data, "environment": results["environment"]}
    return dict(_settings(found))


def _source(source: Json) -> str:
    return f"{source.get('part', '')}: {name_of(str(source['path']))}, {source.get('rows')} rows".lstrip(": ")


def _recipe(candidate: Json) -> Iterator[tuple[str, Any]]:
    for key in _RECIPE:
        prefix = "" if key == "recipe" else key
        yield from _settings(candidate.get(key), prefix)


def _settings(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values; of a folder of some machine its name."""
    for key, found in dotted(value, prefix):
        yield key, name_of(found) if isinstance(found, str) else found


def _differing(old: Json, new: Json) -> list[Json]:
    """In NEW's order, then what OLD alone has; None where a side lacks the key."""
    keys = dict.fromkeys((*new, *old))
    return [
        {"key": key, "old": old.get(key), "new": new.get(key)} for key in keys if old.get(key) != new.get(key)
    ]
