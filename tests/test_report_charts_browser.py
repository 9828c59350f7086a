"""The charts in a real browser: a price that is typed draws the figure anew, as it would have been drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from page_colours import contrast
from report_candidates import TUNED
from report_inputs import changed, make_report_input

from harness.report import render
from harness.report.charts.tradeoff import tradeoff_chart

Json = dict[str, Any]
MANY = [
    (
        f"lora-{i}" if i % 3 else f"a-rather-long-name-of-a-recipe-{i}",
        "lora",
        1 + i * 7 % 19 / 30,
        60 + i * 31 % 90,
    )
    for i in range(19)
]
SERVED = "lora-r16"


def serve(results: Json) -> None:
    """A server of one candidate, which charges for its answers."""
    (candidate,) = [c for c in results["candidates"] if c["name"] == SERVED]
    costs = {**dict.fromkeys(candidate["costs"]), "seconds": {}}
    candidate.update(training=None, backend="openai", method=None, costs=costs)
    candidate["answers"]["cost_usd"] = 0.43


def on_gpus(results: Json) -> None:
    """A suite that names its price, of which one candidate took far more hours than the others."""
    results["suite"]["price_per_gpu_hour"] = 3.2
    for candidate in results["candidates"]:
        if candidate["training"]:
            candidate["costs"]["device"] = "NVIDIA H200"
    results["candidates"][1]["costs"]["train_device_hours"] = 40.0


def nothing(results: Json) -> None:
    """As it is."""


def made(folder: Path, change: Callable[[Json], None], tuned: Any = TUNED) -> tuple[Path, Json]:
    make_report_input(folder, examples=20, tuned=tuned)
    results = changed(folder, change)
    return render(folder), results


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    return made(tmp_path_factory.mktemp("plain"), nothing)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    return made(tmp_path_factory.mktemp("served"), serve)


@pytest.fixture(scope="module")
def priced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    return made(tmp_path_factory.mktemp("priced"), on_gpus)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Json]:
    return made(tmp_path_factory.mktemp("many"), nothing, MANY)


def figure(page: Any) -> Any:
    return page.locator("figure.tradeoff")


def type_price(page: Any, text: str) -> None:
    page.get_by_label("US dollars per hour").fill(text)


def told(page: Any) -> str:
    return str(page.locator("#price-told").inner_text())


def column(page: Any, part: str) -> dict[str, Any]:
    """Candidate -> text and value of a cell that the script writes."""
    rows = figure(page).locator("tbody tr")
    read = f"""rows => rows.map(row => {{
        const cell = row.querySelector('[data-part="{part}"]');
        return [row.cells[0].textContent, cell && [cell.textContent, cell.dataset.value ?? null]];
    }})"""
    return dict(rows.evaluate_all(read))


def geometry(markup: str) -> dict[str, Any]:
    """What of the drawing depends on the price: texts, and numbers that are compared within rounding."""
    assert "<svg" in markup
    part = {
        name: re.search(rf'<g data-part="{name}">(.*?)</g>', markup, re.DOTALL)
        for name in ("ticks", "labels", "title")
    }
    inner = {name: found.group(1) if found else "" for name, found in part.items()}
    number = r"-?[\d.]+"
    marks = re.findall(r"<g [^>]*data-candidate=[^>]*>", markup)
    shifts = [re.search(rf"translate\(({number}) 0\)", mark) for mark in marks if "display=" not in mark]
    front = re.search(r'<path d="([^"]*)" class="front"', markup)
    assert front
    return {
        "title": re.findall(r">([^<>]+)</title>", markup)[0],
        "words": re.findall(r">([^<>]+)</text>", inner["title"]),
        "ticks": re.findall(r">([^<>]+)</text>", inner["ticks"]),
        "labels": re.findall(r">([^<>]+)</text>", inner["labels"]),
        "anchors": re.findall(r'text-anchor="(\w+)"', inner["labels"]),
        "hidden": ["display=" in mark for mark in marks],
        "at": [float(shift.group(1)) for shift in shifts if shift],
        "front": [float(n) for n in re.findall(number, front.group(1))],
        "places": [
            float(n) for n in re.findall(rf'\b[xy][12]?="({number})"', inner["ticks"] + inner["labels"])
        ],
    }


def assert_drawn_alike(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert mine.keys() == theirs.keys()
    for key, found in mine.items():
        exact = not found or not isinstance(found[0], float)
        # Both round to a tenth, one of them half to even.
        assert found == (theirs[key] if exact else pytest.approx(theirs[key], abs=0.11)), key


@pytest.mark.parametrize("which", ["plain", "served", "priced", "many"])
@pytest.mark.parametrize("price", ["0.07", "2.5", "1234"])
def test_the_script_draws_what_the_report_would_have_drawn(
    request: pytest.FixtureRequest, reader: Reader, which: str, price: str
) -> None:
    index, results = request.getfixturevalue(which)
    page = reader.open(index)
    type_price(page, price)
    expected = tradeoff_chart(results, float(price))
    assert expected is not None
    drawn = figure(page).locator("svg").evaluate("svg => svg.outerHTML")
    assert_drawn_alike(geometry(drawn), geometry(expected.chart.svg))
    assert figure(page).locator("h3").inner_text() == expected.chart.title
    assert (
        figure(page).locator("desc").text_content()
        == re.findall(r"<desc[^>]*>([^<]*)<", expected.chart.svg)[0]
    )
    omitted = f"Not drawn: {'; '.join(expected.chart.omitted)}."
    assert figure(page).locator(".omitted").inner_text().strip() == omitted


def test_a_price_changes_figure_front_and_table(reader: Reader, served: tuple[Path, Json]) -> None:
    index, results = served
    page = reader.open(index)
    mark = figure(page).locator("[data-candidate]", has=page.locator(f"title:text-is('{SERVED}')"))
    assert not mark.is_visible()
    assert column(page, "money") == dict.fromkeys(column(page, "money"))
    type_price(page, "2.5")
    assert mark.is_visible()
    sums = column(page, "money")
    for candidate in results["candidates"][1:-1]:
        hours = candidate["costs"]["train_device_hours"]
        assert float(sums[candidate["name"]][1]) == (0.43 if hours is None else hours * 2.5)
    on_front = {name for name, (text, _) in column(page, "front").items() if text == "yes"}
    assert SERVED not in on_front  # worse than what costs less
    assert told(page) == "At $2.50 per hour the front is last2, lora-r4, qlora-r16."
    type_price(page, "90")
    assert SERVED in {name for name, (text, _) in column(page, "front").items() if text == "yes"}


def test_a_price_is_in_the_link_and_the_link_shows_the_same(
    browser: Any, reader: Reader, served: tuple[Path, Json]
) -> None:
    page = reader.open(served[0])
    type_price(page, " 2.50 ")
    assert page.evaluate("location.hash") == "#charts?price=2.5"
    other = Reader(browser)
    linked = other.open(served[0], "#charts?price=2.5")
    assert linked.get_by_label("US dollars per hour").input_value() == "2.5"
    assert figure(linked).inner_html() == figure(page).inner_html()
    assert linked.evaluate("scrollY") > 0
    other.context.close()


def test_going_to_another_link_draws_its_price(reader: Reader, plain: tuple[Path, Json]) -> None:
    page = reader.open(plain[0], "#charts?price=2")
    page.evaluate("location.hash = '#charts?price=3'")
    sync_api.expect(figure(page).locator("h3")).to_have_text("perplexity against cost at $3.00 per hour")
    page.evaluate("location.hash = '#'")
    sync_api.expect(figure(page).locator("h3")).to_have_text("perplexity against train time")
    assert page.get_by_label("US dollars per hour").input_value() == ""


def test_a_price_is_in_the_answer_above_too(reader: Reader, plain: tuple[Path, Json]) -> None:
    page = reader.open(plain[0], "#charts?price=2")
    leader = plain[1]["candidates"][1]
    answer = page.locator(".glance > div").last
    cost = 2 * leader["costs"]["train_device_hours"]
    told = answer.locator("[data-part=priced]").text_content()
    assert told.startswith("at your $2.00 per hour: $")
    assert float(told.partition(": $")[2].split()[0]) == pytest.approx(cost, rel=0.01)
    assert told.endswith(f"({leader['name']})")
    type_price(page, "")
    assert answer.locator("[data-part=priced]").text_content() == ""


def test_without_the_price_all_is_as_it_came(reader: Reader, served: tuple[Path, Json]) -> None:
    page = reader.open(served[0])
    came = figure(page).inner_html()
    type_price(page, "7")
    assert figure(page).inner_html() != came
    type_price(page, "")
    assert figure(page).inner_html() == came
    assert "price" not in page.evaluate("location.hash")


@pytest.mark.parametrize(
    "typed", ["-3", "free", "1e99", "0x10", "1,5", "NaN", "Infinity", "100001", "0.00009", "<b>"]
)
def test_what_is_no_price_is_said_and_ignored(reader: Reader, plain: tuple[Path, Json], typed: str) -> None:
    page = reader.open(plain[0])
    type_price(page, "2")
    drawn = figure(page).locator("svg").evaluate("svg => svg.outerHTML")
    type_price(page, typed)
    assert told(page).startswith(f"“{typed}” is no price: a number from 0.0001 to 100,000, as 2.50.")
    assert page.get_by_label("US dollars per hour").get_attribute("aria-invalid") == "true"
    assert figure(page).locator("svg").evaluate("svg => svg.outerHTML") == drawn
    assert page.evaluate("location.hash") == "#charts?price=2"
    type_price(page, "2.0")
    assert page.get_by_label("US dollars per hour").get_attribute("aria-invalid") is None
    assert told(page).startswith("At $2.00 per hour")


def test_who_has_not_finished_typing_is_not_corrected(reader: Reader, plain: tuple[Path, Json]) -> None:
    page = reader.open(plain[0])
    page.get_by_label("US dollars per hour").press_sequentially("0.")
    assert told(page) == ""
    page.keyboard.press("Tab")
    assert told(page).startswith("“0.” is no price")
    type_price(page, "abc")
    assert told(page).startswith("“abc” is no price")
    page.get_by_label("US dollars per hour").fill("0")
    assert told(page) == ""  # what was said is not of it


@pytest.mark.parametrize("price", ["-1", "1e99", "words", "%3Cimg%3E"])
def test_a_link_with_no_price_shows_the_page_as_it_is(
    reader: Reader, plain: tuple[Path, Json], price: str
) -> None:
    page = reader.open(plain[0], f"#charts?price={price}")
    assert figure(page).locator("h3").inner_text() == "perplexity against train time"
    assert page.get_by_label("US dollars per hour").input_value() == ""
    assert "is no price" in told(page)


def test_the_suites_price_is_there_at_first_and_is_no_choice(
    reader: Reader, priced: tuple[Path, Json]
) -> None:
    page = reader.open(priced[0])
    price = page.get_by_label("US dollars per hour of a GPU (NVIDIA H200)")
    assert price.input_value() == "3.2"
    assert figure(page).locator("h3").inner_text() == "perplexity against cost at $3.20 per hour"
    assert "logarithmic" in figure(page).locator("[data-part=title]").text_content()
    type_price(page, "4")
    assert page.evaluate("location.hash") == "#charts?price=4"
    type_price(page, "3.20")
    assert page.evaluate("location.hash") == "#charts"
    assert float(column(page, "money")["qlora-r16"][1]) == 40.0 * 3.2


def test_on_a_cpu_it_is_the_price_of_this_machine(reader: Reader, plain: tuple[Path, Json]) -> None:
    page = reader.open(plain[0])
    assert page.get_by_label("US dollars per hour of this CPU machine").is_visible()


def test_without_scripts_the_charts_are_whole(browser: Any, plain: tuple[Path, Json]) -> None:
    reader = Reader(browser, java_script_enabled=False)
    page = reader.open(plain[0])
    assert not page.locator("#pricing").is_visible()
    assert figure(page).locator("[data-candidate]:visible").count() == len(TUNED)
    assert figure(page).locator("[data-part=labels] text").all_text_contents()
    assert figure(page).locator("[data-part=front]").first.get_attribute("d").count("L") >= 1
    assert page.locator("#charts svg[role=img]").count() == page.locator("#charts svg.chart").count() > 20
    page.locator("figure.tradeoff summary").click()
    assert page.locator("figure.tradeoff tbody tr").count() == len(TUNED)
    reader.context.close()


def test_hostile_names_are_drawn_as_names(reader: Reader, tmp_path: Path) -> None:
    names = ['"><img src=x onerror=alert(1)>', "</title></svg><script>alert(1)</script>", "{{ 7 * 7 }}\u202e"]
    tuned = [(name, "lora", 1 + i / 10, 60.0 + 30 * i) for i, name in enumerate(names)]
    index, _ = made(tmp_path, nothing, tuned)
    page = reader.open(index, "#charts?price=2.5")
    assert page.locator("#charts img, #charts script").count() == 0
    drawn = "".join(figure(page).locator("[data-part=labels] text").all_text_contents())
    assert '"><img' in drawn
    assert "⟨U+202E⟩" in drawn
    assert figure(page).locator("tbody th").first.text_content() == names[0]
    assert names[1] in told(page) or names[0] in told(page)


@pytest.mark.parametrize("price", ["", "2.5"])
def test_names_do_not_cover_each_other(reader: Reader, many: tuple[Path, Json], price: str) -> None:
    """By the boxes that the browser gives them, in a font that may be wider than was reckoned with."""
    page = reader.open(many[0])
    type_price(page, price)
    names = figure(page).locator("[data-part=labels] text")
    boxes = names.evaluate_all(
        "all => all.map(one => { const b = one.getBBox(); return [b.x, b.y, b.width, b.height]; })"
    )
    assert len(boxes) == len(MANY)
    for i, (x, y, width, height) in enumerate(boxes):
        for x2, y2, width2, height2 in boxes[:i]:
            apart = (
                x + width <= x2 + 1 or x2 + width2 <= x + 1 or y + height <= y2 + 4 or y2 + height2 <= y + 4
            )
            assert apart


def test_nothing_moves(browser: Any, plain: tuple[Path, Json]) -> None:
    reader = Reader(browser, reduced_motion="reduce")
    page = reader.open(plain[0])
    type_price(page, "2.5")
    assert page.evaluate("document.getAnimations().length") == 0
    reader.context.close()


@pytest.mark.parametrize("width", [1440, 768, 390])
@pytest.mark.parametrize("which", ["plain", "many"])
def test_only_the_charts_own_frames_scroll(
    request: pytest.FixtureRequest, browser: Any, which: str, width: int
) -> None:
    index, _ = request.getfixturevalue(which)
    reader = Reader(browser, viewport={"width": width, "height": 900})
    page = reader.open(index, "#charts?price=2.5")
    page.locator("#charts details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cut = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1 && one.tabIndex < 0).length"
    assert page.locator("#charts .scroll").evaluate_all(cut) == 0
    reader.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_stand_out_from_the_paper(browser: Any, plain: tuple[Path, Json], scheme: str) -> None:
    """WCAG 2.1, 1.4.11: 3 to 1 for what must be seen of a drawing."""
    reader = Reader(browser, color_scheme=scheme)
    page = reader.open(plain[0])
    tokens = [f"c{i}" for i in range(9)] + ["better", "worse", "level", "muted", "ink", "accent"]
    read = "name => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim()"
    paper = page.evaluate(read, "paper")
    for token in tokens:
        assert contrast(page.evaluate(read, token), paper) >= 3, token
    reader.context.close()
