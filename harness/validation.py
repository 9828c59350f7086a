"""Faults in what the user wrote, as text a person can act on; shared by the suite and its plugins.

pydantic judges the values; here its findings become one short line each, with a likely remedy.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.errors import InputError, SuiteError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

KeyPath = tuple[str | int, ...]
"""Where a value stands: keys, and indices counted from 0."""


class Fault(NamedTuple):
    """Something wrong at a place: `what` it is, the likely `fix`, and the `kind` of error it is."""

    path: KeyPath
    what: str
    fix: str = ""
    kind: type[InputError] = SuiteError


def suggestion(word: str, known: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """`did you mean 'x'?` where one of the known words is near, else the list of them.

    `aliases` maps what people call a thing to its name here, for words that no spelling brings near.
    """
    choices = sorted(known)
    alias = (aliases or {}).get(word)
    near = [alias] if alias in choices else difflib.get_close_matches(word, choices, n=1)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known are {', '.join(choices)}" if choices else ""


def shown(value: Any) -> str:
    """A value as the user may recognise it: `the text '2e-4'`, `the number 3`, `a list`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return f"the text '{value}'" if len(value) <= 60 else f"the text '{value[:57]}...'"
        case int() | float():
            return f"the number {value}"
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
    return f"a {type(value).__name__}"


KINDS = {
    "str": ("text", "texts"),
    "int": ("a whole number", "whole numbers"),
    "float": ("a number", "numbers"),
    "bool": ("true or false", "true or false"),
    "Path": ("a path", "paths"),
    "None": ("null", "null"),
}
"""A type as one of it, and as many, in words."""
_MAPPING = re.compile(r"(?:dict|Mapping)\[str, (\w+)\]")
_LIST = re.compile(r"(?:list|tuple|Sequence)\[(\w+)(?:, \.\.\.)?\]")


def in_words(annotation: str) -> str:
    """A type as one who writes YAML reads it: `a mapping of names to numbers or null`."""
    return " or ".join(map(_kind_in_words, annotation.split(" | ")))


def _kind_in_words(kind: str) -> str:
    if kind in KINDS:
        return KINDS[kind][0]
    if kind.startswith("Literal["):
        return kind[len("Literal[") : -1]
    if found := _MAPPING.fullmatch(kind):
        return f"a mapping of names to {KINDS[found[1]][1]}" if found[1] in KINDS else "a mapping"
    if found := _LIST.fullmatch(kind):
        return f"a list of {KINDS[found[1]][1]}" if found[1] in KINDS else "a list"
    return kind


def faults_of(errors: Iterable[ErrorDetails], base: KeyPath) -> list[Fault]:
    """pydantic's findings on a value that stands at `base`, one fault for each place."""
    found: dict[KeyPath, Fault] = {}
    for error in errors:
        path = (*base, *error["loc"])
        found.setdefault(path, Fault(path, *_explain(error)))
    return list(found.values())


EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "path_type": "a path",
    "finite_number": "a finite number",
}
BOUNDS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "at most"),
}


def _explain(error: ErrorDetails) -> tuple[str, str]:
    """(what, fix) of one finding."""
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind]}, got {shown(given)}", _unquote(kind, given)
    if kind in BOUNDS:
        bound, words = BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, got {given}", ""
    if kind == "literal_error":
        return f"expected {context['expected']}, got {shown(given)}", ""
    if kind == "too_short":
        return f"needs at least {context['min_length']} of them, got {context['actual_length']}", ""
    if kind == "value_error":
        what, _, fix = str(context["error"]).partition("; ")
        return what, fix
    return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {shown(given)}", ""


def _unquote(kind: str, given: Any) -> str:
    """The remedy where quotes make a number a text, or their absence makes a text a number."""
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "put it in quotes"
    if isinstance(given, str) and kind in {"int_type", "float_type"} and _is_number(given):
        return "take it out of its quotes"
    if isinstance(given, str) and kind == "bool_type":
        return (
            "write true or false, without quotes" if given.lower() in {"yes", "no", "true", "false"} else ""
        )
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
