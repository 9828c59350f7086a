"""The first screen's parts: four answers, columns that find room, badges said once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from report_inputs import make_report_input

from harness.report.board import build_board
from harness.report.views.glance import at_a_glance
from harness.report.whiskers import whiskers

Json = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Json:
    folder = make_report_input(tmp_path_factory.mktemp("board"), examples=40)
    return dict(json.loads((folder / "results.json").read_text()))


@pytest.fixture
def results(made: Json) -> Json:
    return copy.deepcopy(made)


def answers(results: Json) -> dict[str, tuple[str, ...]]:
    return {answer.question: (answer.short, *answer.more) for answer in at_a_glance(results)}


def test_the_four_answers(results: Json) -> None:
    assert answers(results) == {
        "Which?": ("qlora-r16", "rank 1–3 of 5, by perplexity"),
        "By how much?": ("−28.6", "perplexity: 9.83, base 38.4", "95% interval −30.9 to −26.3, n = 40"),
        "Is it real?": ("better than base", "p < 0.001 after correction", "lora-r16 and full may be as good"),
        "At what price?": (
            "1m 36s of training", "lora-r16: 1m 11s, 1.4 times faster to train", "804 MB peak memory",
        ),
    }  # fmt: skip


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
