"""One judgment as a file holds it, whatever the file's form, and the checks that every value passes."""

from __future__ import annotations

import math
import re
import typing
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from harness.errors import InputError
from harness.records import CHOICES, FAULTS, Choice, Control, Fault
from harness.validation import suggestion

CONTROLS: tuple[Control, ...] = typing.get_args(Control)
_LONGEST_QUOTE = 60
_HALVES = re.compile("[\ud800-\udfff]")
"""Halves of a UTF-16 pair, which JSON can spell and no file can hold."""


class Row(NamedTuple):
    """A judgment; `ordered` is False where the file does not say which answer the judge saw first.

    `settled`: the answers are identical, and the judge was not asked.
    """

    judge: str
    example_id: str
    seed: int
    first: str
    second: str
    choice: Choice
    preference: float | None = None
    control: Control = ""
    fault: Fault = ""
    first_chars: float | None = None
    second_chars: float | None = None
    ordered: bool = True
    settled: bool = False

    @property
    def place(self) -> tuple[str, str, int, str, str]:
        """What no two judgments share, controls aside."""
        return self.judge, self.example_id, self.seed, self.first, self.second

    @property
    def said(self) -> tuple[Choice, float | None]:
        """The verdict itself, without its place."""
        return self.choice, self.preference


def name(row: Mapping[str, Any], key: str) -> str:
    """A name or an id: text that is not blank, or a whole number."""
    value = row.get(key)
    if isinstance(value, str) and value and not value.isspace():
        if value.isascii() or not _HALVES.search(value):
            return value
        raise InputError(f"'{key}' is {quoted(value)}, which is no Unicode text")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise InputError(f"'{key}' is {quoted(value)}, not a name")


def word(row: Mapping[str, Any], key: str, known: Collection[str]) -> str:
    """One of the known words."""
    value = row.get(key)
    if isinstance(value, str) and value in known:
        return value
    fix = suggestion(value, [each for each in known if each]) if isinstance(value, str) else ""
    raise InputError(f"'{key}' is {quoted(value)}; {fix or 'known are ' + ', '.join(filter(None, known))}")


def number(row: Mapping[str, Any], key: str, low: float, high: float) -> float | None:
    """A number from low to high, as such or as text; None where there is none."""
    value = row.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            found = float(value)
        except (ValueError, OverflowError):
            found = math.nan
        if low <= found <= high:
            return found
    raise InputError(f"'{key}' is {quoted(value)}, not a number {_span(low, high)}")


def flag(row: Mapping[str, Any], key: str) -> bool:
    """True or false, as such or as text; False where there is neither."""
    value = row.get(key)
    found = {"true": True, "false": False, "": False, "none": False}.get(str(value).lower())
    if found is None:
        raise InputError(f"'{key}' is {quoted(value)}, not true or false")
    return found


def choice_and_control(row: Mapping[str, Any], key: str) -> tuple[Any, Any, Any]:
    """Choice, control and fault; the last two are empty where the row has none."""
    return (
        word(row, key, CHOICES),
        word(row, "control", CONTROLS) if row.get("control") else "",
        word(row, "fault", FAULTS) if row.get("fault") else "",
    )


def contradiction(choice: Choice, preference: float | None, fault: Fault) -> str:
    """Why the parts of a verdict cannot be true together; empty where they can.

    A tie may have any preference: how near to one half is a tie is the judge's own affair.
    """
    if choice != "unparsed" and fault:
        return f"it has the fault '{fault}', but '{choice}' is a verdict that was read"
    if preference is None:
        return ""
    if choice == "unparsed":
        return f"it is unparsed, but has a preference of {preference:g}"
    if (choice == "first" and preference < 0.5) or (choice == "second" and preference > 0.5):
        return f"its choice is '{choice}', but a preference of {preference:g} is for the other answer"
    return ""


def quoted(value: Any) -> str:
    """A value for an error message: nothing in it can act on a terminal."""
    if value is None:
        return "missing"
    text = ascii(value)
    return text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…"


def _span(low: float, high: float) -> str:
    return f"of {low:g} or more" if math.isinf(high) else f"from {low:g} to {high:g}"
