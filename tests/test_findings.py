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
from board_world import Entry, World, always, base
from report_inputs import make_report_input

from harness import format as fmt
from harness.leaderboard.cautions import board_warnings
from harness.leaderboard.findings import findings
from harness.leaderboard.findings.words import few
from harness.leaderboard.win_rates import agreements
from harness.records import CHOICES

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
    assert "Judge reference has no verdict on c: the budget of $5.00 is spent ($5.01)." in results["findings"]


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
            "lora-r16 trained 1.4 times faster. About 940 more prompts would be needed, if that is the true "
            "difference."
        )

    @pytest.mark.parametrize(
        ("change", "ending"),
        [
            ({"more_prompts": None}, "lora-r16 trained 1.4 times faster."),
            ({"more_prompts": 1}, "About 1 more prompt would be needed, if that is the true difference."),
            ({"more_prompts": 2_000_000}, "More than 100,000 more prompts would be needed."),
            ({"cheaper": None}, "About 640 more prompts would be needed, if that is the true difference."),
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
        words = "cannot be told apart (difference"
        assert any(words in finding for finding in findings(results))
        results["neighbours"] = [n | {"verdict": "better"} for n in results["neighbours"]]
        assert not any(words in finding for finding in findings(results))


def change_judge(index: int, **analysis: Any) -> Callable[[Json], None]:
    return lambda results: results["judges"][index]["analysis"].update(analysis)


def rate(name: str, **rules: float) -> Callable[[Json], None]:
    def change(results: Json) -> None:
        for rule, value in rules.items():
            results["judges"][1]["analysis"]["rates"][name]["rules"][rule]["value"] = value

    return change


def constant(results: Json) -> None:
    results["candidates"][1]["answers"]["distinct"] = 1


def ties_alone(results: Json) -> None:
    """A constant answer that ties half its pairs and wins few: that is nobody's fault."""
    constant(results)
    for rate in results["candidates"][1]["win_rates"].values():
        rate["rules"]["average"]["value"], rate["wins"] = 0.5, 0.2


LENGTH = {
    "longer_wins": 0.631, "low": 0.58, "high": 0.68, "n": 212, "prompts": 60, "pairs": 106, "p_value": 0.0001
}  # fmt: skip
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
            "gpt4 prefers the longer answer: the longer one wins 63.1% [58.0 – 68.0%], "
            "n = 60 prompts (106 pairs), "
            "p < 0.001; "
            "it may be the better one, or no more than that. At equal length",
        ),
        (
            change_judge(1, length=LENGTH | {"longer_wins": 0.4}, length_controlled={}),
            "gpt4 prefers the shorter answer: the longer one wins 40.0%",
        ),
        (
            lambda results: (
                change_judge(1, length=LENGTH | {"longer_wins": 0.4})(results),
                results["judges"][1]["analysis"]["length_controlled"]["lora-r16"].update(
                    value=None, low=None, high=None
                ),
            ),
            "gpt4 prefers the shorter answer: the longer one wins 40.0% [58.0 – 68.0%], "
            "n = 60 prompts (106 pairs), p < 0.001; it may be the better one, or no more than that. "
            "What lora-r16 would win at equal length cannot be told from its verdicts.",
        ),
        (
            constant,
            "qlora-r16 gives the same answer to all 60 prompts, and still wins 64.4% of pairs against "
            "base by reference",
        ),
        (
            lambda results: None,
            "Of 20 pairs of identical answers local called 16 a tie; of 4 it preferred the first, of 0 the",
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
                results["judges"][0].update(verdicts_of="length"),
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
        (change_judge(1, length=LENGTH | {"p_value": 0.2}), "gpt4 prefers the longer answer"),
        (change_judge(1, length=None), "gpt4 prefers the longer answer"),
        (
            lambda results: results["judges"][1]["analysis"]["swaps"].update(STILL),
            "The place of an answer moves gpt4",
        ),
        (lambda results: results.update(agreement=None), "agrees with people"),
        (
            lambda results: results["judges"][2]["analysis"]["controls"]["repeats"].update(changed=0),
            "local said the same of",
        ),
        (lambda results: results["candidates"][1]["answers"].update(distinct=2), "gives the same answer"),
        (ties_alone, "gives the same answer"),
    ],
)
def test_what_is_not_so_is_not_said(tmp_path: Path, change: Callable[[Json], object], words: str) -> None:
    results = board(tmp_path)
    for so in (change_judge(1, length=LENGTH), constant):
        so(results)
    assert any(words in finding for finding in findings(results))
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
    ("missing", "told"), [((0, 34), "a 34 of 60"), ((7, 34), "base 7 of 60, a 34 of 60"), ((0, 6), None)]
)
def test_more_than_a_tenth_of_missing_answers_is_a_warning_of_the_board(
    tmp_path: Path, missing: tuple[int, int], told: str | None
) -> None:
    results = copy.deepcopy(board(tmp_path, examples=30))
    rows = [dict(row) for row in results["candidates"][:2]]
    for row, name, count in zip(rows, ("base", "a"), missing, strict=True):
        row |= {"name": name, "answers": {"n": 60, "missing": count, "cut_off": 0}}
    found = [w for w in board_warnings({**results, "candidates": rows}) if "missing" in w]
    assert [w.partition("; ")[0] for w in found] == ([f"Many answers are missing: {told}"] if told else [])


