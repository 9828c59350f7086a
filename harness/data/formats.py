"""Which columns hold the prompt and which the answer.

| format            | columns                                  | optional      |
|-------------------|------------------------------------------|---------------|
| alpaca            | instruction, output                      | input, system |
| prompt_completion | prompt, completion: texts or messages    | system        |
| messages          | messages: [{role, content}]              | system, tools |
| conversations     | conversations: [{from, value}]           | system, tools |

A table is recognised by these names; failing that, by a few common other names, but only where they
can be read in one way. `columns:` of a source overrides both.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import DataError


@dataclass(frozen=True)
class Format:
    """Our names of the columns a format must have and may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.required + self.optional


FORMATS = {
    "alpaca": Format(("instruction", "output"), ("input", "system")),
    "prompt_completion": Format(("prompt", "completion"), ("system",)),
    "messages": Format(("messages",), ("system", "tools")),
    "conversations": Format(("conversations",), ("system", "tools")),
}
COLUMNS = tuple(dict.fromkeys(name for kind in FORMATS.values() for name in kind.names))
"""Every name that `columns:` may map."""

ALIASES: dict[str, dict[str, tuple[str, ...]]] = {
    "alpaca": {
        "instruction": ("instruction",),
        "input": ("input", "context"),
        "output": ("output", "response", "answer", "completion"),
    },
    "prompt_completion": {
        "prompt": ("prompt", "question", "query", "input"),
        "completion": ("completion", "answer", "response", "output"),
    },
}
"""Other names under which datasets on the Hub keep the same things, by our name."""

MEANINGFUL = frozenset(name for roles in ALIASES.values() for names in roles.values() for name in names)


@dataclass(frozen=True)
class Layout:
    """A recognised table: its format, and our name -> its name for every column that is read."""

    format: str
    columns: Mapping[str, str]


def detect(
    columns: Sequence[str],
    *,
    wanted: str = "auto",
    mapping: Mapping[str, str] | None = None,
    where: str = "",
) -> Layout:
    """The layout of a table with these columns.

    `mapping` is our name -> their name and comes first. DataError, with the columns found and how to map
    them, where the format cannot be told or is not the `wanted` one.
    """
    mapping = dict(mapping or {})
    _check_mapping(mapping, columns, where)
    if wanted != "auto" and wanted not in FORMATS:
        raise DataError(
            f"unknown format '{wanted}'", where=where, fix=f"known are auto, {', '.join(FORMATS)}"
        )
    formats = list(FORMATS) if wanted == "auto" else [wanted]
    layouts = [found for name in formats if (found := _by_name(name, columns, mapping))]
    if not layouts:
        layouts = [found for name in formats for found in _by_alias(name, columns, mapping)]
    if len(layouts) == 1:
        return layouts[0]
    raise _not_recognised(columns, layouts, formats, where)


def _check_mapping(mapping: Mapping[str, str], columns: Sequence[str], where: str) -> None:
    for ours, theirs in mapping.items():
        if ours not in COLUMNS:
            what, fix = f"columns: unknown name '{ours}'", f"known are {', '.join(COLUMNS)}"
            raise DataError(what, where=where, fix=fix)
        if theirs not in columns:
            close = difflib.get_close_matches(theirs, columns, 1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(columns)}"
            raise DataError(f"columns: there is no column '{theirs}' for {ours}", where=where, fix=hint)
    for theirs, count in Counter(mapping.values()).items():
        if count > 1:
            raise DataError(f"columns: '{theirs}' is mapped twice", where=where, fix="map each column once")


def _by_name(name: str, columns: Iterable[str], mapping: Mapping[str, str]) -> Layout | None:
    """The layout if the format's own names and the mapping cover it and it reads all that is mapped."""
    kind, claimed = FORMATS[name], set(mapping.values())
    own = {column: column for column in columns if column in kind.names and column not in claimed}
    resolved = own | dict(mapping)
    if not set(mapping) <= set(kind.names) or not set(kind.required) <= set(resolved):
        return None
    return Layout(name, {ours: resolved[ours] for ours in kind.names if ours in resolved})


def _by_alias(name: str, columns: Iterable[str], mapping: Mapping[str, str]) -> list[Layout]:
    """The layout by common other names, if each role has one candidate and no telling column is left over."""
    roles, kind = ALIASES.get(name, {}), FORMATS[name]
    present = [column for column in columns if column not in mapping.values()]
    guesses = {role: [alias for alias in names if alias in present] for role, names in roles.items()}
    guesses |= {ours: [theirs] for ours, theirs in mapping.items()}
    if not set(guesses) <= set(kind.names) or not set(kind.required) <= set(guesses):
        return []
    if any(len(guess) > 1 for guess in guesses.values()) or not all(guesses[role] for role in kind.required):
        return []
    chosen = {role: guess[0] for role, guess in guesses.items() if guess}
    if len(set(chosen.values())) < len(chosen) or (MEANINGFUL & set(present)) - set(chosen.values()):
        return []
    optional = {ours: ours for ours in kind.optional if ours in present and ours not in chosen}
    return [Layout(name, chosen | optional)]


def _not_recognised(
    columns: Sequence[str], layouts: Sequence[Layout], formats: Sequence[str], where: str
) -> DataError:
    found = f"the columns are {', '.join(columns) or '(none)'}"
    if layouts:
        kinds = " and ".join(layout.format for layout in layouts)
        return DataError(f"{found}: that could be {kinds}", where=where, fix="choose with format:")
    known = " | ".join(f"{name}: {', '.join(FORMATS[name].required)}" for name in formats)
    missing = "columns not recognised" if len(formats) > 1 else f"columns do not make format {formats[0]}"
    fix = f"recognised are {known}; map yours with columns: {_example_mapping(columns, formats)}"
    return DataError(f"{missing}: {found}", where=where, fix=fix)


def _example_mapping(columns: Sequence[str], names: Sequence[str]) -> str:
    """What the user would write, with their own columns where a common other name tells which is which."""
    guesses = [
        {ours: _first(ALIASES.get(name, {}).get(ours, ()), columns) for ours in FORMATS[name].required}
        for name in names
    ]
    best = max(guesses, key=lambda guess: len(guess) - list(guess.values()).count("..."))
    return "{" + ", ".join(f"{ours}: {theirs}" for ours, theirs in best.items()) + "}"


def _first(aliases: Iterable[str], columns: Sequence[str]) -> str:
    return next((alias for alias in aliases if alias in columns), "...")
