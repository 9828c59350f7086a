"""Whether JSON has the form that is read: a fault is told by its place before anything is made of it.

results.json is held against its own schema, a line of examples.jsonl against `EXAMPLE`. Of JSON Schema what
says of which kind a value is: types, keys that must be there, kinds of members, words of a fixed set. Bounds
and patterns are the writer's promise (tests/test_results_schema.py); what is shown does not hang on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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

_NEEDED: Mapping[str, tuple[str, ...]] = {
    "data": (),
    "suite": ("name", "description", "text", "rank_by"),
    "costs": (),
}
"""What these must have; what else they lack is shown as missing."""
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    # What is not finite is written as null, wherever a figure stands.
    "number": (int, float, type(None)),
    "integer": (int,),
}
"""What JSON is read as."""
Fault = tuple[str, str]
"""A place below the value, `.key[3]`, and what is wrong there."""
Check = Callable[[Any], Fault | None]


def results_fault(results: Any) -> str:
    """The first place of a results.json that is not as its schema says; empty where there is none."""
    return _told(_results_check()(results))


def example_fault(example: Any) -> str:
    """As `results_fault`, of a line of examples.jsonl."""
    return _told(_example_check()(example))


def _told(fault: Fault | None) -> str:
    if fault is None:
        return ""
    place, what = fault
    return f"{ellipsis(one_line(place.removeprefix('.')), 120) or 'it'} {what}"


@cache
def _results_check() -> Check:
    schema = json.loads(Path(__file__).with_name("results.schema.json").read_text(encoding="utf-8"))
    return _Compiler(schema["$defs"]).check(schema)


@cache
def _example_check() -> Check:
    return _Compiler({}).check(EXAMPLE)


class _Compiler:
    """Makes functions of schemas, once: there may be a hundred thousand examples to hold against one."""

    def __init__(self, definitions: Mapping[str, Schema]) -> None:
        self._definitions = definitions

    def check(self, schema: Schema, needed: Sequence[str] | None = None) -> Check:
        """What tells the first fault of a value; `needed` are the keys of an object, if not all required."""
        if "$ref" in schema:
            return self.check(self._definitions[schema["$ref"].rpartition("/")[2]], needed)
        if "anyOf" in schema:
            return _any_of([self.check(each, needed) for each in schema["anyOf"]])
        wanted = schema.get("type", ())
        allowed = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        types = frozenset(each for kind in allowed for each in _TYPES[kind])
        inside: dict[type, Check] = {list: self._items(schema), dict: self._members(schema, needed)}

        def check(value: Any) -> Fault | None:
            if types and type(value) not in types:
                return "", f"is not {' or '.join(allowed)}"
            look = inside.get(type(value))
            return None if look is None else look(value)

        return _one_of(schema["enum"], check) if "enum" in schema else check

    def _items(self, schema: Schema) -> Check:
        fewest = schema.get("minItems", 0)
        check = self.check(schema["items"]) if "items" in schema else _anything

        def items(value: Any) -> Fault | None:
            if len(value) < fewest:
                return "", f"has {len(value)} members"
            for number, one in enumerate(value):
                if fault := check(one):
                    return f"[{number}]{fault[0]}", fault[1]
            return None

        return items

    def _members(self, schema: Schema, needed: Sequence[str] | None) -> Check:
        required = frozenset(schema.get("required", ()) if needed is None else needed)
        known = {
            key: self.check(member, _NEEDED.get(key)) for key, member in schema.get("properties", {}).items()
        }
        more = schema.get("additionalProperties")
        others = self.check(more) if isinstance(more, Mapping) else _anything

        def members(value: Any) -> Fault | None:
            if not required <= value.keys():
                return "", f"lacks {', '.join(sorted(required - value.keys()))}"
            for key, one in value.items():
                if fault := known.get(key, others)(one):
                    return f".{key}{fault[0]}", fault[1]
            return None

        return members


def _anything(_: Any) -> Fault | None:
    return None


def _one_of(words: Sequence[str | None], check: Check) -> Check:
    """As `check`, which leaves nothing but text and None, and that it is one of the words."""
    known = frozenset(words)
    told = " or ".join(word for word in words if word is not None)

    def one_of(value: Any) -> Fault | None:
        return check(value) or (None if value in known else ("", f"is not {told}"))

    return one_of


def _any_of(checks: Sequence[Check]) -> Check:
    def any_of(value: Any) -> Fault | None:
        faults = []
        for check in checks:
            if (fault := check(value)) is None:
                return None
            faults.append(fault)
        # Where none fits, what the deepest says: it is of the kind that was meant.
        return max(faults, key=lambda fault: len("".join(fault)))

    return any_of
