"""examples.jsonl on its way into the page: columns of all examples, texts of as many as fit."""

from __future__ import annotations

import json
import math
import re
import string
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from report_candidates import TUNED
from report_examples import METRICS
from report_inputs import JUDGES, make_report_input

from harness.json_files import iter_json_lines
from harness.report import render
from harness.report.board import build_board
from harness.report.explorer import Examples, load_examples

Json = dict[str, Any]
WORDS = {
    ("first", True): "w",
    ("first", False): "l",
    ("second", True): "l",
    ("second", False): "w",
    ("tie", True): "t",
    ("tie", False): "t",
    ("unparsed", True): "u",
    ("unparsed", False): "u",
}


@pytest.fixture
def lines(report: Path) -> list[Json]:
    return list(iter_json_lines(report / "examples.jsonl"))


def columns(examples: Examples) -> Json:
    return dict(json.loads(examples.json))


def texts(examples: Examples) -> list[Json]:
    return [json.loads(line) for line in examples.texts.splitlines()]


def entry(**changes: Any) -> Json:
    return {"id": "x", "prompt": [], "reference": "", "answers": {}, "verdicts": {}, **changes}


def test_every_score_is_there_with_four_digits(results: Json, lines: list[Json]) -> None:
    data = columns(load_examples(results, lines))
    assert data["ids"] == [line["id"] for line in lines]
    assert data["total"] == len(lines)
    assert [c["name"] for c in data["candidates"] if c["answered"]] == ["base", *(name for name, *_ in TUNED)]
    compared = 0
    for candidate in data["candidates"]:
        for (name, _, unit, _), column in zip(METRICS, candidate["scores"], strict=False):
            for line, shown in zip(lines, column, strict=True):
                value = line["answers"][candidate["name"]]["scores"].get(name)
                if value is None:
                    assert shown is None
                    continue
                assert math.isclose(shown, value * 100 if unit == "%" else value, rel_tol=5e-4, abs_tol=1e-12)
                compared += 1
    assert compared > 4000


def test_every_verdict_is_there_in_both_orders(results: Json, lines: list[Json]) -> None:
    data = columns(load_examples(results, lines))
    names = [c["name"] for c in data["candidates"]]
    assert [judge["name"] for judge in data["judges"]] == [name for name, *_ in JUDGES]
    for judge in data["judges"]:
        pairs = {(names[pair["a"]], names[pair["b"]]): pair for pair in judge["pairs"]}
        told = {
            (number, name, verdict["opponent"], verdict["candidate_first"]): WORDS[
                verdict["choice"], verdict["candidate_first"]
            ]
            for number, line in enumerate(lines)
            for name, given in line["verdicts"][judge["name"]].items()
            for verdict in given
        }
        shown = {
            (number, *pair, order == "first"): outcome
            for pair, found in pairs.items()
            for order in ("first", "second")
            for number, outcome in enumerate(found[order])
            if outcome != "-"
        }
        assert shown == told
        assert {len(pair[order]) for pair in judge["pairs"] for order in ("first", "second")} == {len(lines)}


def test_texts_are_whole_where_they_fit(results: Json, lines: list[Json]) -> None:
    examples = load_examples(results, lines)
    names = [c["name"] for c in results["candidates"]]
    assert columns(examples)["places"] is None
    for line, shown in zip(lines, texts(examples), strict=True):
        assert shown["reference"] == line["reference"]
        assert shown["prompt"] == [[m["role"], m["content"]] for m in line["prompt"]]
        assert shown["answers"] == [(line["answers"].get(name) or {"text": None})["text"] for name in names]
    assert texts(examples)[5]["errors"] == {"1": "no reply within 60 s"}
    (first, second), *_ = (one[2:] for one in texts(examples)[0]["reasons"] if one[:2] == [1, 0])
    given = lines[0]["verdicts"]["gpt4"][TUNED[0][0]]
    assert [first, second] == [verdict["reason"] for verdict in given]


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ({"text": "a", "finish_reason": "stop"}, "o"),
        ({"text": "a", "finish_reason": "length"}, "c"),
        ({"text": "", "finish_reason": "stop"}, "e"),
        ({"text": None, "error": "refused"}, "f"),
        (None, "-"),
    ],
)
def test_what_became_of_an_answer(results: Json, answer: Json | None, state: str) -> None:
    answers = {"base": {"text": "b"}, **({"full": answer} if answer else {})}
    data = columns(
        load_examples(results, [entry(), entry(answers=answers), entry(answers={"full": {"text": "z"}})])
    )
    assert data["candidates"][3]["states"] == f"-{state}o"
    assert data["candidates"][0]["states"] == "-o-"


