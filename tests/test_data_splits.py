"""Holding rows out: nobody on two sides, exact sizes, and no dependence on the order of the rows."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.examples import make_example, prompt_key
from harness.data.splits import check_sizes, default_eval_size, held_out_size, hold_out
from harness.errors import DataError
from harness.records import Example, Message


def example(prompt: str, reference: str = "x") -> Example:
    return make_example([Message("user", prompt)], reference)


PROMPTS = st.text("abAB .", min_size=1, max_size=3)
MANY = st.lists(st.builds(example, PROMPTS, st.sampled_from("xyz")), max_size=40)
DIFFERENT = st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True).map(
    lambda numbers: [example(f"prompt {number}") for number in numbers]
)
SIZES = st.tuples(st.integers(0, 12), st.integers(0, 12))
SEEDS = st.integers(0, 3)


def ids(examples: list[Example]) -> Counter[str]:
    return Counter(example.id for example in examples)


@given(MANY, SIZES, SEEDS)
def test_every_row_is_on_one_side_and_so_is_every_prompt(
    rows: list[Example], sizes: tuple[int, int], seed: int
) -> None:
    parts, rest = hold_out(rows, sizes, seed)
    everything = [*parts, rest]
    assert sum(map(ids, everything), Counter()) == ids(rows)
    keys = [{prompt_key(row.prompt) for row in part} for part in everything]
    assert sum(map(len, keys)) == len(set.union(*keys))
    assert all(len(part) <= size for part, size in zip(parts, sizes, strict=True))


@given(DIFFERENT, SIZES, SEEDS)
def test_sizes_are_exact_where_prompts_differ(rows: list[Example], sizes: tuple[int, int], seed: int) -> None:
    (first, second), rest = hold_out(rows, sizes, seed)
    assert len(first) == min(sizes[0], len(rows))
    assert len(second) == min(sizes[1], len(rows) - len(first))
    assert len(rest) == len(rows) - len(first) - len(second)


@given(MANY, SIZES, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    rows: list[Example], sizes: tuple[int, int], seed: int, random: object
) -> None:
    shuffled = rows.copy()
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    parts, rest = hold_out(rows, sizes, seed)
    other_parts, other_rest = hold_out(shuffled, sizes, seed)
    assert parts == other_parts
    assert ids(rest) == ids(other_rest)


@given(DIFFERENT, SIZES, SEEDS)
def test_a_new_row_moves_at_most_one_row_at_each_border(
    rows: list[Example], sizes: tuple[int, int], seed: int
) -> None:
    before, _ = hold_out(rows, sizes, seed)
    after, _ = hold_out([*rows, example("a new one")], sizes, seed)
    for part, grown in zip(before, after, strict=True):
        assert len(set(part) - set(grown)) <= 1
        assert len(set(grown) - set(part)) <= 1


def test_groups_are_skipped_where_they_do_not_fit() -> None:
    rows = [example("same", str(number)) for number in range(5)] + [example(f"other {n}") for n in range(4)]
    for seed in range(5):
        (part,), rest = hold_out(rows, [3], seed)
        assert len(part) == 3
        assert len(rest) == 6
    assert hold_out(rows[:5], [3], 0) == ([[]], rows[:5])


def test_rest_keeps_its_order_and_seeds_differ() -> None:
    rows = [example(f"prompt {number}") for number in range(50)]
    parts = set()
    for seed in range(4):
        (part,), rest = hold_out(rows, [10], seed)
        assert rest == [row for row in rows if row not in part]
        parts.add(tuple(sorted(row.id for row in part)))
    assert len(parts) == 4


def test_a_split_is_pinned() -> None:
    """A changed permutation would silently make another eval set of every suite."""
    rows = [example(f"prompt {number}") for number in range(10)]
    (part,), _ = hold_out(rows, [3], 0)
    assert [row.prompt[0].content for row in part] == ["prompt 9", "prompt 1", "prompt 8"]


@pytest.mark.parametrize(
    ("request_", "rows", "size"),
    [(0.05, 1000, 50), (0.05, 3, 1), (0.5, 3, 2), (0.25, 10, 3), (0.1, 999, 100), (7, 3, 7), (1, 100, 1)],
)
def test_size(request_: float, rows: int, size: int) -> None:
    assert held_out_size(request_, rows, "eval") == size


@pytest.mark.parametrize("request_", [0, -1, 0.0, 1.0, 1.5, -0.1, True, float("nan")])
def test_no_size(request_: float) -> None:
    with pytest.raises(DataError, match=r"data.eval: .* is no size; give a share between 0 and 1"):
        held_out_size(request_, 10, "eval")


@pytest.mark.parametrize(("rows", "size"), [(2, 1), (50, 5), (10_000, 1000), (50_000, 1000)])
def test_default_eval_size(rows: int, size: int) -> None:
    assert default_eval_size(rows) == size


@pytest.mark.parametrize(
    ("rows", "validation", "evaluation", "message"),
    [
        (10, 5, 5, "of 10, validation takes 5 and eval takes 5; give more rows"),
        (10, 0, 100, "of 10, eval takes 100"),
        (1, 1, 0, "of 1, validation takes 1"),
        (0, 0, 0, "no rows are left"),
    ],
)
def test_no_rows_left(rows: int, validation: int, evaluation: int, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_sizes(rows, validation, evaluation)


def test_rows_left() -> None:
    check_sizes(11, 5, 5)
