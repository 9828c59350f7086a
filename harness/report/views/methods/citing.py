"""Sentences that cite: written once, read as plain text or as LaTeX."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.report.text import name_of, one_line
from harness.report.views.methods.bibliography import WORKS, letters

_MARK = re.compile("\x02([^\x02]*)\x02")
_TEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--",
}  # fmt: skip


def cite(*keys: str) -> str:
    """A mark in a sentence that stands for these works, in brackets.

    What a person named goes through `word`, which leaves no such mark in it.
    """
    return f" \x02{','.join(keys)}\x02"


def cited(text: str) -> list[str]:
    """The keys that a text cites, each once, in order."""
    return list(dict.fromkeys(key for found in _MARK.findall(text) for key in found.split(",")))


def as_plain(text: str) -> str:
    """The text with `(Hu et al., 2022)` where works are cited."""
    letter = letters(cited(text))

    def called(match: re.Match[str]) -> str:
        return f"({'; '.join(WORKS[key].called + letter[key] for key in match.group(1).split(','))})"

    return _MARK.sub(called, text)


def as_latex(text: str) -> str:
    r"""The text with `\citep{hu2022lora}` where works are cited, and all else escaped."""
    parts = _MARK.split(text)
    written = [
        f"\\citep{{{part}}}" if place % 2 else "".join(_TEX.get(char, char) for char in part)
        for place, part in enumerate(parts)
    ]
    return "".join(written).replace(" \\citep", "~\\citep")


def references(text: str) -> list[str]:
    """The works that a text cites as lines, by their authors."""
    letter = letters(cited(text))
    return sorted((WORKS[key].reference(letter[key]) for key in letter), key=str.casefold)


def bibtex(text: str) -> str:
    """The works that a text cites as BibTeX entries."""
    return "\n\n".join(WORKS[key].bibtex(key) for key in sorted(cited(text)))


def word(text: object) -> str:
    """What a person named, as text on one line; of a file of this machine its name."""
    return one_line(name_of(str(text)))


def listed(names: Iterable[str]) -> str:
    """`a, b and c`; empty where there is none."""
    known = [word(name) for name in names]
    return fmt.listed(known) if known else ""


def value(setting: Any) -> str:
    """A setting as the suite spells it."""
    return word(setting) if isinstance(setting, str) else json.dumps(setting, ensure_ascii=False)


def by_value(known: Mapping[str, str]) -> str:
    """Name -> text as one text: `3` where all have it, else `3 (a and b) and 4 (c)`."""
    names: dict[str, list[str]] = {}
    for name, text in known.items():
        names.setdefault(text, []).append(name)
    if len(names) == 1:
        return next(iter(names))
    return fmt.listed([f"{text} ({listed(whose)})" for text, whose in names.items()])


def chosen(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Those of the keys that are set, in brackets behind what they are of; empty where none is."""
    known = spelled({key: settings.get(key) for key in keys})
    return f" ({known})" if known else ""


def spelled(settings: Mapping[str, Any]) -> str:
    """What is set of the settings: `r=16, lora_alpha=32`."""
    known = {key: found for key, found in settings.items() if found is not None}
    return one_line(fmt.settings(known))
