"""How single examples differ from base: bins, what lies outside, and the lengths of texts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.leaderboard.distributions import BINS, distribution, edges_of, lengths, per_example

NUMBERS = st.one_of(
    st.none(), st.just(0.0), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, allow_subnormal=False)
)


@pytest.mark.parametrize(
    ("found", "first", "last"),
    [
        ([-1.0, 1.0], -0.98, 0.98),
        ([-1.0, 0.0, 0.0, 0.0, 0.0, 3.0], -2.96, 2.96),
        ([1.0, 3.0], 0.0, 2.98),
        ([-3.0, -1.0, 0.0], -2.98, 0.0),
        ([2.0], 0.0, 2.0),
        ([1.0, 1.0, 1.0, 1.0, -4000.0], -5.0, 5.0),
    ],
)
def test_the_edges_reach_over_what_differs_and_meet_at_zero(
    found: list[float], first: float, last: float
) -> None:
    edges = edges_of([np.array(found)])
    assert edges is not None
    assert len(edges) == BINS + 1
    assert (edges[0], edges[-1]) == (pytest.approx(first), pytest.approx(last))
    assert 0.0 in edges
    assert "-0.0" not in map(str, edges)
    assert np.diff(edges) == pytest.approx(np.diff(edges)[0])


def test_without_a_difference_there_are_no_edges() -> None:
    assert edges_of([]) is None
    assert edges_of([np.zeros(5)]) is None
    edges, told = per_example({"base": [1.0, 2.0], "a": [1.0, 2.0]}, "base", higher_is_better=True)
    assert edges is None
    assert told["a"] == {
        "n": 2, "better": 0, "worse": 0, "same": 2, "below": 0, "counts": [], "above": 0, "median": 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("up", [True, False])
def test_what_lies_on_an_edge_is_in_the_bin_nearer_to_it_from_outside(up: bool) -> None:
    edges = [-2.0, -1.0, 0.0, 1.0, 2.0]
    apart = np.array([-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 2.5, 9.0])
    assert distribution(apart, edges, higher_is_better=up) == {
        "n": 10, "better": 5 if up else 4, "worse": 4 if up else 5, "same": 1,
        "below": 1, "counts": [2, 1, 1, 2], "above": 2, "median": 0.25,
    }  # fmt: skip


def test_only_examples_of_which_both_have_a_value_count() -> None:
    columns = {"base": [1.0, None, 3.0, 4.0], "a": [2.0, 2.0, None, 4.0], "silent": [None, 5.0, None, None]}
    edges, told = per_example(columns, "base", higher_is_better=False)
    assert edges is not None
    assert told.keys() == {"a"}
    assert (told["a"]["n"], told["a"]["worse"], told["a"]["same"]) == (2, 1, 1)


@given(st.dictionaries(st.sampled_from("abc"), st.lists(NUMBERS, min_size=8, max_size=8)), st.booleans())
def test_every_difference_is_counted_once_and_on_its_side(columns: dict[str, Any], up: bool) -> None:
    base: list[float | None] = [0.0, 1.0, None, -1.0, 0.0, 2.5, 0.0, 1.0]
    edges, told = per_example({"base": base, **columns}, "base", higher_is_better=up)
    for name, one in told.items():
        apart = [x - y for x, y in zip(columns[name], base, strict=True) if x is not None and y is not None]
        assert one["n"] == len(apart) == one["better"] + one["worse"] + one["same"]
        assert one["same"] == apart.count(0.0)
        assert one["better"] == sum((d > 0) == up and d != 0 for d in apart)
        assert one["below"] + sum(one["counts"]) + one["above"] == one["better"] + one["worse"]
        middle = (edges or [0.0]).index(0.0)
        assert one["below"] + sum(one["counts"][:middle]) == sum(d < 0 for d in apart)
        assert sorted(apart)[(len(apart) - 1) // 2] <= one["median"] <= sorted(apart)[len(apart) // 2]


def test_lengths_are_of_the_texts_that_are_there() -> None:
    assert lengths([]) is None
    assert lengths([None, None]) is None
    found = lengths(["", None, "é", "😀b", "abc", "abcd"])
    assert found is not None
    assert (found["unit"], found["n"], found["mean"]) == ("characters", 5, 2.0)
    assert found["quantiles"] == {"5": pytest.approx(0.2), "25": 1.0, "50": 2.0, "75": 3.0, "95": 3.8}
    assert all(math.isfinite(value) for value in found["quantiles"].values())
