"""Whether JSON has the form that is read: a fault is told by its place before anything is made of it.

results.json is held against its own schema, a line of examples.jsonl against `EXAMPLE`. Of JSON Schema what
says of which kind a value is: types, keys that must be there, kinds of members. Bounds and patterns are the
writer's promise (tests/test_results_schema.py); what is shown does not hang on them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from harness.report.text import ellipsis, one_line

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NONE: Schema = {"type": ["string", "null"]}
_NUMBER_OR_NONE: Schema = {"type": ["number", "null"]}


def _record(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _by_name(member: Schema) -> Schema:
    return {"type": "object", "additionalProperties": member}


def _list(member: Schema) -> Schema:
    return {"type": "array", "items": member}


_VERDICT = _record(
    ("opponent", "candidate_first", "choice"),
    opponent=_TEXT,
    candidate_first={"type": "boolean"},
    choice=_TEXT,
    reason=_TEXT_OR_NONE,
    raw=_TEXT_OR_NONE,
)
_ANSWER = _record(
    ("text",),
    text=_TEXT_OR_NONE,
    error=_TEXT_OR_NONE,
    finish_reason=_TEXT_OR_NONE,
    tokens={"type": ["integer", "null"]},
    scores=_by_name(_NUMBER_OR_NONE),
    statistics=_by_name(_list({"anyOf": [{"type": "null"}, _list({"type": "number"})]})),
)
EXAMPLE = _record(
    ("id", "prompt", "reference", "answers", "verdicts"),
    id=_TEXT,
    prompt=_list(_record(("role", "content"), role=_TEXT, content=_TEXT)),
    reference=_TEXT_OR_NONE,
    answers=_by_name(_ANSWER),
    verdicts=_by_name(_by_name(_list(_VERDICT))),
)
"""A line of examples.jsonl."""

_MAY_LACK = (".data", ".suite", ".costs")
"""What these lack is shown as missing."""
_KINDS: dict[str, Any] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}


def results_fault(results: Any) -> str:
    """The first place of a results.json that is not as its schema says; empty where there is none."""
    schema = _results_schema()
    return _fault(results, schema, schema["$defs"], "")


def example_fault(example: Any) -> str:
    """As `results_fault`, of a line of examples.jsonl."""
    return _fault(example, EXAMPLE, {}, "")


@cache
def _results_schema() -> Any:
    return json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))


def _fault(value: Any, schema: Schema, kinds: Schema, place: str) -> str:
    if "$ref" in schema:
        return _fault(value, kinds[schema["$ref"].rpartition("/")[2]], kinds, place)
    if "anyOf" in schema:
        faults = [_fault(value, each, kinds, place) for each in schema["anyOf"]]
        # Where none fits, what the deepest says: it is of the kind that was meant.
        return "" if "" in faults else max(faults, key=len)
    wanted = schema.get("type", ())
    allowed = (wanted,) if isinstance(wanted, str) else wanted
    if value is None and not {"number", "integer"}.isdisjoint(allowed):
        return ""  # what is not finite is written so, wherever a figure stands
    if allowed and not any(_KINDS[kind](value) for kind in allowed):
        return f"{_shown(place)} is not {' or '.join(allowed)}"
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            return f"{_shown(place)} has {len(value)} members"
        member = schema.get("items")
        found = (_fault(one, member, kinds, f"{place}[{n}]") for n, one in enumerate(value)) if member else ()
        return next(filter(None, found), "")
    return _object_fault(value, schema, kinds, place) if isinstance(value, dict) else ""


def _object_fault(value: dict[str, Any], schema: Schema, kinds: Schema, place: str) -> str:
    for key in () if place.endswith(_MAY_LACK) else schema.get("required", ()):
        if key not in value:
            return f"{_shown(place)} lacks {key}"
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for key, one in value.items():
        member = known.get(key, others)
        if isinstance(member, Mapping) and (fault := _fault(one, member, kinds, f"{place}.{key}")):
            return fault
    return ""


def _shown(place: str) -> str:
    return ellipsis(one_line(place.removeprefix(".")), 120) or "it"
