"""A page that holds not all texts: scores and verdicts of every example, and where the rest is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from report_inputs import make_report_input

from harness.json_files import iter_json_lines
from harness.report import render

Json = dict[str, Any]


def rendered(folder: Path, limit: int) -> Path:
    make_report_input(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.report.files.DATA_LIMIT", limit)
        return render(folder)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of about a quarter of 120 examples."""
    return rendered(tmp_path_factory.mktemp("sampled"), 150_000)


@pytest.fixture(scope="module")
def lines(index: Path) -> list[Json]:
    return list(iter_json_lines(index.parent / "examples.jsonl"))


def numbers(page: Any) -> list[int]:
    return [int(text[1:]) for text in page.locator(".permalink").all_inner_texts()]


def places(page: Any) -> list[int]:
    return list(page.evaluate("JSON.parse(document.getElementById('data').textContent).places"))


def test_the_banner_says_how_many_and_where_the_others_are(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    banner = page.locator("#sampled").inner_text()
    shown = len(places(page))
    assert 18 < shown < 40
    assert f"are here for {shown} of them: all 18 on which a judge flipped, and others" in banner
    assert "examples.parquet and examples.jsonl" in banner
    assert page.locator("[value=texts] + .count").inner_text() == str(shown)


def test_examples_with_texts_come_first_and_all_are_there(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    here = [place + 1 for place in places(page)]
    absent = [number for number in range(1, 121) if number not in here]
    assert numbers(page) == (here + absent)[:50]
    assert page.locator("#count").inner_text() == "1–50 of 120"
    page.locator("[name=order]").select_option("eval")
    sync_api.expect(page).to_have_url(re.compile("order=eval"))
    assert numbers(page) == list(range(1, 51))


def test_scores_and_verdicts_are_there_without_texts(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index, "#examples?order=eval&b=full")
    number = next(n for n in range(1, 51) if n - 1 not in places(page) and n != 6)
    one = page.locator(".example").nth(number - 1)
    assert f"see line {number} of examples.jsonl, or look for its id in examples.parquet" in one.inner_text()
    assert one.locator(".text, .block").count() == 0
    value = lines[number - 1]["answers"]["full"]["scores"]["chrf"]
    shown = one.locator(".side").nth(1).locator(".scores div", has_text="chrF").locator("dd").inner_text()
    assert float(shown) == pytest.approx(value, rel=5e-4)
    given = lines[number - 1]["verdicts"]["gpt4"]["full"]
    assert len(given) == one.locator(".verdict", has_text="gpt4:").locator(".order").count() == 2
    assert one.locator(".verdict .reason").count() == 0


def test_filters_and_orders_are_over_all_and_texts_can_be_asked_for(reader: Reader, index: Path) -> None:
    page = reader.open(index, "#examples?show=differ&order=bleu&b=full")
    before = page.locator("#count").inner_text()
    assert int(before.split(" of ")[1].split(",")[0]) > 100
    page.locator("[value=texts]").check()
    sync_api.expect(page).to_have_url(re.compile("texts"))
    assert set(numbers(page)) <= {place + 1 for place in places(page)}


def test_a_search_says_what_it_searched(reader: Reader, index: Path, lines: list[Json]) -> None:
    page = reader.open(index, "#examples?find=describe")
    assert page.locator("#count").inner_text().endswith("searched in the texts that are on this page")
    here = places(page)
    found = [place + 1 for place in here if "describe" in json.dumps(lines[place]).lower()]
    assert numbers(page) == found
    absent = next(n for n in range(120) if n not in here)
    page.locator("[name=find]").fill(lines[absent]["id"])
    sync_api.expect(page.locator(".example")).to_have_count(1)
    assert numbers(page) == [absent + 1]


def test_reasons_that_are_not_there_are_told(reader: Reader, tmp_path: Path) -> None:
    page = reader.open(rendered(tmp_path, 400_000), "#examples?order=bleu")
    assert "A sample of the judges’ reasons." in page.locator("#sampled").inner_text()
    assert page.locator("[value=texts]").is_hidden()
    with_reasons = page.locator(".example", has=page.locator(".reason"))
    without = page.locator(".example", has_text="The judges’ reasons are not on this page")
    assert with_reasons.count() + without.count() == 50
    assert with_reasons.count() > 0 < without.count()
    assert without.first.locator(".answer .text").count() == 2


def test_a_hundred_thousand_characters_on_one_page_stay_usable(browser: Any, tmp_path: Path) -> None:
    make_report_input(tmp_path, examples=3)
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    lines[0]["answers"]["base"]["text"] = "x" * 100_000
    lines[1]["answers"]["base"]["text"] = "line\n" * 20_000
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = Reader(browser, viewport={"width": 768, "height": 900})
    page = reader.open(render(tmp_path), "#examples?diff=pair")
    heights = page.locator(".example").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert max(heights) < 3_000
    for button in page.locator(".answer button.fold").all():
        button.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 768
    assert page.locator(".answer .text").first.evaluate("one => one.textContent.length") == 100_000
    reader.context.close()
