"""Word by word comparison: the function alone, against a longest common subsequence, and on the page."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from report_inputs import make_report_input

from harness.report import render

CASES = [
    ("the cat sat", "the dog sat", ["cat"], ["dog"]),
    ("a b c", "a b c", [], []),
    ("a b c", "c", ["a b"], []),
    ("", "new text", [], ["new text"]),
    ("one  two", "one\ntwo", [], []),
    ("It's 3,000 now.", "It’s 3,000 now!", ["It's", "."], ["It’s", "!"]),
    ("The end.", "The end", ["."], []),
    ("我喜欢猫", "我喜欢狗", ["猫"], ["狗"]),
    ("今日は晴れです。", "今日は雨です。", ["晴れ"], ["雨"]),
    ("ฉันรักแมว", "ฉันรักหมา", ["แ", "ว"], ["ห", "า"]),
    ("אני אוהב חתול", "אני אוהב כלב", ["חתול"], ["כלב"]),
    ("z\u0351\u036b\u0343a b", "z\u0351\u036ba b", ["z\u0351\u036b\u0343a"], ["z\u0351\u036ba"]),
    ("a 👩‍🔬 b", "a 👩‍🚀 b", ["👩‍🔬"], ["👩‍🚀"]),
    ("constructor __proto__", "constructor toString", ["__proto__"], ["toString"]),
]
"""Left, right, what the right lacks of the left, what the left lacks of the right."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_report_input(tmp_path_factory.mktemp("page"), examples=6)
    path = folder / "examples.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line, (left, right) in zip(lines, TEXTS, strict=False):
        line["answers"]["base"]["text"], line["answers"]["full"]["text"] = left, right
        line["reference"] = "the cat sat on the mat"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return render(folder)


TEXTS = [
    ("the cat sat", "the dog sat on the mat"),
    ("same words", "same   words"),
    ("word " * 12_000, "other " * 12_000),
    (" ".join(f"a{i}" for i in range(2000)), " ".join(f"b{i}" for i in range(2000))),
    ("", "the cat"),
]


@pytest.fixture
def page(browser: Any, index: Path) -> Iterator[Any]:
    reader = Reader(browser)
    yield reader.open(index, "#examples?a=base&b=full&diff=pair")
    assert reader.complaints == []
    reader.context.close()


@pytest.mark.parametrize(("left", "right", "gone", "came"), CASES)
def test_words_that_the_other_lacks(
    page: Any, left: str, right: str, gone: list[str], came: list[str]
) -> None:
    found = page.evaluate("texts => wordDiff.compare(...texts)", [left, right])
    assert ["".join(text for text, _ in side["pieces"]) for side in found] == [left, right]
    assert [[text for text, lacking in side["pieces"] if lacking] for side in found] == [gone, came]


def test_it_keeps_as_many_words_as_can_be_kept(page: Any) -> None:
    rng = random.Random(3)
    pairs = [[" ".join(rng.choices("abcdef", k=rng.randint(0, 40))) for _ in range(2)] for _ in range(200)]
    found = page.evaluate("pairs => pairs.map(pair => wordDiff.compare(...pair))", pairs)
    for (left, right), sides in zip(pairs, found, strict=True):
        kept = longest_common(left.split(), right.split())
        assert [side["count"] for side in sides] == [len(left.split()) - kept, len(right.split()) - kept]
        shared = ["".join(text for text, lacking in side["pieces"] if not lacking).split() for side in sides]
        assert shared[0] == shared[1]
        assert ["".join(text for text, _ in side["pieces"]) for side in sides] == [left, right]


def longest_common(x: list[str], y: list[str]) -> int:
    """The length of a longest common subsequence."""
    row = [0] * (len(y) + 1)
    for one in x:
        before = row[:]
        for place, other in enumerate(y):
            row[place + 1] = before[place] + 1 if one == other else max(before[place + 1], row[place])
    return row[-1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("word " * 30_000, "other " * 30_000),
        ("x" * 300_000, "y"),
        (" ".join(map(str, range(3000))), "a b " * 1500),
    ],
)
def test_what_would_take_too_long_is_not_compared(page: Any, left: str, right: str) -> None:
    assert page.evaluate("texts => wordDiff.compare(...texts)", [left, right]) is None