def test_equal_answers_have_one_letter(results: Json) -> None:
    answers = {
        "base": {"text": "yes"},
        "qlora-r16": {"text": "no"},
        "full": {"text": "no"},
        "last2": {"text": "yes"},
    }
    data = columns(load_examples(results, [entry(reference="yes", answers=answers)]))
    letters = {c["name"]: c["alike"] for c in data["candidates"] if c["answered"]}
    assert letters == {"base": "=", "qlora-r16": "1", "full": "1", "last2": "="}


def test_many_candidates_keep_letters_of_their_own(results: Json) -> None:
    names = [f"c{i}" for i in range(100)]
    many = {
        **results,
        "candidates": [{**results["candidates"][0], "name": name} for name in names],
        "judges": [],
    }
    answers = {name: {"text": name} for name in names}
    found = columns(load_examples(many, [entry(reference="r", answers=answers)]))
    assert len({c["alike"] for c in found["candidates"]}) == 100
    assert found["candidates"][61]["alike"] == string.ascii_letters[-1]


def test_names_that_differ_in_what_cannot_be_seen_differ_on_the_page(results: Json) -> None:
    names = ["full", "full\u200b", "fu\u00adll", "full\u200e", "full\ufe0f", "a b", "a\u00a0b"]
    several = {
        **results,
        "candidates": [{**results["candidates"][0], "name": name} for name in names],
        "judges": [],
    }
    found = columns(load_examples(several, [entry()]))
    shown = [candidate["name"] for candidate in found["candidates"]]
    assert shown == [
        "full", "full⟨U+200B⟩", "fu⟨U+00AD⟩ll", "full⟨U+200E⟩", "full⟨U+FE0F⟩", "a b", "a⟨U+00A0⟩b"
    ]  # fmt: skip
    assert [row.name for row in build_board({**several}).rows] == shown


def test_metrics_that_are_no_mean_of_examples_are_named(
    results: Json, lines: list[Json], index: Path
) -> None:
    assert load_examples(results, lines).pooled == (
        "perplexity", "bits per byte", "token accuracy", "BLEU", "chrF"
    )  # fmt: skip
    for line in lines:
        for answer in line["answers"].values():
            answer["statistics"] = {"exact_match": answer["statistics"].get("exact_match") or [None]}
    assert load_examples(results, lines).pooled == ()
    told = " ".join(index.read_text().split())
    assert (
        "The board’s perplexity, bits per byte, token accuracy, BLEU and chrF are made of the counts" in told
    )


@pytest.mark.parametrize(
    ("choices", "flip"),
    [
        (("first", "first"), True),
        (("second", "second"), True),
        (("first", "second"), False),
        (("first", "tie"), False),
        (("tie", "tie"), False),
        (("first", "unparsed"), False),
    ],
)
def test_a_flip_is_a_win_and_a_loss(results: Json, choices: tuple[str, str], flip: bool) -> None:
    verdicts = [
        {"opponent": "base", "candidate_first": first, "choice": choice, "reason": "", "raw": "what?"}
        for first, choice in zip((True, False), choices, strict=True)
    ]
    examples = load_examples(results, [entry(verdicts={"gpt4": {"full": verdicts}})])
    assert examples.flips == flip
    (pair,) = columns(examples)["judges"][1]["pairs"]
    assert (pair["a"], pair["b"]) == (3, 0)
    assert pair["first"] + pair["second"] == WORDS[choices[0], True] + WORDS[choices[1], False]
    # An unreadable reply is shown as it came; a readable one is not repeated.
    raw = ["what?" if choice == "unparsed" else "" for choice in choices]
    assert texts(examples)[0]["reasons"] == ([[1, 0, *raw]] if any(raw) else [])


