"""Prompts that train has in common with held-out rows: exact and near duplicates.

Exact: equal after case, spaces and punctuation are folded. Near: word 3-gram shingles with a Jaccard
similarity of at least 0.8, over all shingles and again over those that are not boilerplate. The second
condition is there for datasets whose prompts share long instructions: two tasks of one kind are no leak.

The search is exact, by prefix filtering (Chaudhuri, Ganti and Kaushik 2006, "A primitive operator for
similarity joins"): in any fixed order of elements, sets with Jaccard >= t have an element in common among
the first |x| - ceil(t |x|) + 1 of each. With the rarest first, most rows of train meet no held-out row.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from harness.data.examples import prompt_key
from harness.records import Example

THRESHOLD = Fraction(4, 5)
SHINGLE_WORDS = 3
MIN_WORDS = 5
"""Shorter prompts have so few shingles that only exact duplicates are sought."""
BOILERPLATE_SHARE = 0.01
BOILERPLATE_PROMPTS = 10
"""A shingle is boilerplate in more than this share of the different prompts, and in more than so many."""

Shingle = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A row that is like a held-out row: their places in the two sequences, and their Jaccard similarity."""

    row: int
    held_out: int
    kind: Literal["exact", "near"]
    similarity: float


@dataclass(frozen=True, slots=True)
class _Prompt:
    """A prompt's shingles: the held-out side's ids of those it knows, and the number of the others."""

    known: frozenset[int]
    unknown: int = 0

    def without(self, ids: frozenset[int]) -> _Prompt:
        return _Prompt(self.known - ids, self.unknown)

    @property
    def size(self) -> int:
        return len(self.known) + self.unknown


def find_overlap(rows: Sequence[Example], held_out: Sequence[Example]) -> list[Match]:
    """For each row that duplicates a held-out prompt, the match with the most similar one, in row order."""
    twins: dict[str, int] = {}
    for place, example in enumerate(held_out):
        twins.setdefault(prompt_key(example.prompt), place)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(rows):
        rows_of[prompt_key(example.prompt)].append(place)
    similar = {key: (key, 1.0) for key in rows_of if key in twins}
    similar |= _near([key for key in rows_of if key not in twins], list(twins))
    matches = [
        Match(row, twins[twin], "exact" if key == twin else "near", similarity)
        for key, (twin, similarity) in similar.items()
        for row in rows_of[key]
    ]
    return sorted(matches, key=lambda match: match.row)


def _near(keys: Sequence[str], held_out: Sequence[str]) -> dict[str, tuple[str, float]]:
    """For each of the different prompt keys that has one, its most similar held-out key."""
    ids: dict[Shingle, int] = {}
    prompts = {
        key: _Prompt(frozenset(ids.setdefault(s, len(ids)) for s in _shingles(key))) for key in held_out
    }
    frequency = Counter(shingle for prompt in prompts.values() for shingle in prompt.known)
    candidates: dict[str, _Prompt] = {}
    for key in keys:
        shingles = _shingles(key)
        known = frozenset(ids[shingle] for shingle in shingles if shingle in ids)
        frequency.update(known)
        # Shingles that no held-out prompt has are in the union but never in the intersection.
        if known and len(known) >= THRESHOLD * len(shingles):
            candidates[key] = _Prompt(known, len(shingles) - len(known))
    index = _Index(prompts, frequency, len(keys) + len(held_out))
    found = {key: index.nearest(prompt) for key, prompt in candidates.items()}
    return {key: match for key, match in found.items() if match}


def _shingles(key: str) -> set[Shingle]:
    words = key.split(" ")
    if len(words) < MIN_WORDS:
        return set()
    return set(zip(*(words[start:] for start in range(SHINGLE_WORDS)), strict=False))


class _Index:
    """The held-out prompts by the rare end of their shingles."""

    def __init__(self, prompts: Mapping[str, _Prompt], frequency: Mapping[int, int], total: int) -> None:
        limit = max(BOILERPLATE_PROMPTS, BOILERPLATE_SHARE * total)
        self._boilerplate = frozenset(shingle for shingle, count in frequency.items() if count > limit)
        self._prompts, self._frequency = prompts, frequency
        self._distinctive = {key: prompt.without(self._boilerplate) for key, prompt in prompts.items()}
        self._postings: dict[int, list[str]] = defaultdict(list)
        for key, prompt in self._distinctive.items():
            for shingle in self._prefix(prompt):
                self._postings[shingle].append(key)

    def nearest(self, prompt: _Prompt) -> tuple[str, float] | None:
        """The most similar held-out prompt and its similarity; of equals always the same one."""
        distinctive = prompt.without(self._boilerplate)
        met = {key for shingle in self._prefix(distinctive) for key in self._postings.get(shingle, ())}
        similar = {
            key: _jaccard(prompt, self._prompts[key])
            for key in met
            if _jaccard(distinctive, self._distinctive[key]) >= THRESHOLD
        }
        best = max(similar, key=lambda key: (similar[key], key), default=None)
        return (best, float(similar[best])) if best is not None and similar[best] >= THRESHOLD else None

    def _prefix(self, prompt: _Prompt) -> list[int]:
        """Of the shingles in order of rarity, the known ones among the first |x| - ceil(t |x|) + 1."""
        length = prompt.size - math.ceil(THRESHOLD * prompt.size) + 1
        ranked = sorted(prompt.known, key=lambda shingle: (self._frequency[shingle], shingle))
        # Unknown shingles are the rarest of all, so they stand in front and take their part of the prefix.
        return ranked[: max(0, length - prompt.unknown)]


def _jaccard(one: _Prompt, other: _Prompt) -> Fraction:
    shared = len(one.known & other.known)
    return Fraction(shared, one.size + other.size - shared)
