"""Findings: every number is one of results.json, and each thing worth saying is said when it is so."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_inputs import make_report_input
from test_rank import Entry, World, always, base

from harness import format as fmt
from harness.leaderboard.cautions import board_warnings
from harness.leaderboard.findings import findings

Json = dict[str, Any]
CONSTANTS = {"95", "0.05", "0.001", "10", "0", "1", "100,000"}
"""The level of all intervals and tests, the limit of unparsed verdicts, the ends of an agreement."""
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")


def board(tmp_path: Path, examples: int = 60) -> Json:
    folder = make_report_input(tmp_path, examples=examples)
    return dict(json.loads((folder / "results.json").read_text()))


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a results.json, those in its texts (a failure's message) too."""
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from numbers(inner)
    elif isinstance(value, str):
        yield from (float(text.replace(",", "")) for text in NUMBER.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield abs(value)


def printed(value: float) -> Iterator[str]:
    """All that `harness.format` makes of a number, signs and units apart."""
    yield from (fmt.fixed(value, places) for places in range(7))
    yield from (fmt.fixed(100 * value, places) for places in range(2))
    yield from (fmt.about(value), fmt.number(value), fmt.number(value, 2))
    yield from NUMBER.findall(fmt.seconds(value))


def unfounded(results: Json) -> list[tuple[str, str]]:
    """Numbers in the findings that are no figure of the results."""
    told = {key: value for key, value in results.items() if key not in ("findings", "warnings")}
    known = CONSTANTS | set(itertools.chain.from_iterable(printed(value) for value in set(numbers(told))))
    names = sorted(
        (item["name"] for item in results["candidates"] + results["judges"]), key=len, reverse=True
    )
    found = []
    for finding in results["findings"]:
        plain = re.sub("|".join(map(re.escape, names)), "", finding)
        found += [(text, finding) for text in NUMBER.findall(plain) if text not in known]
    return found


@pytest.mark.parametrize("rank_by", ["perplexity", "gpt4", "local"])
def test_every_number_is_one_of_the_results(tmp_path: Path, rank_by: str) -> None:
    results = board(tmp_path)
    results["suite"]["rank_by"] = rank_by
    results["candidates"][2]["answers"] |= {"cost_usd": 0.4567, "prompt_tokens": 8123}
    results["findings"] = findings(results)
    assert len(results["findings"]) > 15
    assert unfounded(results) == []


def test_a_number_from_elsewhere_would_be_found(tmp_path: Path) -> None:
    results = board(tmp_path)
    results["findings"].append("full wins 12.34567% of 98,765 pairs.")
    assert [text for text, _ in unfounded(results)] == ["12.34567", "98,765"]


def test_every_number_of_a_real_ranking(tmp_path: Path) -> None:
    entries = {
        "base": base(),
        "a": Entry(0.5, judged=lambda i: (("first", "second"), ("first", "first"), ("tie", "second"))[i % 3]),
        "b": Entry(0.45, seeds=2, judged=always("second", "first")),
        "c": Entry(0.52, noise_seed=4, judged="the budget of $5.00 is spent ($5.01)"),
    }
    results = World(tmp_path, entries).rank()
    assert unfounded(results) == []
    assert "Judge reference has no word on c: the budget of $5.00 is spent ($5.01)." in results["findings"]


def said(results: Json, start: str) -> str:
    found = [finding for finding in findings(results) if finding.startswith(start)]
    assert len(found) == 1, found
    return found[0]


class TestNeighbours:
    @pytest.fixture
    def results(self, tmp_path: Path) -> Json:
        return board(tmp_path)

    def test_what_it_would_take_and_what_is_cheaper(self, results: Json) -> None:
        results["neighbours"][0] |= {"value": -0.2, "low": -0.75, "high": 0.31, "n": 60, "more_prompts": 938}
        assert said(results, "qlora-r16 and lora-r16 cannot") == (
            "qlora-r16 and lora-r16 cannot be told apart (difference −0.200, 95% −0.750 to +0.310, n = 60); "
            "lora-r16 trained 1.4 times faster. About 940 more prompts would be needed."
        )

    @pytest.mark.parametrize(
        ("change", "ending"),
        [
            ({"more_prompts": None}, "lora-r16 trained 1.4 times faster."),
            ({"more_prompts": 1}, "About 1 more prompt would be needed."),
            ({"more_prompts": 2_000_000}, "More than 100,000 more prompts would be needed."),
            ({"cheaper": None}, "n = 120). About 640 more prompts would be needed."),
            (
                {"cheaper": {"name": "full", "times": 1.04, "by": "train_seconds"}, "more_prompts": None},
                "n = 120).",
            ),
            (
                {"cheaper": {"name": "full", "times": 2.3456, "by": "train_cost_usd"}, "more_prompts": None},
                "; full trained 2.3 times cheaper.",
            ),
        ],
    )
    def test_parts_of_the_sentence(self, results: Json, change: Json, ending: str) -> None:
        results["neighbours"][0] |= change
        assert said(results, "qlora-r16 and lora-r16 cannot").endswith(ending)

    def test_only_the_first_few_are_spoken_of(self, results: Json) -> None:
        results["neighbours"] = results["neighbours"][:1] * 7
        told = [finding for finding in findings(results) if "cannot be told apart (difference" in finding]
        assert len(told) == 3

    def test_what_is_told_apart_is_not_repeated(self, results: Json) -> None:
        results["neighbours"] = [n | {"verdict": "better"} for n in results["neighbours"]]
        assert not any("cannot be told apart (difference" in finding for finding in findings(results))


def change_judge(index: int, **analysis: Any) -> Callable[[Json], None]:
    return lambda results: results["judges"][index]["analysis"].update(analysis)


def rate(name: str, **rules: float) -> Callable[[Json], None]:
    def change(results: Json) -> None:
        row = next(row for row in results["candidates"] if row["name"] == name)
        for rule, value in rules.items():
            row["win_rates"]["gpt4"]["rules"][rule]["value"] = value

    return change


def constant(results: Json) -> None:
    results["candidates"][1]["answers"]["distinct"] = 1


LENGTH = {"longer_wins": 0.631, "low": 0.58, "high": 0.68, "n": 212, "p_value": 0.0001}
STILL = {"position_p_value": 0.4}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            change_judge(1, refused="12.0% of 80 verdicts could not be read"),
            "Judge gpt4 is not believed: 12.0% of 80 verdicts could not be read.",
        ),
        (
            rate("full", average=0.52, tie_on_disagreement=0.48, consistent_only=0.55),
            "By gpt4 the rules disagree on full: 52.0% by average, 48.0% by tie on disagreement, 55.0% by "
            "consistent only. Whether it beats base depends on how disagreeing orders are counted.",
        ),
        (
            change_judge(1, length=LENGTH),
            "gpt4 prefers the longer answer: the longer one wins 63.1% [58.0 – 68.0%], n = 212, p < 0.001; "
            "it may be the better one, or no more than that. At equal length",
        ),
        (
            change_judge(1, length=LENGTH | {"longer_wins": 0.4}, length_controlled={}),
            "gpt4 prefers the shorter answer: the longer one wins 40.0%",
        ),
        (
            constant,
            "qlora-r16 gives the same answer to all 60 prompts, and still wins 64.4% against base by "
            "reference",
        ),
        (
            lambda results: None,
            "local preferred one of two identical answers in 4 of 20 control pairs (4 times",
        ),
        (lambda results: None, "The place of an answer moves gpt4: of"),
        (lambda results: None, "Judge gpt4 took $2.75 for"),
        (
            lambda results: results["judges"][1]["receipt"].update(cost_usd=None),
            "Judge gpt4 took an unknown sum",
        ),
        (lambda results: None, "gpt4 agrees with people on"),
        (
            lambda results: (
                results["judges"][0]["plugin"].update(name="length"),
                results["agreement"]["pairs"][0].update(same=0.71, n=300, kappa=0.42, low=0.3, high=0.5),
            ),
            "gpt4 says what a judge of nothing but length says on 71.0% of 300 pairs (kappa 0.42 [0.30 – "
            "0.50]): much of its verdict may be length.",
        ),
        (lambda results: None, "The judges agree with each other by Krippendorff's alpha"),
        (
            lambda results: results["candidates"][2]["answers"].update(
                cost_usd=0.4567, prompt_tokens=8123, generated_tokens=5400
            ),
            "lora-r16 was not trained here; its 60 answers cost $0.46 (8,123 tokens sent, 5,400 received).",
        ),
    ],
)
def test_what_is_worth_saying_is_said(tmp_path: Path, change: Callable[[Json], object], words: str) -> None:
    results = board(tmp_path)
    change(results)
    assert words in said(results, words[:24])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (change_judge(1, length=LENGTH | {"p_value": 0.2}), "gpt4 prefers the"),
        (change_judge(1, length=None), "gpt4 prefers the"),
        (
            lambda results: results["judges"][1]["analysis"]["swaps"].update(STILL),
            "The place of an answer moves gpt4",
        ),
        (lambda results: results.update(agreement=None), "agrees with people"),
        (
            lambda results: results["judges"][2]["analysis"]["controls"]["repeats"].update(changed=0),
            "local changed its verdict",
        ),
        (lambda results: results["candidates"][1]["answers"].update(distinct=2), "gives the same answer"),
    ],
)
def test_what_is_not_so_is_not_said(tmp_path: Path, change: Callable[[Json], object], words: str) -> None:
    results = board(tmp_path)
    change(results)
    assert not any(words in finding for finding in findings(results))


