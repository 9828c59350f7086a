"""Differences of shares end at 100 points, also where few seeds would leave open more."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.judging.analysis import analyse
from harness.leaderboard.comparisons import compared
from harness.leaderboard.measurements import Measured
from harness.leaderboard.verdict_lines import table
from harness.stats.power import power_of
from harness.stats.proportions import within
from harness.stats.rates import p_value_of_even, rate

Json = dict[str, Any]


def lines(wins: dict[str, tuple[str, ...]]) -> list[Json]:
    """Verdicts on a player against base in both orders: by seed a sign for each prompt, `1` where it wins."""
    rest = {"judge": "j", "preference": None, "control": "", "fault": "", "first_chars": 1, "second_chars": 1}
    found = []
    for name, seeds in wins.items():
        for seed, signs in enumerate(seeds):
            for n, sign in enumerate(signs):
                for first, second in ((name, "base"), ("base", name)):
                    choice = "first" if (first == name) == (sign == "1") else "second"
                    told = {"example_id": str(n), "first": first, "second": second, "choice": choice}
                    found.append({**told, "seed": seed, **rest})
    return found


def test_a_difference_of_win_rates_between_two_seeds_that_disagree() -> None:
    told = lines({"a": ("1" * 18 + "00", "0" * 18 + "11"), "b": ("0" * 20, "0" * 20)})
    analysis = analyse(table(told, ["base", "a", "b"]), against="base")
    (row,) = analysis["differences"]
    assert row["value"] == pytest.approx(0.5)
    assert (row["low"], row["high"]) == (-1.0, 1.0)
    assert row["smallest_effect"] is None
    assert row["verdict"] == "cannot be told apart"


def test_a_difference_between_seeds_that_agree_keeps_its_ends() -> None:
    told = lines({"a": ("1" * 15 + "0" * 5, "1" * 14 + "0" * 6), "b": ("0" * 20, "0" * 19 + "1")})
    (row,) = analyse(table(told, ["base", "a", "b"]), against="base")["differences"]
    assert -1 < row["low"] < row["value"] < row["high"] <= 1
    assert 0 < row["smallest_effect"] <= 1


@pytest.mark.parametrize(("unit", "ends_at_one"), [("%", True), ("", False)])
def test_a_metric_of_shares_ends_there_and_another_does_not(unit: str, ends_at_one: bool) -> None:
    evaluator = registry.create(registry.make_spec(registry.find("evaluator", "exact_match"), {}))
    info = {"name": "m", "unit": unit, "higher_is_better": True}
    hits = {"a": np.stack([np.ones(20), np.zeros(20)]), "b": np.zeros((2, 20))}
    seeds = {name: evaluator_statistics(found) for name, found in hits.items()}
    (row,) = compared(Measured(info, evaluator, seeds, {}, {}, {}), [("a", "b")])
    assert row["value"] == pytest.approx(0.5)
    assert ((row["low"], row["high"]) == (-1.0, 1.0)) == ends_at_one
    assert (row["smallest_effect"] is None) == ends_at_one
    assert row["verdict"] == "cannot be told apart"


def evaluator_statistics(hits: Any) -> Any:
    """(seeds, n, 2): exact match's hits and counts."""
    return np.stack([hits, np.ones_like(hits)], axis=-1)


@pytest.mark.parametrize(
    ("ends", "expected"), [((-1.4, 2.1), (-1.0, 1.0)), ((-0.4, 0.1), (-0.4, 0.1)), ((0.9, 3.0), (0.9, 1.0))]
)
def test_ends_within(ends: tuple[float, float], expected: tuple[float, float]) -> None:
    assert within(*ends, 1.0) == expected
    assert within(*ends, math.inf) == ends
    assert all(map(math.isnan, within(math.nan, math.nan, 1.0)))


def test_an_effect_above_the_largest_is_none() -> None:
    assert power_of(0.375, 8.5, 60, 3, most=1.0)["smallest_effect"] is None
    (usual,) = {power_of(0.375, 0.5, 60, 3, most=most)["smallest_effect"] for most in (1.0, math.inf)}
    assert usual is not None
    assert 0.1 < usual < 0.5


def test_one_prompt_of_several_seeds_has_no_interval_of_no_width() -> None:
    """Rounding would take the spread of one prompt, drawn again and again, for a small one."""
    one = rate([[0.5447190289810768], [0.5447190289810771]])
    assert one.n == 1
    assert one.high - one.low > 0.3
    assert p_value_of_even([[0.9], [0.9]]) == 1.0
