"""The first screen's parts: four answers, columns that find room, badges said once."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from harness.leaderboard.cautions import board_warnings
from harness.report.board import all_warnings, build_board
from harness.report.charts.forest import forest_charts
from harness.report.views.glance import at_a_glance
from harness.report.views.scores import neighbours
from harness.report.whiskers import whiskers

Json = dict[str, Any]


@pytest.fixture(scope="module")
def examples() -> int:
    return 40


def answers(results: Json) -> dict[str, tuple[str, ...]]:
    return {answer.question: (answer.short, *answer.more) for answer in at_a_glance(results)}


def test_the_four_answers(results: Json) -> None:
    assert answers(results) == {
        "Which?": ("qlora-r16, lora-r16 or full", "qlora-r16: rank 1–3 of 5, by perplexity"),
        "By how much?": ("−28.6", "perplexity: 9.83, base 38.4", "95% interval −30.9 to −26.3, n = 40",
                         "−0.197 [−0.697 to +0.303] against lora-r16, next in rank: cannot be told apart"),
        "Is it real?": ("better than base", "p < 0.001 after correction", "lora-r16 and full may be as good",
                        "trained with one seed"),
        "At what price?": (
            "1m 36s of training", "lora-r16: 1m 11s, 1.4 times faster to train", "804 MB peak memory",
        ),
    }  # fmt: skip


def told_apart(results: Json) -> None:
    """The leader from all others."""
    for pair in results["pairs"]:
        if "qlora-r16" in (pair["a"], pair["b"]):
            pair["verdict"] = "a" if pair["a"] == "qlora-r16" else "b"


def test_one_name_is_in_large_type_only_where_no_other_may_be_as_good(results: Json) -> None:
    level = [pair for pair in results["pairs"] if pair["metric"] == "perplexity"]
    for pair in level:
        pair["verdict"] = "cannot be told apart"
    which, *_ = at_a_glance(results)
    assert (which.short, which.index) == ("qlora-r16, lora-r16, full and 2 more", None)
    told_apart(results)
    which, *_ = at_a_glance(results)
    assert (which.short, which.index) == ("qlora-r16", 1)


@pytest.mark.parametrize(("times", "said"), [(1.04, None), (1.06, "lora-r16, 1.1 times faster")])
def test_what_costs_hardly_less_is_not_called_cheaper(results: Json, times: float, said: str | None) -> None:
    leader, second, third, *_ = results["candidates"][1:]
    leader["costs"]["train_seconds"] = times * second["costs"]["train_seconds"]
    third["costs"]["train_seconds"] = 1000.0
    results["neighbours"][0]["cheaper"] = {"name": "lora-r16", "times": times, "by": "train_seconds"}
    assert neighbours(results)[0]["cheaper"] == (said or "–")
    beside = answers(results)["At what price?"][1:]
    assert any("times faster" in line for line in beside) == bool(said)
    assert "the least of those that may be as good" not in beside


@pytest.mark.parametrize(
    ("row", "seeds", "said"),
    [
        ({"low": -1.0, "high": 1.0}, [0, 1], "none: so few seeds can show no difference"),
        ({"low": -1.0, "high": 1.0}, [0], "none: so few prompts can show no difference"),
        ({"low": 0.0, "high": 0.0}, [0, 1], "–"),
        ({"low": None, "high": None}, [0, 1], "–"),
    ],
)
def test_why_there_is_no_smallest_effect(results: Json, row: Json, seeds: list[int], said: str) -> None:
    results["neighbours"][0] |= {**row, "smallest_effect": None}
    results["candidates"][2]["seeds"] = seeds
    assert neighbours(results)[0]["effect"] == said


def test_a_judge_that_is_not_believed_is_marked_where_its_figures_stand(results: Json) -> None:
    assert {c.key: c.doubt for c in build_board(results).columns if c.doubt} == {}
    results["judges"][1]["analysis"]["refused"] = "95.0% of 120 verdicts could not be read"
    board = build_board(results)
    (place,) = (i for i, column in enumerate(board.columns) if column.doubt)
    assert (board.columns[place].key, board.columns[place].doubt) == ("gpt4", "not believed")
    assert {row.cells[place].verdict for row in board.rows} == {""}
    (panel,) = (chart for chart in forest_charts(results, board) if "gpt4" in chart.title)
    assert panel.title == "gpt4 win rate (not believed), against base"
    assert {row[-1].text for row in panel.figures.rows} == {"not believed"}
    assert not re.search("[▲▼≈]", panel.svg)
    assert board_warnings(results)[-1] == (
        "Judge gpt4 is not believed: nothing is concluded from its win rates."
    )


def test_a_judge_with_a_warning_is_marked_where_its_figures_stand(results: Json) -> None:
    judges = {judge["name"]: judge for judge in results["judges"]}
    for judge in judges.values():
        judge["warnings"] = []
    assert {c.key for c in build_board(results).columns if c.caution} == set()
    judges["gpt4"]["warnings"] = ["Half of it is noise."]
    assert {c.key: c.caution for c in build_board(results).columns if c.caution} == {"gpt4": "read with care"}
    assert "Half of it is noise." in list(all_warnings(results))
    judges["gpt4"]["analysis"]["refused"] = "95.0% of 120 verdicts could not be read"
    assert {c.key for c in build_board(results).columns if c.caution} == set()
    assert "Half of it is noise." not in list(all_warnings(results))


def test_one_example_has_no_interval(results: Json) -> None:
    rate = results["candidates"][1]["win_rates"]["gpt4"]["rules"]["average"]
    rate |= {"value": 0.545, "low": 0.545, "high": 0.545, "n": 1}
    board = build_board(results)
    place = next(i for i, column in enumerate(board.columns) if column.key == "gpt4")
    cell = board.rows[1].cells[place]
    assert (cell.text, cell.interval, cell.margin, cell.note) == ("54.5%", "", "", "n = 1, no interval")


def verdict(value: str) -> Callable[[Json], object]:
    return lambda r: r["candidates"][1]["differences"]["perplexity"].update(verdict=value, p_adjusted=0.2)


@pytest.mark.parametrize(
    ("change", "question", "expected"),
    [
        (verdict("cannot be told apart"), "Is it real?", "cannot be told apart from base"),
        (verdict("worse"), "Is it real?", "worse than base"),
        (
            lambda r: r["candidates"][1]["differences"].update(perplexity={"missing": "none in common"}),
            "By how much?",
            "not known",
        ),
        (
            lambda r: r["candidates"][1]["costs"].update(train_cost_usd=2.5),
            "At what price?",
            "$2.50 of training",
        ),
        (lambda r: r["candidates"][1].update(training=None, costs={}), "At what price?", "not trained"),
        (
            lambda r: r["candidates"][1].update(training=None, costs={"predict_cost_usd": 0.42}),
            "At what price?",
            "$0.42 for its answers",
        ),
        (
            lambda r: r["candidates"][1]["costs"].update(train_seconds=None),
            "At what price?",
            "not measured",
        ),
    ],
)
def test_an_answer_is_what_the_results_say(
    results: Json, change: Callable[[Json], object], question: str, expected: str
) -> None:
    change(results)
    assert answers(results)[question][0] == expected


def test_a_judge_that_ranks_answers_by_its_win_rate(results: Json) -> None:
    results["suite"]["rank_by"] = "gpt4"
    rate = results["candidates"][1]["win_rates"]["gpt4"]["rules"]["average"]
    told = answers(results)
    assert told["Which?"][1].endswith("by the judge gpt4")
    assert told["By how much?"][:2] == (f"{rate['value'] * 100:.1f}%", "win rate against base")


@pytest.mark.parametrize(
    "change",
    [
        lambda r: [c.update(rank=None) for c in r["candidates"]],
        lambda r: r["suite"].update(rank_by="unknown"),
        lambda r: r.update(candidates=r["candidates"][:1]),
    ],
    ids=["nobody ranked", "by unknown", "base alone"],
)
def test_where_nobody_leads_nothing_is_answered(results: Json, change: Callable[[Json], object]) -> None:
    change(results)
    assert at_a_glance(results) == []


def test_costs_that_find_no_room_are_spare_and_quality_never_is(results: Json) -> None:
    few = build_board(results | {"judges": results["judges"][:1]})
    assert [c.key for c in few.columns if c.spare] == ["trainable_parameters", "artifact_bytes"]
    many = build_board(results)
    assert [c.key for c in many.columns if c.kind == "cost" and not c.spare] == ["train_seconds"]
    assert not any(c.spare for c in many.columns if c.kind != "cost")
    assert [c.key for c in many.columns if c.ranks] == ["perplexity"]


def test_what_a_served_model_costs_is_always_seen(results: Json) -> None:
    results["candidates"][2].update(training=None, costs={"predict_cost_usd": 0.42})
    seen = [c.key for c in build_board(results).columns if c.kind == "cost" and not c.spare]
    assert "predict_cost_usd" in seen


def test_a_link_calls_no_two_columns_the_same(results: Json) -> None:
    results["metrics"] += [
        dict(results["metrics"][0], name=name) for name in ("rank", "gpt4", "train_seconds")
    ]
    ids = [column.id for column in build_board(results).columns]
    assert len(ids) == len(set(ids))
    assert not {"rank", "candidate"} & set(ids)


def badges(results: Json) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], list[tuple[str, ...]]]:
    board = build_board(results)
    return board.alike, board.trained_alike, board.otherwise, [row.badges for row in board.rows]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["f32 cpu", "f32 cpu b16", "f32 cpu b16"], ("f32 cpu", "b16", "", ["", "", ""])),
        (
            ["f32 cpu", "f32 cpu b16", "f32 cpu b16", "nf4 cpu b16"],
            ("cpu", "b16", "f32", ["f32", "", "", "nf4"]),
        ),
        # One without a badge would be taken for one of the many.
        (["f32", "f32 b16", "f32 b16", "f32"], ("f32", "", "", ["", "b16", "b16", ""])),
        (["", "b16", "b32"], ("", "", "", ["", "b16", "b32"])),
    ],
)
def test_badges_that_most_have_are_said_once(
    results: Json, given: list[str], expected: tuple[str, str, str, list[str]]
) -> None:
    results["candidates"] = results["candidates"][: len(given)]
    for candidate, text in zip(results["candidates"], given, strict=True):
        candidate["badges"] = text.split()
    alike, trained, otherwise, rows = badges(results)
    assert (" ".join(alike), " ".join(trained), " ".join(otherwise), [" ".join(r) for r in rows]) == expected


def test_whiskers_of_differences_stand_where_there_is_one(results: Json) -> None:
    board = build_board(results)
    for row, drawn in zip(board.rows, whiskers(board), strict=True):
        for cell, pair in zip(row.cells, drawn, strict=True):
            assert bool(pair.difference) == (cell.difference is not None)
            assert bool(pair.value) == (cell.low is not None)