def test_a_refused_judge_gives_no_other_finding(tmp_path: Path) -> None:
    results = board(tmp_path)
    change_judge(1, refused="13.1% of 80 verdicts could not be read")(results)
    about = [finding for finding in findings(results) if re.search(r"\bgpt4\b", finding)]
    assert about == [
        "Judge gpt4 is not believed: 13.1% of 80 verdicts could not be read.",
        said(results, "gpt4 agrees with people"),
        said(results, "Judge gpt4 took"),
    ]


@pytest.mark.parametrize(
    ("cut", "sizes", "line"),
    [
        ((40, 50), (60, 60), "base 40, a 50, of 60 each."),
        ((40, 0), (60, 60), "base 40 of 60."),
        ((40, 30), (60, 40), "base 40 of 60, a 30 of 40."),
        ((6, 5), (60, 60), None),
    ],
)
def test_answers_that_were_cut_off_are_one_line(
    tmp_path: Path, cut: tuple[int, int], sizes: tuple[int, int], line: str | None
) -> None:
    results = copy.deepcopy(board(tmp_path, examples=30))
    rows = [dict(row) for row in results["candidates"][:2]]
    for row, name, count, n in zip(rows, ("base", "a"), cut, sizes, strict=True):
        row |= {"name": name, "answers": {"n": n, "cut_off": count}}
    told = [w for w in board_warnings({**results, "candidates": rows}) if "cut off" in w]
    assert told == ([f"Many answers were cut off at the limit of new tokens: {line}"] if line else [])
