"""The charts' geometry: scales, ticks, fronts, and names that do not cover each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import format as fmt
from harness.report.charts import colour, common, labels, money
from harness.report.charts.common import fitting, text_width, tick_texts
from harness.report.charts.loss import downsample

COSTS = st.floats(1e-6, 1e6)
FRAME = labels.Frame(64, 636, 20, 316)


def test_a_spike_survives_downsampling() -> None:
    points = [(float(i), 1.0) for i in range(10_000)]
    points[4321] = (4321.0, 99.0)
    kept = downsample(points)
    assert len(kept) <= 300
    assert (4321.0, 99.0) in kept
    assert [kept[0], kept[-1]] == [points[0], points[-1]]
    assert kept == sorted(kept)


@pytest.mark.parametrize(
    ("ticks", "show", "unit", "expected"),
    [
        ([9.5, 10.0, 10.5], fmt.seconds, "s", ["9.5s", "10.0s", "10.5s"]),
        ([30, 60, 90], fmt.seconds, "s", ["30s", "1m 00s", "1m 30s"]),
        ([0.41, 0.42], fmt.share, "%", ["41.0%", "42.0%"]),
        ([0.4120, 0.4122, 0.4124], fmt.share, "%", ["41.20%", "41.22%", "41.24%"]),
        ([1.001, 1.002, 1.003], fmt.number, "", ["1.001", "1.002", "1.003"]),
        ([], fmt.number, "", []),
    ],
)
def test_ticks_have_the_digits_to_differ(
    ticks: list[float], show: Callable[[float | None], str], unit: str, expected: list[str]
) -> None:
    assert tick_texts(ticks, show, unit) == expected


@pytest.mark.parametrize(
    ("direction", "front"), [(1, [(1.0, 2.0), (2.0, 5.0)]), (-1, [(1.0, 2.0), (3.0, 1.0)])]
)
def test_pareto_front(direction: int, front: list[tuple[float, float]]) -> None:
    points = [(2.0, 5.0), (1.0, 2.0), (3.0, 1.0), (2.0, 4.0), (4.0, 3.0)]
    assert money.pareto_front(points, direction) == front


@pytest.mark.parametrize(
    ("free", "front"),
    [(1.0, [(1.0, 2.0), (2.0, 5.0)]), (2.0, [(2.0, 5.0)]), (3.5, [(2.0, 5.0)]), (5.0, [])],
)
def test_what_is_free_beats_all_that_is_no_better(free: float, front: list[tuple[float, float]]) -> None:
    points = [(2.0, 5.0), (1.0, 2.0), (3.0, 1.0), (2.0, 4.0), (4.0, 3.0)]
    assert money.pareto_front(points, 1, free) == front
    mirrored = [(cost, -value) for cost, value in points]
    assert money.pareto_front(mirrored, -1, -free) == [(cost, -value) for cost, value in front]


@given(st.lists(st.tuples(COSTS, st.integers(-9, 9).map(float)), min_size=1), st.sampled_from([1, -1]))
def test_the_front_is_what_no_other_beats(points: list[tuple[float, float]], direction: int) -> None:
    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one != other and one[0] <= other[0] and direction * one[1] >= direction * other[1]

    front = money.pareto_front(points, direction)
    assert set(front) == {p for p in points if not any(beats(other, p) for other in points)}
    assert front == sorted(front)


@given(st.lists(COSTS, min_size=1, max_size=30))
def test_every_cost_lies_in_the_plot_and_only_wide_spans_are_logarithmic(costs: list[float]) -> None:
    scale = money.cost_scale(costs, 60, 620)
    assert all(60 <= scale(cost) <= 620 for cost in costs)
    assert scale.logarithmic == (max(costs) > 20 * min(costs))
    for ticks in (money.money_ticks(scale), money.time_ticks(scale)):
        assert all(60 - 1e-6 <= scale(value) <= 620 + 1e-6 for value, _ in ticks)
    texts = [text for _, text in money.money_ticks(scale)]
    assert len(set(texts)) == len(texts) >= 1


def test_without_any_cost_in_money_there_is_still_a_scale() -> None:
    assert money.cost_scale([0.0, 0.0], 60, 620)(0.0) == 60


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0"), (0.000012345, "$0.0000123"), (0.0199, "$0.0199"), (0.5, "$0.50"), (0.125, "$0.125"),
     (1, "$1.00"), (12_345.678, "$12,345.68")],
)  # fmt: skip
def test_small_sums_keep_three_digits(value: float, text: str) -> None:
    assert money.dollars(value) == text


SPOTS = st.lists(
    st.tuples(st.floats(64, 620), st.floats(26, 318), st.floats(14, 170), st.floats(0, 40), st.floats(0, 40)),
    max_size=40,
).map(lambda found: [labels.Spot(x, y, width, y - up, y + down) for x, y, width, up, down in found])


@given(SPOTS)
def test_no_name_covers_another_or_leaves_the_frame(spots: list[labels.Spot]) -> None:
    places = [place for place in labels.place(spots, FRAME) if place is not None]
    for one, other in combinations(places, 2):
        assert abs(one.line - other.line) >= labels.LINE or one.end <= other.start or other.end <= one.start
    assert all(FRAME.left <= place.start < place.end <= FRAME.right for place in places)


@given(SPOTS)
def test_eleven_names_all_have_a_place(spots: list[labels.Spot]) -> None:
    """Each takes at most two lines of the grid from another, of 22 to the right or to the left."""
    assert None not in labels.place(spots[:11], FRAME)


def test_a_name_stands_beside_its_point_where_there_is_room() -> None:
    spots = [labels.Spot(100, 100, 50, 90, 110), labels.Spot(600, 200, 50, 200, 200)]
    assert labels.place(spots, FRAME) == [
        labels.Place(110, 160, 104, is_right=True, is_led=False),
        labels.Place(540, 590, 204, is_right=False, is_led=False),
    ]


def test_a_name_does_not_stand_across_an_interval() -> None:
    first, second = labels.Spot(200, 100, 50, 95, 105), labels.Spot(230, 120, 50, 80, 160)
    left, right = labels.place([first, second], FRAME)
    assert left is not None
    assert right is not None
    assert (left.is_right, right.is_right) == (False, True)


@given(st.lists(st.floats(16, 258), max_size=25))
def test_stacked_names_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    found = labels.stacked(wanted, 16, 258)
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    step = min(labels.LINE, (258 - 16) / max(len(wanted) - 1, 1))
    assert all(found[b] - found[a] >= step - 1e-6 for a, b in pairwise(order))
    assert all(16 - 1e-6 <= height <= 258 + 1e-6 for height in found)


@given(st.text(max_size=80), st.floats(30, 200))
def test_a_name_fits_its_room(name: str, room: float) -> None:
    short = fitting(name, room)
    assert text_width(short) <= room or len(short) <= 2
    assert short == name or "…" in short


def test_long_names_keep_both_ends() -> None:
    shown = {fitting(f"a-long-name-of-a-recipe-with-alpha-{alpha}", 120) for alpha in (8, 16, 32)}
    assert len(shown) == 3
    assert all(name.startswith("a-long") for name in shown)


def test_two_dozen_candidates_have_lines_of_their_own() -> None:
    assert len({colour(index) for index in range(25)}) == 25


def test_a_name_that_fits_nowhere_is_never_measured_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[int] = []

    def measure(text: str) -> float:
        measured.append(len(text))
        return text_width(text)

    monkeypatch.setattr(common, "text_width", measure)
    name = "a" * 50_000 + "b" * 50_000
    assert re.fullmatch("a+…b+", fitting(name, 150))
    assert 0 < max(measured) < 100