def test_opponents_that_are_no_candidate_stand_apart(results: Json) -> None:
    verdict = {"opponent": "reference", "candidate_first": False, "choice": "first", "reason": "r", "raw": ""}
    data = columns(load_examples(results, [entry(), entry(verdicts={"gpt4": {"full": [verdict]}}), entry()]))
    assert data["judges"][1]["pairs"] == [{"a": 3, "b": -1, "first": "---", "second": "-l-"}]


def test_too_many_texts_are_sampled_flips_first(results: Json, lines: list[Json]) -> None:
    whole = load_examples(results, lines)
    assert (whole.shown, whole.total, whole.flips, whole.flips_shown) == (120, 120, 18, 18)
    limit = len(whole.json.encode()) + len(whole.texts.encode()) // 4
    sample = load_examples(results, lines, limit)
    assert columns(sample) | {"places": None} == columns(whole)  # scores and verdicts are whole
    places = columns(sample)["places"]
    assert places == sorted(places)
    assert set(range(0, 120, 7)) <= set(places)
    assert 22 < sample.shown == len(places) == len(texts(sample)) < 36
    assert (sample.flips_shown, sample.reasons_shown) == (18, sample.shown)
    assert max(b - a for a, b in pairwise(places)) <= 7
    assert len(sample.json.encode()) + len(sample.texts.encode()) < limit + 2000
    by_place = dict(enumerate(texts(whole)))
    assert texts(sample) == [by_place[place] for place in places]


def test_reasons_give_way_before_answers(results: Json, lines: list[Json]) -> None:
    whole = load_examples(results, lines)
    bare = sum(len(json.dumps({**one, "reasons": 0}, ensure_ascii=False)) for one in texts(whole))
    sample = load_examples(results, lines, limit=len(whole.json) + (bare + len(whole.texts)) // 2)
    assert sample.shown == 120
    assert columns(sample)["places"] is None
    kept = [place for place, one in enumerate(texts(sample)) if "reasons" in one]
    assert set(range(0, 120, 7)) <= set(kept)
    assert sample.reasons_shown == len(kept) < sample.reasoned == 120
    assert [one["answers"] for one in texts(sample)] == [one["answers"] for one in texts(whole)]


def test_texts_have_some_room_beside_any_number_of_scores(results: Json, lines: list[Json]) -> None:
    silent = [{**line, "verdicts": {}} for line in lines]
    squeezed = load_examples(results, silent, limit=len(load_examples(results, silent).json) - 1000)
    assert 0 < squeezed.shown < 10


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        (18_000_000, None),
        (
            150_000,
            r"A sample of the texts.</strong> Scores and verdicts of all 120 .* all 18 on which a judge",
        ),
        (
            470_000,
            r"A sample of the judges’ reasons.</strong> .* answers of all 120 examples .* Of 120 for which",
        ),
    ],
)
def test_the_banner_says_what_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, told: str | None
) -> None:
    make_report_input(tmp_path)
    monkeypatch.setattr("harness.report.files.DATA_LIMIT", limit)
    html = render(tmp_path).read_text()
    banner = re.search(r'<p[^>]*id="sampled".*?</p>', html)
    if told is None:
        assert banner is None
    else:
        assert banner
        assert re.search(told, banner.group())
        assert "examples.parquet and examples.jsonl beside this page" in banner.group()


@pytest.mark.parametrize(
    "text", ["</script><script>", "<!-- x", "a\u2028b", "\x00\x1b", "\ud83d alone", "\u202eback"]
)
def test_texts_stay_in_their_lines_and_elements(results: Json, text: str) -> None:
    hostile = entry(
        id=text,
        prompt=[{"role": text, "content": f"{text}\n{text}"}],
        reference=text,
        answers={"full": {"text": text}, "base": {"text": None, "error": text}},
        verdicts={
            "gpt4": {
                "full": [
                    {"opponent": text, "candidate_first": True, "choice": "tie", "reason": text, "raw": ""}
                ],
                text: [],
            }
        },
    )
    examples = load_examples(results, [hostile, hostile])
    assert len(examples.texts.split("\n")) == len(texts(examples)) == 2
    assert not re.search("[<>&\x00-\x09\x0b-\x1f\u2028\u202e\ud800-\udfff]", examples.json + examples.texts)
