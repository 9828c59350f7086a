"""Duplicates between train and held-out prompts, against a search that compares every pair."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data import leakage
from harness.data.conversion import load
from harness.data.examples import make_example, prompt_key
from harness.data.leakage import Match, find_overlap
from harness.data.sources import SourceSpec
from harness.records import Example, Message


def example(prompt: str) -> Example:
    return make_example([Message("system", "Be kind to all of the people."), Message("user", prompt)], "x")


def shingles(key: str) -> set[tuple[str, ...]]:
    words = key.split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)} if len(words) >= 5 else set()


def brute_force(rows: list[Example], held_out: list[Example]) -> list[tuple[int, str, float]]:
    """(row, kind, similarity) by comparing every pair."""
    keys = {prompt_key(example.prompt) for example in [*rows, *held_out]}
    counts = Counter(shingle for key in keys for shingle in shingles(key))
    limit = max(leakage.BOILERPLATE_PROMPTS, leakage.BOILERPLATE_SHARE * len(keys))
    boilerplate = {shingle for shingle, count in counts.items() if count > limit}
    found = []
    for place, row in enumerate(rows):
        one = prompt_key(row.prompt)
        if any(prompt_key(other.prompt) == one for other in held_out):
            found.append((place, "exact", 1.0))
            continue
        a, best = shingles(one), Fraction(0)
        for b in (shingles(prompt_key(other.prompt)) for other in held_out):
            rare_a, rare_b = a - boilerplate, b - boilerplate
            if rare_a and rare_b and Fraction(len(rare_a & rare_b), len(rare_a | rare_b)) >= Fraction(4, 5):
                best = max(best, Fraction(len(a & b), len(a | b)))
        if best >= Fraction(4, 5):
            found.append((place, "near", float(best)))
    return found


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Example], list[Example]]:
    """Prompts made from one another by small edits, some behind a shared instruction."""
    rng = draw(st.randoms(use_true_random=False))
    originals = [[rng.choice("abcdefgh") for _ in range(rng.randint(3, 25))] for _ in range(4)]
    shared = ["read", "the", "text", "below", "and", "answer", "in", "one", "short", "sentence"]

    def prompt() -> Example:
        words = rng.choice(originals).copy()
        for _ in range(rng.randint(0, 2)):
            words[rng.randrange(len(words))] = rng.choice("abcdefghij")
        return example(" ".join(shared * rng.randint(0, 1) + words))

    return [prompt() for _ in range(rng.randint(0, 40))], [prompt() for _ in range(rng.randint(0, 12))]


@settings(deadline=None)
@given(corpora(), st.integers(2, 12))
def test_the_index_finds_what_comparing_every_pair_finds(
    corpus: tuple[list[Example], list[Example]], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leakage, "BOILERPLATE_PROMPTS", limit)
        rows, held_out = corpus
        matches = find_overlap(rows, held_out)
        assert [(match.row, match.kind, match.similarity) for match in matches] == brute_force(rows, held_out)


LONG = "Explain in simple words why the sky is blue in the morning and red in the evening of a fine day"
PAIRS = [
    (LONG, LONG.upper() + "!", "exact"),
    (LONG, LONG.replace("fine", "hot"), "near"),
    (LONG, LONG.replace("why", "how").replace("evening", "night"), None),
    ("Name a colour now please", "Name a colour now, please?", "exact"),
    ("What is 2+2?", "what is 2+2", "exact"),
    ("What is 2+2?", "What is 2-2?", None),
    ("one two three four", "one two three four five", None),
    ("", "", "exact"),
]


@pytest.mark.parametrize(("row", "held_out", "kind"), PAIRS)
def test_pairs(row: str, held_out: str, kind: str | None) -> None:
    found = find_overlap([example("Something else altogether, of course"), example(row)], [example(held_out)])
    assert [(match.row, match.kind) for match in found] == ([(1, kind)] if kind else [])


def test_the_threshold_is_included() -> None:
    """Two prompts of 9 shingles with 8 in common: 8 / 10 is near."""
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]
    row, held_out = example(" ".join(words)), example(" ".join([*words[:-1], "z"]))
    assert find_overlap([row], [held_out]) == [Match(0, 0, "near", 0.8)]


def test_the_most_similar_row_is_named_and_repeats_are_all_found() -> None:
    held_out = [example(LONG.replace("fine", "hot")), example(LONG + " at home"), example(LONG + " indeed")]
    assert [(m.row, m.held_out) for m in find_overlap([example(LONG)] * 3, held_out)] == [
        (0, 2),
        (1, 2),
        (2, 2),
    ]


def test_shared_boilerplate_is_no_leak() -> None:
    """Tasks of one kind: all prompts begin with the same hundred words and ask of different things."""
    words = random.Random(0)
    lead = " ".join(f"word{n}" for n in range(100))
    texts = [f"{lead} {' '.join(str(words.randrange(9999)) for _ in range(6))}" for _ in range(60)]
    rows, held_out = list(map(example, texts[:40])), list(map(example, texts[40:]))
    assert find_overlap(rows, held_out) == []
    copied = example(texts[45] + "!")
    assert find_overlap([*rows, copied], held_out) == [Match(40, 5, "exact", 1.0)]


def test_a_leak_behind_boilerplate_is_found() -> None:
    lead = "Here is a customer's review of a product. Say whether it is positive, and give reasons. "
    rows = [example(f"{lead}{n} {n + 1} {n + 2} {n + 3} {n + 4}") for n in range(0, 300, 7)]
    [match] = find_overlap([*rows, example(f"{lead}{LONG} at home")], [example(lead + LONG)])
    assert (match.row, match.kind) == (len(rows), "near")


@pytest.mark.parametrize("rows", [[], [example(LONG)]])
def test_empty_sides(rows: list[Example]) -> None:
    assert find_overlap(rows, []) == []
    assert find_overlap([], rows) == []


def test_real_conversations_overlap(shared: Path) -> None:
    """The demonstration file of tool calls repeats itself, word for word and nearly so."""
    examples = load(SourceSpec(str(shared / "data" / "conversations_300.json"))).examples
    rows, held_out = examples[60:120], examples[:60]
    matches = find_overlap(rows, held_out)
    assert [(match.row, match.kind, match.similarity) for match in matches] == brute_force(rows, held_out)
    assert {match.kind for match in matches} == {"exact", "near"}


@pytest.mark.slow
@pytest.mark.parametrize("lead", ["", " ".join(f"word{n}" for n in range(100))], ids=["plain", "boilerplate"])
def test_fifty_thousand_rows(lead: str) -> None:
    rng = random.Random(0)
    vocabulary = [f"{a}{b}" for a in "bcdfglmnprst" for b in "aeiou"] + ["the", "of"] * 10

    def prompts(count: int) -> list[Example]:
        return [
            example(f"{lead} {' '.join(rng.choices(vocabulary, k=rng.randint(8, 60)))}") for _ in range(count)
        ]

    rows, held_out = prompts(50_000), prompts(1000)
    matches = find_overlap([*rows, *held_out[:10]], held_out)
    assert [match.row for match in matches if match.kind == "exact"] == list(range(50_000, 50_010))