@pytest.mark.parametrize(
    ("dropped", "line"),
    [
        (0, None),
        (
            1,
            "1 of 60 eval rows was longer than prompting allows (max_length 1,024) and was left out.",
        ),
        (
            2,
            "2 of 61 eval rows were longer than prompting allows (max_length 1,024) and were left out.",
        ),
    ],
)
def test_eval_rows_that_were_too_long_do_not_vanish(tmp_path: Path, dropped: int, line: str | None) -> None:
    results = copy.deepcopy(board(tmp_path, examples=30))
    results["data"].update(eval_dropped_too_long=dropped, max_length=1024)
    results["data"]["rows"]["eval"] = 59
    told = [warning for warning in board_warnings(results) if "eval row" in warning]
    assert told == ([line] if line else [])


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
        row |= {"name": name, "answers": {"n": n, "missing": 0, "cut_off": count}}
    told = [w for w in board_warnings({**results, "candidates": rows}) if "cut off" in w]
    assert told == ([f"Many answers were cut off at the limit of new tokens: {line}"] if line else [])


@pytest.mark.parametrize(
    ("adjusted", "told"),
    [
        ({"temperature": None}, "takes no temperature: its verdicts as judge gpt4 are sampled."),
        ({"seed": None}, "takes no seed: its verdicts as judge gpt4 may differ when it is asked again."),
        ({"max_tokens": "max_completion_tokens"}, None),
    ],
)
def test_what_a_judge_s_model_refuses_is_a_warning(
    tmp_path: Path, adjusted: dict[str, str | None], told: str | None
) -> None:
    results = copy.deepcopy(board(tmp_path, examples=30))
    judge = next(judge for judge in results["judges"] if judge["name"] == "gpt4")
    judge["plugin"]["options"]["model"] = "gpt-5-mini"
    judge["receipt"]["adjusted"] = adjusted
    warned = [warning for warning in board_warnings(results) if "takes no" in warning]
    assert warned == ([f"gpt-5-mini {told}"] if told else [])


def judged(name: str, said: str, **about: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A judge's entry, and its verdicts on a pair on three prompts: `1` is for the one that stood first."""
    rest = {"seed": 0, "preference": None, "control": "", "fault": "", "first_chars": 1, "second_chars": 2}
    lines = [
        {"example_id": str(n), "first": "a", "second": "b", "choice": CHOICES[int(sign) - 1], **rest}
        for n, sign in enumerate(said)
    ]
    judge: dict[str, Any] = {
        "symmetric": True,
        "people": False,
        "verdicts_of": None,
        "members": [],
        "signature": "s",
    }
    plugin = {"name": name, "options": {}}
    return {"name": name, "analysis": {"refused": None}, "plugin": plugin, **judge, **about}, lines


def test_all_judges_together_are_those_with_an_opinion_of_their_own() -> None:
    one, other = judged("one", "112"), judged("other", "121")
    again = judged("again", "112", plugin=one[0]["plugin"])
    length = judged("length", "111", verdicts_of="length")
    both, every = (
        agreements([judge for judge, _ in told], {judge["name"]: lines for judge, lines in told})
        for told in ([one, other], [one, other, again, length])
    )
    assert both is not None
    assert every is not None
    assert len(every["pairs"]) == 6
    assert every["krippendorff"] == both["krippendorff"]
    assert every["fleiss"] == both["fleiss"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"low": 0.007, "high": 0.087, "value": 0.047, "p_adjusted": 0.065}, ", p = 0.065 after correction)"),
        ({"low": -0.007, "high": 0.087, "value": 0.047, "p_adjusted": 0.065}, None),
    ],
)
def test_why_an_interval_that_leaves_nothing_out_shows_nothing(
    tmp_path: Path, change: dict[str, Any], told: str | None
) -> None:
    results = board(tmp_path)
    results["neighbours"][0] |= change
    sentence = next(line for line in findings(results) if "cannot be told apart (difference" in line)
    assert (told in sentence) if told else ("after correction" not in sentence)


