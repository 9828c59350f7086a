"""Sentences of the page and of its headline claim no more than the figures behind them show."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from visible_page import read

from harness.leaderboard.findings import findings
from harness.leaderboard.findings.words import WITHHELD
from harness.report.views.glance import at_a_glance
from harness.report.views.methods import methods

Json = dict[str, Any]
LEADER = "qlora-r16"


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


def told(results: Json, question: str) -> tuple[str, ...]:
    (answer,) = (one for one in at_a_glance(results) if one.question == question)
    return answer.short, *answer.more


def lead(results: Json) -> None:
    """The first is shown to be better than everybody, and nobody failed."""
    results["candidates"].pop()
    results["candidates"][1]["rank"] = [1, 1]
    for pair in results["pairs"]:
        if LEADER in (pair["a"], pair["b"]):
            pair["verdict"] = "a" if pair["a"] == LEADER else "b"


def ahead_of_base(results: Json, verdict: str) -> None:
    results["candidates"][1]["differences"]["perplexity"]["verdict"] = verdict
    results["pairs"] = [pair for pair in results["pairs"] if "base" not in (pair["a"], pair["b"])]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda r: None, "ahead of every other candidate"),
        (lambda r: r["candidates"][2].update(rank=None), "ahead of every other ranked candidate"),
        (lambda r: ahead_of_base(r, "worse"), "ahead of every other candidate, base not counted"),
        (
            lambda r: ahead_of_base(r, "cannot be told apart"),
            "ahead of every other candidate, base not counted",
        ),
    ],
    ids=["all", "one is not ranked", "base is better", "base may be as good"],
)
def test_whom_the_leader_is_ahead_of(results: Json, change: Callable[[Json], object], expected: str) -> None:
    lead(results)
    change(results)
    ahead, seeds = told(results, "Is it real?")[-2:]
    assert (ahead.removesuffix(", by perplexity"), seeds) == (expected, "trained with one seed")


def test_a_win_rate_against_the_field_beats_the_field_and_not_all_of_it(results: Json) -> None:
    results["suite"]["rank_by"] = "local"
    assert results["candidates"][1]["win_rates"]["local"]["verdict"] == "better"
    short, *more = told(results, "Is it real?")
    assert short == "better than the field"
    assert more[-2] == "lora-r16, full and lora-r4 may be as good"


def test_a_leader_of_one_training_is_called_so(results: Json) -> None:
    """Its p-value is over examples: two trainings by one recipe are told apart by it, too."""
    assert told(results, "Is it real?")[-1] == "trained with one seed"
    results["candidates"][1]["seeds"] = [0, 1]
    assert "seed" not in " ".join(told(results, "Is it real?"))
    results["candidates"][1].update(seeds=[0], training=None)
    assert "seed" not in " ".join(told(results, "Is it real?"))


@pytest.mark.parametrize("verdict", ["worse", "cannot be told apart"])
def test_the_headline_calls_nobody_best_whom_base_is_before(results: Json, verdict: str) -> None:
    usual = findings(copy.deepcopy(results))[0]
    assert usual.startswith(f"{LEADER} has the best perplexity (lower is better)")
    results["candidates"][0]["scores"]["perplexity"].update(value=5.0, low=4.5, high=5.5)
    difference = results["candidates"][1]["differences"]["perplexity"]
    difference.update(value=4.83, low=-1.0, high=10.0, verdict=verdict)
    assert findings(results)[0].startswith(
        f"{LEADER} has the best perplexity, after base's (lower is better)"
    )


def test_a_small_p_value_without_a_verdict_has_its_reason(index: Path, results: Json) -> None:
    """Else `p = 0.010` would stand beside "cannot be told apart"."""
    judge = results["judges"][1]
    held = [pair for pair in judge["pairs"] if pair["withheld"] == "unread"]
    assert any(pair["p_adjusted"] < 0.05 for pair in held)
    table = next(
        node
        for node in read(index.read_text()).all("table")
        if any(caption.text == "Every two players by gpt4" for caption in node.all("caption"))
    )
    said = [row.text for row in table.all("tr") if WITHHELD["unread"] in row.text]
    assert [row.split()[:2] for row in said] == [[pair["a"], pair["b"]] for pair in held]


def test_the_front_says_what_it_leaves_out(index: Path) -> None:
    (chart,) = (node for node in read(index.read_text()).all("figure") if "tradeoff" in node.classes)
    assert "the candidates better than base, which costs nothing, that no other matches" in chart.text
    assert "Intervals do not count for it" in chart.text


@pytest.mark.parametrize(("dropped", "less"), [(0, ""), (1, "; 1 more was"), (2, "; 2 more were")])
def test_the_methods_tell_the_rows_that_an_eval_source_lost(results: Json, dropped: int, less: str) -> None:
    """They are not among the examples that are counted before them."""
    source = {"part": "eval", "path": "eval.jsonl", "rows": 59 + dropped, "unusable": 0}
    results["data"].update(eval_dropped_too_long=dropped, max_length=1024, sources=[source])
    results["data"]["rows"]["eval"] = 59
    more = f"{less} left out as longer than the limit of 1,024 tokens" if less else ""
    told = f"The 59 eval examples are from a source of their own (eval.jsonl){more}."
    assert told in methods(results)["text"]
