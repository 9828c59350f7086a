"""The kinds of task in the quickstart's instructions: what they ask about, and how an atom becomes slots.

An atom is what make_data.py divides between training and evaluation, so that no evaluation prompt asks
about a training atom. The slots fill the wordings of wordings.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from words import (
    CITIES,
    COLOURS,
    FEELINGS,
    KIND_OF,
    KINDS,
    NAMES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PETS,
    PLACES,
    VERBS,
    in_the_past,
    plural,
    sentence,
    with_article,
)

Slots = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One kind of task; `wordings` are (instruction, input, output), the last kept for evaluation."""

    name: str
    atoms: Sequence[Any]
    slots: Callable[[Random, Any], Slots]
    wordings: Sequence[tuple[str, str, str]]


def _plural(_rng: Random, noun: str) -> Slots:
    return {"word": noun, "plural": plural(noun)}


def _opposite(rng: Random, pair: tuple[str, str]) -> Slots:
    word, other = rng.sample(pair, 2)
    return {"word": word, "other": other}


def _past(rng: Random, verb: tuple[str, str, str]) -> Slots:
    now, then = in_the_past(rng, verb)
    return {"now": now, "then": then}


def _kind(_rng: Random, noun: str) -> Slots:
    kind, named = KIND_OF[noun], with_article(noun)
    return {
        "noun": noun,
        "noun_with_article": named,
        "Noun_with_article": sentence(named),
        "kind": kind,
        "kind_with_article": with_article(kind),
    }


def _odd_one_out(rng: Random, odd: str) -> Slots:
    kind = rng.choice([kind for kind in KINDS if kind != KIND_OF[odd]])
    words = [*rng.sample(KINDS[kind], 3), odd]
    rng.shuffle(words)
    return {"words": ", ".join(words), "odd": odd, "kinds": plural(kind)}


def _capitals(rng: Random, name: str) -> Slots:
    friend = rng.choice([other for other in NAMES if other != name])
    city, other_city = rng.sample(CITIES, 2)
    frames = (
        f"{name} lives in {city}.",
        f"{name} and {friend} went to {city}.",
        f"We met {name} in {city}.",
        f"Yesterday {name} flew from {city} to {other_city}.",
        f"My friend {name} wrote a letter to {friend}.",
    )
    right = rng.choice(frames)
    return {"wrong": right.lower(), "right": right}


def _order(rng: Random, items: Sequence[Any]) -> Slots:
    mixed, ascending = rng.sample(items, len(items)), sorted(items)
    return {
        "mixed": ", ".join(map(str, mixed)),
        "ascending": ", ".join(map(str, ascending)),
        "smallest": ascending[0],
        "largest": ascending[-1],
    }


def _count(_rng: Random, words: Sequence[str]) -> Slots:
    return {"words": ", ".join(words), "count": NUMBERS[len(words)], "digit": len(words)}


def _sum(rng: Random, terms: tuple[int, int]) -> Slots:
    a, b = rng.sample(terms, 2)
    slots: Slots = {"a": a, "b": b, "c": a + b, "A": NUMBERS[a], "B": NUMBERS[b], "C": NUMBERS[a + b]}
    story = {"name": rng.choice(NAMES), "fruits": plural(rng.choice(KINDS["fruit"]))}
    return slots | story | {"A_capital": sentence(NUMBERS[a])}


def _mood(rng: Random, event: tuple[str, str]) -> Slots:
    mood, text = event
    name = rng.choice(NAMES)
    text = text.format(toy=rng.choice(KINDS["toy"]), pet=rng.choice(PETS))
    return {"event": f"{name} {text}.", "name": name, "mood": mood}


def _reading(rng: Random, things: Sequence[str]) -> Slots:
    names, colours = rng.sample(NAMES, len(things)), rng.sample(COLOURS, len(things))
    owned = list(zip(names, colours, things, strict=True))
    place = rng.choice(PLACES)
    lines = [f"{name} has a {colour} {thing}." for name, colour, thing in owned]
    lines.insert(rng.randrange(len(lines) + 1), f"They all meet at the {place}.")
    name, colour, thing = rng.choice(owned)
    return {"text": " ".join(lines), "name": name, "colour": colour, "thing": thing, "place": place}


def _mention(rng: Random, seen: tuple[str, str]) -> Slots:
    animal, colour = seen
    name, place = rng.choice(NAMES), rng.choice(PLACES)
    frames = (
        f"{name} saw a {colour} {animal} near the {place}.",
        f"A {colour} {animal} ran to the {place}.",
        f"At the {place} {name} drew a {colour} {animal}.",
        f"The {animal} beside {name} at the {place} was {colour}.",
        f"{name} dreamed of a {colour} {animal} at the {place}.",
    )
    return {"text": rng.choice(frames), "animal": animal, "colour": colour}


def _letter(_rng: Random, noun: str) -> Slots:
    return {"word": noun, "first": noun[0], "last": noun[-1]}


def _groups(pool: Sequence[Any], sizes: Sequence[int], count: int = 300) -> list[tuple[Any, ...]]:
    """`count` fixed random groups out of the pool, each of one of the sizes."""
    rng = Random(len(pool))
    return list(dict.fromkeys(tuple(rng.sample(pool, rng.choice(sizes))) for _ in range(count)))


SUMS = [(a, b) for a, b in product(range(1, 13), repeat=2) if a <= b and a + b <= 20]
EVENTS = [(mood, event) for mood, events in FEELINGS.items() for event in events]
BELONGINGS = KINDS["toy"] + KINDS["garment"]

_SOURCES: dict[str, tuple[Sequence[Any], Callable[[Random, Any], Slots]]] = {
    "plural": (NOUNS, _plural),
    "opposite": (OPPOSITES, _opposite),
    "past": (VERBS, _past),
    "kind": (list(KIND_OF), _kind),
    "odd_one_out": (list(KIND_OF), _odd_one_out),
    "capitals": (NAMES, _capitals),
    "order": (_groups(range(1, 41), sizes=[3]), _order),
    "alphabet": (_groups(list(KIND_OF), sizes=[3]), _order),
    "count": (_groups(NOUNS, sizes=[2, 3, 4, 5, 6]), _count),
    "sum": (SUMS, _sum),
    "mood": (EVENTS, _mood),
    "reading": (_groups(BELONGINGS, sizes=[2, 3]), _reading),
    "mention": (list(product(KINDS["animal"], COLOURS)), _mention),
    "letter": (NOUNS, _letter),
}
_WORDINGS = tomllib.loads((Path(__file__).parent / "wordings.toml").read_text(encoding="utf-8"))

TASKS = [Task(name, *source, _WORDINGS[name]) for name, source in _SOURCES.items()]