def seen(results: Json, verdicts: dict[str, str]) -> list[str]:
    """What is said of how others see the leader, who by these metrics and judges is better or worse."""
    leader, *rivals = (row["name"] for row in results["candidates"][1:4])
    others = [m["name"] for m in results["metrics"] if m["name"] != "perplexity"]
    results["pairs"] += [pair | {"metric": name} for pair in results["pairs"] for name in others]
    pairs = [(pair["metric"], pair) for pair in results["pairs"]]
    pairs += [(judge["name"], pair) for judge in results["judges"] for pair in judge["pairs"]]
    for name, pair in pairs:
        mine, other = ("a", "b") if pair["a"] == leader else ("b", "a")
        pair["verdict"] = {"better": mine, "worse": other}.get(verdicts.get(name, ""), "cannot be told apart")
        pair["withheld"] = None
    for row, rank in zip(results["candidates"][1:4], ([1, 1], [2, 3], [2, 3]), strict=True):
        row["rank"] = rank
    results["agreement"] = None
    return [line for line in findings(results) if line.startswith("By ") and rivals[0] in line]


def test_how_the_other_metrics_and_judges_see_the_leader(tmp_path: Path) -> None:
    results = board(tmp_path)
    for row in results["candidates"][4:]:
        row["rank"] = row["rank"] and [4, 4]
    results["judges"] = [judge for judge in results["judges"] if judge["name"] in ("reference", "gpt4")]
    results["judges"][1]["analysis"]["refused"] = "12.0% of 80 verdicts could not be read"
    verdicts = {"bits_per_byte": "better", "chrf": "worse", "reference": "worse", "gpt4": "worse"}
    assert seen(results, verdicts) == [
        "By chrF and the judge reference, lora-r16 and full are better than qlora-r16; by token accuracy, "
        "BLEU and exact match, qlora-r16 cannot be told apart from lora-r16 and full; by bits per byte, "
        "qlora-r16 is better than lora-r16 and full."
    ]


def test_the_others_have_no_say_where_there_are_none(tmp_path: Path) -> None:
    results = board(tmp_path)
    results["pairs"] = [pair for pair in results["pairs"] if pair["metric"] == "perplexity"]
    results.update(judges=[], agreement=None)
    assert not any(line.startswith("By ") for line in findings(results))


def test_what_cost_nothing_is_no_finding(tmp_path: Path) -> None:
    results = board(tmp_path)
    receipt = results["judges"][1]["receipt"]
    assert said(results, "Judge gpt4 took $2.75")
    receipt["cost_usd"] = 0.0
    assert receipt["prompt_tokens"] > 0
    assert not any(line.startswith("Judge gpt4 took") for line in findings(results))


def test_two_with_the_same_figure_have_it_both(tmp_path: Path) -> None:
    results = board(tmp_path)
    first, second = results["candidates"][1:3]
    assert findings(results)[0].startswith(
        "qlora-r16 has the best perplexity (lower is better), "
        "but cannot be told apart from lora-r16 and full: "
    )
    second["scores"]["perplexity"] = first["scores"]["perplexity"]
    assert findings(results)[0].startswith(
        "qlora-r16 and lora-r16 have the best perplexity (lower is better), "
        "but cannot be told apart from full: "
    )


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, ": "),
        (1, ", but cannot be told apart from lora-r16: "),
        (3, ", but cannot be told apart from lora-r16, full and lora-r4: "),
        (4, ", but cannot be told apart from lora-r16, full, lora-r4 and 1 more: "),
    ],
)
def test_the_headline_names_nobody_alone_who_may_not_be_the_best(
    tmp_path: Path, count: int, told: str
) -> None:
    results = board(tmp_path)
    leader, *others = (row["name"] for row in results["candidates"][1:] if row["rank"])
    for pair in results["pairs"]:
        if pair["metric"] == "perplexity" and leader in (pair["a"], pair["b"]):
            alike = bool({pair["a"], pair["b"]} & set(others[:count]))
            pair["verdict"] = "cannot be told apart" if alike else "a"
    assert f"{leader} has the best perplexity (lower is better){told}" in findings(results)[0]


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (6, "c0, c1, c2, c3, c4 and c5"),
        (12, "c0, c1, c2 and 9 more"),
        (17, "all 19 others but c17 and c18"),
        (19, "all 19 others"),
    ],
)
def test_of_many_few_are_named(count: int, told: str) -> None:
    everybody = [f"c{place}" for place in range(19)]
    assert few(everybody[:count], everybody, "others") == told