def test_differences_are_marked_in_the_answers(page: Any) -> None:
    first, second, long, unlike, empty = (page.locator(".example").nth(number) for number in range(5))
    assert first.locator("del").all_inner_texts() == ["cat"]
    assert first.locator("ins").all_inner_texts() == ["dog", "on the mat"]
    assert first.locator(".side > .note").all_inner_texts()[1].endswith("4 words not in base")
    assert second.locator("ins, del").count() == 0
    assert "no word that is not in full" in second.locator(".side > .note").first.inner_text()
    for one in (long, unlike):
        assert one.locator("ins, del").count() == 0
        assert one.locator(".side > .note", has_text="too long or too unlike to compare").count() == 2
    assert empty.locator(".missing").first.inner_text() == "an empty answer"
    assert empty.locator("ins, del").count() == 0


def test_each_against_the_reference_and_off_again(page: Any) -> None:
    page.locator("[name=diff]").select_option("reference")
    first = page.locator(".example").first
    sync_api.expect(first.locator("del")).to_have_count(0)
    assert first.locator("ins").count() == 0  # green is "better" elsewhere, and these words are not
    assert first.locator(".side u").all_inner_texts() == ["dog"]
    notes = [note.rpartition(" · ")[2] for note in first.locator(".side > .note").all_inner_texts()]
    assert notes == [
        "no word that is not in the reference, 3 of its words missing",
        "1 word not in the reference, 1 of its words missing",
    ]
    # The reference: the cat sat on the mat. Left: the cat sat. Right: the dog sat on the mat.
    assert first.locator(".block.reference u.some").all_inner_texts() == ["cat", "on the mat"]
    assert first.locator(".block.reference u:not(.some)").count() == 0
    assert first.locator(".block.reference .text").inner_text() == "the cat sat on the mat"
    unlike = page.locator(".example").nth(1).locator(".block.reference u:not(.some)")
    assert unlike.all_inner_texts() == ["the cat sat on the mat"]
    page.locator("[name=diff]").select_option("")
    sync_api.expect(page.locator(".example u")).to_have_count(0)
    assert "diff=" not in page.evaluate("location.hash")


def test_what_the_marks_mean_stands_by_the_controls(page: Any) -> None:
    told = page.locator(".controls [data-marks]")
    for choice, meaning in ("pair", "only the left answer has"), ("reference", "the reference lacks"):
        page.locator("[name=diff]").select_option(choice)
        sync_api.expect(told.locator("visible=true")).to_have_count(1)
        assert meaning in told.locator("visible=true").inner_text()
    page.locator("[name=diff]").select_option("")
    sync_api.expect(told.locator("visible=true")).to_have_count(0)


def test_the_reference_beside_an_answer_has_its_marks_there(page: Any) -> None:
    page.locator("[name=a]").select_option(label="reference")
    page.locator("[name=diff]").select_option("reference")
    first = page.locator(".example").first
    sync_api.expect(first.locator(".block.reference")).to_have_count(0)
    assert first.locator(".side").first.locator("u").all_inner_texts() == ["cat"]
    assert first.locator(".side").last.locator("u").all_inner_texts() == ["dog"]


def test_a_long_text_folds_and_unfolds(page: Any) -> None:
    side = page.locator(".example").nth(2).locator(".side").first
    button = side.locator("button.fold")
    assert button.get_attribute("aria-expanded") == "false"
    assert len(side.locator(".text").inner_text()) < 1500
    assert button.get_attribute("aria-label") == "show all 60,000 characters of base’s answer"
    button.focus()
    page.keyboard.press("Enter")
    assert len(side.locator(".text").text_content()) == 60_000
    assert button.inner_text() == "show less"
    button.click()
    assert len(side.locator(".text").text_content()) < 1500
