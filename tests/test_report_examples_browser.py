"""The examples in a real browser: what is chosen, in which order, what is shown of one, what keys do."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from example_pages import check, count, numbers, orders, wait_for_hash
from report_candidates import TUNED
from report_examples import METRICS
from report_inputs import render_changed

from harness.json_files import iter_json_lines
from harness.report import render
from harness.report.explorer import load_examples

Json = dict[str, Any]


@pytest.fixture
def lines(index: Path) -> list[Json]:
    return list(iter_json_lines(index.parent / "examples.jsonl"))


# Paging


def test_paging_by_fifty(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    assert count(page) == "1–50 of 120"
    later = page.locator(".pager button[data-step='1']").first
    later.click()
    later.click()
    assert count(page) == "101–120 of 120"
    assert page.locator(".example").count() == 20
    assert later.is_disabled()
    page.locator(".pager button[data-step='-1']").last.focus()
    page.keyboard.press("Enter")
    assert numbers(page)[0] == 51


def test_letters_walk_the_list_while_the_focus_is_in_it(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    place = "document.activeElement.closest('.example')?.dataset.place"
    page.keyboard.press("j")
    assert page.evaluate(place) is None
    page.locator("[name=find]").focus()
    page.keyboard.press("n")
    assert page.evaluate("document.activeElement.name") == "find"
    page.locator("[name=find]").fill("")
    page.locator(".permalink").first.focus()
    for key, expected in ("jj", "2"), ("k", "1"), ("n", "50"), ("k", "49"), ("p", "49"), ("njj", "52"):
        for letter in key:
            page.keyboard.press(letter)
        assert page.evaluate(place) == expected, key
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") < 60
    wait_for_hash(page, "page=2")


# Filters and order


def test_filters_choose_and_their_counts_are_told(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index)
    other = TUNED[0][0]

    def told(line: Json) -> dict[str, list[str]]:
        found = {judge: orders(line, judge, other, "base") for judge in ("reference", "gpt4", "people")}
        turned = {"win": "loss", "loss": "win"}
        local = [turned.get(outcome, outcome) for outcome in reversed(orders(line, "local", "base", other))]
        return {**found, "local": local}

    def preference(outcomes: list[str]) -> int:
        sum_ = outcomes.count("win") - outcomes.count("loss")
        return (sum_ > 0) - (sum_ < 0)

    def answers(line: Json) -> list[str | None]:
        return [line["answers"][name]["text"] for name in ("base", other)]

    expected = {
        "flips": [any({"win", "loss"} <= set(given) for given in told(line).values()) for line in lines],
        "disagree": [{1, -1} <= {preference(given) for given in told(line).values()} for line in lines],
        "unparsed": [any("unparsed" in given for given in told(line).values()) for line in lines],
        "failed": [None in answers(line) for line in lines],
        "differ": [len(set(answers(line))) == 2 for line in lines],
    }
    assert sum(expected["flips"]) == 18
    assert 0 < sum(expected["disagree"]) < 120
    for name, like in expected.items():
        label = page.locator("fieldset label", has=page.locator(f"[value={name}]"))
        assert label.locator(".count").inner_text() == str(sum(like)), name
        if not any(like):
            continue
        page.goto(index.as_uri() + f"#examples?show={name}")
        wanted = [number for number, is_like in enumerate(like, start=1) if is_like]
        assert numbers(page) == wanted[:50], name
        total = "" if len(wanted) == 120 else ", 120 in all"
        assert count(page) == f"1–{min(50, len(wanted))} of {len(wanted)}{total}"
    page.goto(index.as_uri() + "#examples")
    check(page, "flips", "disagree")
    both = [
        n for n, (x, y) in enumerate(zip(expected["flips"], expected["disagree"], strict=True), 1) if x and y
    ]
    assert 0 < len(both) < 18
    assert numbers(page) == both


def test_a_filter_that_nothing_passes_says_so(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    check(page, "flips", "failed")
    wait_for_hash(page, "failed")
    assert count(page) == "No example is like that."
    assert page.locator(".example").count() == 0


def test_the_largest_differences_come_first(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index, "#examples?a=full&b=last2")
    page.locator("[name=order]").select_option(label="largest difference in chrF")
    wait_for_hash(page, "order=chrf")
    gaps = [
        abs(line["answers"]["full"]["scores"]["chrf"] - line["answers"]["last2"]["scores"]["chrf"])
        for line in lines
    ]
    shown = [gaps[number - 1] for number in numbers(page)]
    assert max(gaps) - shown[0] < 0.01
    assert all(a >= b - 0.01 for a, b in pairwise(shown))
    assert shown[-1] < shown[0] / 2 or len(set(shown)) > 40


@pytest.mark.parametrize(
    ("key", "metric", "sign"), [("right:", "chrf", 1), ("left:", "chrf", -1), ("left:", "perplexity", 1)]
)
def test_one_side_ahead_most_comes_first(
    reader: Reader, index: Path, lines: list[Json], key: str, metric: str, sign: int
) -> None:
    page = reader.open(index, f"#examples?a=full&b=last2&order={key}{metric}")
    assert page.locator("[name=order]").input_value() == key + metric
    leads = [
        sign * (line["answers"]["last2"]["scores"][metric] - line["answers"]["full"]["scores"][metric])
        for line in lines
    ]
    shown = [leads[number - 1] for number in numbers(page)]
    assert shown[0] == pytest.approx(max(leads), rel=1e-3)
    assert all(a >= b - 0.01 * abs(a) - 0.01 for a, b in pairwise(shown))
    assert max(leads) > 0 > min(leads)


def test_values_of_another_tokenizer_are_not_set_against_each_other(reader: Reader, tmp_path: Path) -> None:
    def foreign(results: Json) -> None:
        results["candidates"][1]["scores"]["perplexity"]["incomparable"] = "another tokenizer than base's"

    page = reader.open(render_changed(tmp_path, foreign))

    def ahead() -> list[str]:
        marked = page.locator(".scores div", has=page.locator("dd.ahead")).locator("dt")
        return [str(label) for label in marked.all_inner_texts()]

    assert ahead()
    assert "perplexity" not in ahead()
    page.locator("[name=b]").select_option("2")
    wait_for_hash(page, "b=lora-r16")
    page.locator("[name=a]").select_option("0")
    wait_for_hash(page, "a=base")
    assert ahead().count("perplexity") == 4


def test_search_by_words_and_by_id(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index)
    page.locator("[name=find]").fill("ABOUT compost")
    wait_for_hash(page, "find=")
    assert count(page) == "1–6 of 6, 120 in all"
    assert set(page.locator(".prompt mark").all_inner_texts()) == {"about compost"}
    page.locator("[name=find]").fill(lines[41]["id"])
    sync_api.expect(page.locator(".example")).to_have_count(1)
    assert numbers(page) == [42]


# One example


def test_both_orders_and_their_reasons_stand_by_the_answers(
    reader: Reader, index: Path, lines: list[Json]
) -> None:
    page = reader.open(index, "#examples?show=flips")
    verdict = page.locator(".example").first.locator(".verdict", has_text="gpt4:")
    assert verdict.locator(".label").inner_text() == "gpt4: qlora-r16 against base flip"
    assert verdict.locator(".order p").all_inner_texts() == ["shown first: win", "shown second: loss"]
    given = lines[0]["verdicts"]["gpt4"]["qlora-r16"]
    assert verdict.locator(".reason").all_inner_texts() == [one["reason"] for one in given]


@pytest.mark.parametrize(("a", "b"), [("lora-r16", "full"), ("full", "lora-r16")])
def test_what_is_said_of_one_answer_stands_under_it(reader: Reader, index: Path, a: str, b: str) -> None:
    page = reader.open(index, f"#examples?a={a}&b={b}")
    first = page.locator(".example").first
    beside = first.locator(".verdicts.about > div")
    for place, name in enumerate((a, b)):
        labels = beside.nth(place).locator(".label").all_inner_texts()
        assert len(labels) == 3  # reference, gpt4, people
        assert {label.partition(": ")[2] for label in labels} == {f"{name} against base"}
        left, right = (
            one.bounding_box()["x"] for one in (beside.nth(place), first.locator(".side").nth(place))
        )
        assert abs(left - right) < 12
    assert f"local: {a} against {b}" in first.locator(".verdicts:not(.about)").inner_text()


def test_a_judge_that_was_asked_once_gave_one_verdict(
    reader: Reader, index: Path, lines: list[Json], tmp_path: Path
) -> None:
    """As the judge stage writes it: the mirrored verdict after the one that was given."""
    results = json.loads((index.parent / "results.json").read_text())
    results["judges"][0]["symmetric"] = True
    given = {"opponent": "base", "candidate_first": True, "choice": "first", "reason": "nearer", "raw": ""}
    mirrored = {**given, "candidate_first": False, "choice": "second", "reason": "in the other order: nearer"}
    for line in lines:
        line["verdicts"]["reference"] = {TUNED[0][0]: [given, mirrored]}
    found = load_examples(results, lines)
    pair = json.loads(found.json)["judges"][0]["pairs"][0]
    assert (set(pair["first"]), set(pair["second"])) == ({"w"}, {"-"})
    html = render_with(index, results, lines, tmp_path)
    verdict = reader.open(html).locator(".example").first.locator(".verdict", has_text="reference:")
    assert verdict.locator(".order p").all_inner_texts() == ["shown first: win"]
    assert verdict.locator(".reason").all_inner_texts() == ["nearer"]


def render_with(index: Path, results: Json, lines: list[Json], folder: Path) -> Path:
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "verdicts.jsonl").write_bytes((index.parent / "verdicts.jsonl").read_bytes())
    return render(folder)


@pytest.mark.parametrize(
    ("a", "b", "teller"),
    [("qlora-r16", "full", "qlora-r16"), ("full", "qlora-r16", "full"), ("base", "full", "full")],
)
def test_a_round_robin_is_told_from_one_side(
    reader: Reader, index: Path, lines: list[Json], a: str, b: str, teller: str
) -> None:
    page = reader.open(index, f"#examples?a={a}&b={b}")
    other = b if teller == a else a
    label = f"local: {teller} against {other}"
    verdict = page.locator(".example").first.locator(".verdict", has_text=label)
    mine = orders(lines[0], "local", teller, other)
    if not mine:
        turned = {"win": "loss", "loss": "win"}
        mine = [turned.get(one, one) for one in reversed(orders(lines[0], "local", other, teller))]
    assert len(mine) == 2
    assert verdict.locator(".order strong").all_inner_texts() == mine


def test_scores_are_those_of_the_example(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index, "#examples?a=base&b=full")
    for number, name in enumerate(("base", "full")):
        shown = page.locator(".example").nth(3).locator(".side").nth(number).locator("dd").all_inner_texts()
        for (metric, _, unit, _), text in zip(METRICS, shown, strict=True):
            value = lines[3]["answers"][name]["scores"][metric] * (100 if unit == "%" else 1)
            assert float(text.split()[0].rstrip("%")) == pytest.approx(value, rel=5e-4, abs=1e-12)


def test_the_reference_can_be_one_side(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index, "#examples?a=reference&b=full&diff=pair")
    first = page.locator(".example").first
    assert first.locator(".side h3").all_inner_texts() == ["reference", "full"]
    assert first.locator(".side").first.locator(".text").inner_text() == lines[0]["reference"]
    assert first.locator(".block.reference").count() == 0
    assert page.locator("ins").count() > 0
    assert page.locator("del").count() > 0


def test_a_failed_answer_says_why(reader: Reader, index: Path) -> None:
    page = reader.open(index, "#examples?show=failed")
    assert page.locator(".example .failure").all_inner_texts() == ["No answer: no reply within 60 s"]
    assert numbers(page) == [6]
