"""The board in a real browser: what a reader sorts, chooses and compares is in the link; all by keyboard."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from report_inputs import make_report_input, render_changed

from harness.report import render
from harness.report.board import build_board

DEFAULT = "perplexity,judge:reference,bleu"


@pytest.fixture(scope="module")
def examples() -> int:
    return 40


@pytest.fixture
def reading() -> dict[str, Any]:
    return {"viewport": {"width": 1440, "height": 900}}


def opened_anew(reader: Reader, index: Path, fragment: str) -> Any:
    """The page as one opens it who was sent the link: going to another fragment alone would not load it."""
    page = reader.open(index, fragment)
    page.reload()
    return page


def names(page: Any) -> list[str]:
    return list(page.locator("#leaderboard tbody .candidate").all_inner_texts())


def shown(page: Any) -> list[str]:
    """What links call the columns that are seen, candidate and rank left out."""
    heads = page.locator("#leaderboard thead th:visible")
    return [str(head.get_attribute("data-column")) for head in heads.all()][2:]


def head(page: Any, column: str) -> Any:
    return page.locator(f'#leaderboard thead th[data-column="{column}"]')


def choose(page: Any, column: str) -> None:
    if page.locator(".chooser[open]").count() == 0:
        page.locator(".chooser summary").click()
    page.locator(f'.chooser [value="{column}"]').click()


def fragment(page: Any) -> str:
    return str(page.evaluate("location.hash"))


def toggle(page: Any) -> Any:
    return page.get_by_role("checkbox", name="Differences to base")


def cell(page: Any, name: str, column: str) -> Any:
    place = page.evaluate(
        "column => [...document.querySelectorAll('#leaderboard thead th')]"
        ".findIndex(head => head.dataset.column === column)",
        column,
    )
    row = page.locator("#leaderboard tbody tr").filter(has=page.get_by_text(name, exact=True))
    return row.locator("th, td").nth(place)


def test_the_order_is_in_the_link_and_the_link_gives_the_order(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    ranked = names(page)
    head(page, "cost:train_seconds").locator("button").click()
    assert "sort=cost%3Atrain_seconds" in fragment(page)
    head(page, "cost:train_seconds").locator("button").click()
    assert "sort=-cost%3Atrain_seconds" in fragment(page)
    slowest_first = names(page)
    assert slowest_first[0] == ranked[0] == "base"
    assert slowest_first[-1] == ranked[-1] == "lora-wrong"
    assert slowest_first != ranked
    linked = opened_anew(reader, index, fragment(page))
    assert names(linked) == slowest_first
    assert head(linked, "cost:train_seconds").get_attribute("aria-sort") == "descending"
    head(linked, "rank").locator("button").click()
    assert names(linked) == ranked
    assert "sort" not in fragment(linked)


def test_columns_are_chosen_and_the_link_gives_them_again(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    before = shown(page)
    assert "cost:artifact_bytes" not in before
    choose(page, "cost:artifact_bytes")
    choose(page, "chrf")
    assert shown(page) == [*(column for column in before if column != "chrf"), "cost:artifact_bytes"]
    assert (
        page.locator(".chooser .count").inner_text()
        == f"{len(before)} of {len(page.locator('.chooser input').all())}"
    )
    after = shown(page)
    linked = opened_anew(reader, index, fragment(page))
    assert shown(linked) == after
    assert not linked.locator('.chooser [value="chrf"]').is_checked()
    assert linked.locator("#leaderboard .failure").get_attribute("colspan") == str(len(after))
    linked.locator(".chooser summary").click()
    linked.locator(".chooser button").click()
    assert shown(linked) == before
    assert "columns" not in fragment(linked)


def test_the_last_column_cannot_be_hidden(reader: Reader, index: Path) -> None:
    page = reader.open(index, "#board?columns=bleu,chrf")
    assert shown(page) == ["bleu", "chrf"]
    choose(page, "chrf")
    assert page.locator('.chooser [value="bleu"]').is_disabled()
    assert shown(page) == ["bleu"]


def test_differences_take_the_place_of_values_on_demand(
    reader: Reader, index: Path, results: dict[str, Any]
) -> None:
    page = reader.open(index)
    best = results["candidates"][1]
    bleu = cell(page, best["name"], "bleu")
    rate = cell(page, best["name"], "judge:gpt4").inner_text()
    assert bleu.inner_text().split("\n")[0] == "19.4"
    toggle(page).check()
    apart = best["differences"]["bleu"]
    assert bleu.inner_text().split("\n") == ["+17.3", "+15.9 to +18.7", "better"]
    assert float(bleu.get_attribute("data-difference")) == apart["value"]
    assert cell(page, "base", "bleu").inner_text().startswith("2.10")
    assert cell(page, best["name"], "judge:gpt4").inner_text() == rate
    assert "to base" in head(page, "bleu").inner_text()
    linked = opened_anew(reader, index, fragment(page))
    assert toggle(linked).is_checked()
    toggle(linked).uncheck()
    assert cell(linked, best["name"], "bleu").inner_text().startswith("19.4")
    assert fragment(linked) == "#board"


def test_what_cannot_be_compared_has_no_difference(reader: Reader, tmp_path: Path) -> None:
    def foreign(results: dict[str, Any]) -> None:
        candidate = results["candidates"][1]
        candidate["scores"]["perplexity"]["incomparable"] = "another tokenizer than base's"
        candidate["differences"]["perplexity"] = {"missing": "another tokenizer than base's"}

    page = reader.open(render_changed(tmp_path, foreign), "#board?difference=1")
    told = cell(page, "qlora-r16", "perplexity").inner_text()
    assert told.split("\n") == ["no difference", "another tokenizer than base's"]


def test_a_link_gives_everything_at_once(reader: Reader, index: Path) -> None:
    page = reader.open(index, f"#board?difference=1&sort=-bleu&columns={DEFAULT}")
    assert shown(page) == DEFAULT.split(",")
    assert names(page)[1] == "qlora-r16"
    assert head(page, "bleu").get_attribute("aria-sort") == "descending"
    assert page.locator("#leaderboard.differences").count() == 1
    page.evaluate("location.hash = '#board'")
    page.evaluate("location.hash = ''")
    sync_api.expect(page.locator("#leaderboard.differences")).to_have_count(0)
    assert len(shown(page)) > 3


@pytest.mark.parametrize(
    "broken", ["#board?sort=nothing&columns=no,<b>&difference=x", "#board?sort=-&columns=,"]
)
def test_a_wrong_link_shows_the_board_as_at_first(reader: Reader, index: Path, broken: str) -> None:
    page = reader.open(index)
    columns, order = shown(page), names(page)
    linked = opened_anew(reader, index, broken)
    assert (shown(linked), names(linked)) == (columns, order)
    assert linked.locator("#leaderboard.differences").count() == 0


def test_all_of_it_works_by_keyboard(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    count = len(shown(page))
    toggle(page).focus()
    page.keyboard.press("Space")
    assert "difference=1" in fragment(page)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".chooser").get_attribute("open") is not None
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert len(shown(page)) == count - 1
    page.keyboard.press("Escape")
    assert page.locator(".chooser").get_attribute("open") is None
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("Leaderboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert head(page, "candidate").get_attribute("aria-sort") == "ascending"
    assert names(page)[1:-1] == sorted(names(page)[1:-1])


def test_without_scripts_every_column_is_there(browser: Any, index: Path, results: dict[str, Any]) -> None:
    reader = Reader(browser, java_script_enabled=False)
    page = reader.open(index)
    assert shown(page) == [column.id for column in build_board(results).columns]
    assert not page.locator("#board-toolbar").is_visible()
    assert cell(page, "qlora-r16", "bleu").inner_text().split("\n")[0] == "19.4"
    assert page.locator(".glance dt").all_inner_texts() == [
        "Which?",
        "By how much?",
        "Is it real?",
        "At what price?",
    ]
    reader.context.close()


def test_every_figure_is_the_one_of_the_results(reader: Reader, index: Path, results: dict[str, Any]) -> None:
    page = reader.open(index)
    for candidate in results["candidates"][:-1]:
        expected = {name: score.get("value") for name, score in candidate["scores"].items()}
        for judge, rates in candidate["win_rates"].items():
            expected[f"judge:{judge}"] = rates["rules"]["average"]["value"]
        expected["cost:train_seconds"] = candidate["costs"]["train_seconds"]
        for column, value in expected.items():
            exact = cell(page, candidate["name"], column).get_attribute("data-value")
            assert (float(exact) if exact else None) == value


@pytest.mark.parametrize("judges", [1, 4])
def test_a_usual_board_fits_a_window_of_1440(reader: Reader, tmp_path: Path, judges: int) -> None:
    page = reader.open(render_changed(tmp_path, lambda r: r.update(judges=r["judges"][:judges])))
    scroller = page.locator(".board-scroll")
    assert scroller.evaluate("box => box.scrollWidth <= box.clientWidth")
    assert any(column.startswith("cost:") for column in shown(page))
    # Its head stays in sight, then: below the sections, which stay too.
    page.locator("#leaderboard").evaluate(
        "table => scrollTo(0, scrollY + table.getBoundingClientRect().y + 200)"
    )
    sections = page.locator("nav").bounding_box()
    assert sections["y"] == pytest.approx(0, abs=1)
    assert head(page, "rank").bounding_box()["y"] == pytest.approx(sections["height"], abs=1)


@pytest.mark.parametrize("width", [1440, 768, 390])
def test_a_board_too_wide_keeps_head_and_names_in_sight(browser: Any, tmp_path: Path, width: int) -> None:
    index = render(large(tmp_path))
    reader = Reader(browser, viewport={"width": width, "height": 900})
    page = reader.open(index)
    assert page.locator("#leaderboard tbody tr").count() == 21
    assert len(shown(page)) >= 12
    scroller = page.locator(".board-scroll")
    scroller.evaluate("box => box.scrollTo(box.scrollWidth, box.scrollHeight)")
    box, first = scroller.bounding_box(), page.locator("#leaderboard tbody th").last.bounding_box()
    assert first["x"] == pytest.approx(box["x"], abs=1)
    assert head(page, "rank").bounding_box()["y"] == pytest.approx(box["y"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (
        page.locator("#leaderboard tbody th").evaluate_all(
            "all => Math.max(...all.map(one => one.offsetWidth))"
        )
        < 260
    )
    reader.context.close()


def large(folder: Path) -> Path:
    """20 candidates and 12 figures, with names and labels of the awkward sorts."""
    tuned = [(f"lora-r{2 ** (i % 7)}-lr{i}e-4", "lora", 1 + i / 20, 60.0 + i) for i in range(19)]
    make_report_input(folder, examples=4, tuned=tuned)
    text = (folder / "results.json").read_text()
    text = text.replace('"lora-r4-lr2e-4"', '"מודל-קטן"').replace('"lora-r8-lr3e-4"', f'"{"long-" * 16}name"')
    results = json.loads(text)
    for name, label in (
        ("one", "expected_calibration_error_" * 2 + "binned"),
        ("two", "a label of words " * 4),
    ):
        results["metrics"].append(dict(results["metrics"][-1], name=name, label=label))
        for candidate in results["candidates"]:
            for part in ("scores", "differences"):
                if "chrf" in candidate[part]:
                    candidate[part][name] = candidate[part]["chrf"]
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_it_prints_on_one_width_as_it_is_seen(reader: Reader, index: Path) -> None:
    page = reader.open(index, f"#board?difference=1&columns={DEFAULT}")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1032, "height": 703})  # A4 landscape within its margins
    assert shown(page) == DEFAULT.split(",")
    assert cell(page, "qlora-r16", "bleu").inner_text().startswith("+17.3")
    assert not page.locator("#board-toolbar").is_visible()
    assert page.locator("#leaderboard").evaluate("table => table.offsetWidth") <= 1032
    assert re.match(rb"%PDF-", page.pdf(format="A4", landscape=True))
