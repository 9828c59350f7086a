"""The YAML head of a model card, which the Hub reads, in the form of huggingface_hub's ModelCardData.

Written here, so that a report is rendered without huggingface_hub, which reads the network's settings when
it is imported. Every text stands in double quotes: none can be taken for anything else, in YAML 1.1 or 1.2.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.outputs.card_figures import results_of
from harness.report.outputs.hub_ids import hub_dataset
from harness.report.outputs.load_code import is_adapter
from harness.report.outputs.names import task_name
from harness.report.text import one_line
from harness.text import well_formed

Json = Mapping[str, Any]

HARNESS = "sft-harness"
_NOT_YAML = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x7f\u2028\u2029\ufeff\ufffe\uffff"}


@dataclass(frozen=True, slots=True)
class Base:
    """The base model: `hub_id` is None where it is a folder of somebody's, which `name` is the name of."""

    name: str
    hub_id: str | None = None
    revision: str | None = None


def head(results: Json, candidate: Json, base: Base, seed: int) -> str:
    """What the Hub is told of a candidate, as YAML without its fences."""
    adapter, trained_on = is_adapter(candidate), _datasets(results, "train")
    told: dict[str, Any] = {
        "base_model": base.hub_id,
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": list(filter(None, [HARNESS, "sft", one_line(candidate["method"] or "")])),
        "datasets": trained_on,
        "base_model_relation": ("adapter" if adapter else "finetune") if base.hub_id else None,
        "model-index": _model_index(results, candidate, trained_on, seed),
    }
    return "\n".join(_yaml({key: value for key, value in told.items() if value}))


def sources(results: Json, part: str) -> list[Json]:
    """Where the rows of a part of the data are from."""
    return [source for source in results["data"].get("sources", ()) if source["part"] == part]


def _model_index(results: Json, candidate: Json, trained_on: list[str], seed: int) -> list[Json]:
    metrics = [
        {"type": kind, "value": value, "name": name}
        for kind, name, value in results_of(results, candidate, seed)
    ]
    if not metrics:
        return []
    evaluated = _datasets(results, "eval") or trained_on
    dataset = {
        "name": f"{one_line(results['suite']['name'])}, eval set",
        "type": evaluated[0] if len(evaluated) == 1 else task_name(results),
    }
    task = {"type": "text-generation", "name": "Text Generation"}
    found = {"task": task, "dataset": dataset, "metrics": metrics}
    return [{"name": one_line(candidate["name"]), "results": [found]}]


def _datasets(results: Json, part: str) -> list[str]:
    found = (hub_dataset(source["path"]) for source in sources(results, part))
    return list(dict.fromkeys(name for name in found if name))


def _yaml(value: Any) -> Iterator[str]:
    """The lines of a mapping or a list in block style."""
    for key, inner in value.items() if isinstance(value, Mapping) else ((None, each) for each in value):
        start = "-" if key is None else f"{key}:"
        if not isinstance(inner, Mapping | list):
            yield f"{start} {_scalar(inner)}"
        elif key is None:
            first, *rest = _yaml(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
        else:
            yield start
            yield from (f"{'  ' if isinstance(inner, Mapping) else ''}{line}" for line in _yaml(inner))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(well_formed(value), ensure_ascii=False).translate(_NOT_YAML)
    text = json.dumps(value)
    # YAML 1.1 takes 1e-05 for a word.
    return text.replace("e", ".0e") if "e" in text and "." not in text else text
