"""words.toml as Python: the vocabulary that the questions and the stories of the quickstart share."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from random import Random

_WORLD = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))

NAMES: list[str] = _WORLD["names"].split()
PLACES: list[str] = _WORLD["places"].split()
CITIES: list[str] = _WORLD["cities"].split()
PETS: list[str] = _WORLD["pets"].split()
COLOURS: list[str] = _WORLD["colours"].split()
NUMBERS: list[str] = _WORLD["numbers"].split()
KINDS: dict[str, list[str]] = {kind: members.split() for kind, members in _WORLD["kinds"].items()}
KIND_OF: dict[str, str] = {noun: kind for kind, members in KINDS.items() for noun in members}
NOUNS: list[str] = [*KIND_OF, *_WORLD["nouns"]["without_kind"].split()]
OPPOSITES: list[tuple[str, str]] = [
    (one, other) for one, _, other in (pair.partition("/") for pair in _WORLD["pairs"]["opposites"].split())
]
FEELINGS: dict[str, list[str]] = {
    feeling: re.split(r";\s+", events.strip()) for feeling, events in _WORLD["feelings"].items()
}
_PLURALS: dict[str, str] = dict(pair.split("/") for pair in _WORLD["nouns"]["irregular_plurals"].split())


def plural(noun: str) -> str:
    """fox -> foxes, cherry -> cherries, mouse -> mice."""
    return _PLURALS.get(noun) or _with_s(noun, hissing=("s", "x", "z", "ch", "sh"))


def with_article(noun: str) -> str:
    """cat -> a cat, apple -> an apple."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def in_series(words: list[str]) -> str:
    """[plum, fig, pear] -> plum, fig and pear."""
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(text: str) -> str:
    """The text with a capital first letter."""
    return text[0].upper() + text[1:]


def _with_s(word: str, hissing: tuple[str, ...]) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(hissing) else "s")


def _past(base: str) -> str:
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + ("d" if base.endswith("e") else "ed")


def _verbs() -> list[tuple[str, str, str]]:
    verbs = []
    for group in _WORLD["verbs"]:
        for form in group["forms"].split():
            base, _, irregular = form.partition("/")
            present = _with_s(base, hissing=("s", "x", "z", "ch", "sh", "o"))
            verbs.append((present, irregular or _past(base), group["rest"]))
    return verbs


VERBS: list[tuple[str, str, str]] = _verbs()
"""(present in the third person, past, what may follow): `("flies", "flew", "to the {place}")`."""


def in_the_past(rng: Random, verb: tuple[str, str, str]) -> tuple[str, str]:
    """One random sentence around the verb, as it happens and as it happened."""
    present, past, rest = verb
    thing = f"a {rng.choice(COLOURS)} {rng.choice(KINDS['toy'] + KINDS['tool'])}"
    food = with_article(rng.choice(KINDS["fruit"] + KINDS["vegetable"]))
    rest = rest.format(place=rng.choice(PLACES), a_thing=thing, a_food=food)
    name = rng.choice(NAMES)
    return f"{name} {present} {rest}.", f"{name} {past} {rest}."
