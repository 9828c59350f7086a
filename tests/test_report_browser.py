"""The page in a real browser, opened from disk: what a reader does with it, what hostile text cannot do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader
from page_colours import contrast
from report_inputs import LARGE, make_report_input

from harness.report import render


def names(page: Any) -> list[str]:
    return list(page.locator("#leaderboard tbody .candidate").all_inner_texts())


def test_sorting_pins_base_first_and_the_failed_last(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    head = page.locator("#leaderboard thead th", has_text="train time")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert names(page) == ["base", "last2", "lora-r4", "lora-r16", "qlora-r16", "full", "lora-wrong"]
    head.locator("button").click()
    assert names(page) == ["base", "full", "qlora-r16", "lora-r16", "lora-r4", "last2", "lora-wrong"]
    assert page.locator("#leaderboard th:not([aria-sort=none])[aria-sort]").count() == 1


def test_sorting_works_by_keyboard_and_puts_the_missing_last(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    button = page.locator("#leaderboard thead th", has_text="exact match").locator("button")
    button.focus()
    page.keyboard.press("Enter")  # higher is better: best first
    assert names(page) == ["base", "qlora-r16", "lora-r16", "full", "lora-r4", "last2", "lora-wrong"]
    page.keyboard.press("Space")
    assert names(page) == ["base", "lora-r4", "full", "lora-r16", "qlora-r16", "last2", "lora-wrong"]
    page.locator("#leaderboard thead th", has_text="candidate").locator("button").click()
    assert names(page)[1:-1] == sorted(names(page)[1:-1])


def test_the_tables_of_the_judges_have_heads_and_captions(browser: Any, index: Path) -> None:
    """Also without JavaScript: a caption, heads with a scope, and as many cells in each row as heads."""
    reader = Reader(browser, java_script_enabled=False)
    tables = reader.open(index).locator("#judges table")
    assert tables.count() >= 2 + 2 * 4
    for table in tables.all():
        assert table.locator("caption").count() == 1
        assert table.locator("th:not([scope])").count() == 0
        if table.locator("[rowspan]").count() == 0:
            heads = table.locator("thead th").count()
            for row in table.locator("tbody tr").all():
                assert row.locator("th, td").count() == heads
                assert row.locator("th[scope=row]").count() == 1
    reader.context.close()


@pytest.mark.parametrize("width", [1440, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_itself_never_scrolls_sideways(browser: Any, index: Path, width: int, scheme: str) -> None:
    reader = Reader(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = reader.open(index)
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor").startswith("rgb(25")
    assert light == (scheme == "light")
    reader.context.close()


def test_text_is_readable_on_its_background(browser: Any, index: Path) -> None:
    """WCAG 2.1 AA: 4.5 to 1, in both colour schemes."""
    for scheme in ("light", "dark"):
        reader = Reader(browser, color_scheme=scheme)
        page = reader.open(index)
        style = "getComputedStyle(document.documentElement).getPropertyValue"
        tokens = {
            name: page.evaluate(f"{style}('--{name}').trim()")
            for name in ("paper", "surface", "faint", "ink", "muted", "accent", "better", "worse", "level")
        }
        for ground in ("paper", "surface", "faint"):
            for ink in ("ink", "muted", "accent", "better", "worse", "level"):
                assert contrast(tokens[ink], tokens[ground]) >= 4.5, (scheme, ink, ground)
        reader.context.close()


def test_the_policy_stops_what_would_slip_in(browser: Any, index: Path) -> None:
    reader = Reader(browser)
    page = reader.open(index)
    blocked: list[str] = []
    page.on("requestfailed", lambda request: blocked.append(request.failure))
    page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script);
          const image = document.createElement("img");
          image.setAttribute("onerror", "window.ran = true");
          image.src = "https://example.org/x.png";
          document.body.append(image);
        }"""
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.ran") is None
    assert blocked == ["csp"]
    assert any("Content Security Policy" in complaint for complaint in reader.complaints)
    reader.context.close()


def test_board_and_charts_need_no_script(browser: Any, index: Path) -> None:
    reader = Reader(browser, java_script_enabled=False)
    page = reader.open(index)
    assert names(page)[0] == "base"
    assert page.locator("svg[role=img]").count() > 5
    assert (
        page.locator("noscript").inner_text()
        == "The examples need JavaScript. The board and the charts do not."
    )
    assert not page.locator("#controls").is_visible()
    reader.context.close()


def test_it_prints(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 1032, "height": 703})  # A4 landscape within its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 1032
    assert not page.locator("nav").is_visible()
    assert len(page.pdf(format="A4", landscape=True)) > 50_000


@pytest.mark.slow
def test_a_large_page_opens(browser: Any, tmp_path: Path) -> None:
    index = render(make_report_input(tmp_path, examples=LARGE["examples"], tuned=LARGE["tuned"]))
    reader = Reader(browser)
    page = reader.open(index)
    assert page.locator("#count").inner_text() == "1–50 of 1,000"
    reader.context.close()
