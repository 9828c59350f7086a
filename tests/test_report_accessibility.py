"""axe-core on every view of the page: WCAG 2.1, levels A and AA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader
from report_inputs import LARGE, make_report_input

from harness.report import render

axe_playwright = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="needs axe-core: pip install '.[test]'"
)

LEVELS = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}
VIEWS = [
    "",
    "#board?sort=-bleu&difference=1",
    "#charts?price=2.5",
    "#examples?show=flips",
    "#examples?a=full&b=last2&find=compost&diff=pair",
    "#examples?find=nothing-is-like-that",
]


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


@pytest.mark.parametrize("fragment", VIEWS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_has_a_fault(browser: Any, index: Path, fragment: str, scheme: str) -> None:
    assert faults(browser, index, fragment, color_scheme=scheme) == []


def test_the_narrow_view_has_no_fault(browser: Any, index: Path) -> None:
    assert faults(browser, index, "", viewport={"width": 390, "height": 844}) == []


def test_the_view_without_scripts_has_no_fault(browser: Any, tmp_path: Path) -> None:
    """axe is a script itself: the page's own are taken out, and what they would draw."""
    index = render(make_report_input(tmp_path, examples=3))
    html = index.read_text(encoding="utf-8")
    head, _, _ = html.partition('<script type="application/json"')
    index.write_text(head.replace("<noscript>", "<div>").replace("</noscript>", "</div>") + "</body></html>")
    assert faults(browser, index, "") == []


@pytest.mark.parametrize("width", [390, 320])
def test_a_narrow_screen_shows_few_candidates_whole(browser: Any, tmp_path: Path, width: int) -> None:
    """Charts of few candidates fit (WCAG 1.4.10); a legend tells of whom the lines of a loss are."""
    few = [("full", "full", 1.0, 77.0), ("lora", "lora", 1.08, 40.0)]
    index = render(make_report_input(tmp_path, examples=10, tuned=few, judges=()))
    reader = Reader(browser, viewport={"width": width, "height": 844})
    page = reader.open(index)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    charts = page.locator(":is(.tradeoff, .versus, .compact, .small > figure) > .scroll")
    assert charts.count() > 4
    assert charts.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length") == 0
    assert page.locator(".legend").inner_text().split() == ["full", "lora"]
    assert page.locator(".losses .label:visible").count() == 0
    page.set_viewport_size({"width": 1440, "height": 844})
    assert page.locator(".legend").is_hidden()
    assert page.locator(".losses .label:visible").count() == 4
    reader.context.close()


def test_nothing_is_wider_than_the_paper(browser: Any, tmp_path: Path) -> None:
    """Else a browser makes every page smaller, down to what nobody can read."""
    index = render(make_report_input(tmp_path, **{**LARGE, "examples": 20}))
    reader = Reader(browser, viewport={"width": 1032, "height": 700})  # A4 across, without its margins
    page = reader.open(index)
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") == 1032
    reader.context.close()


def test_axe_would_find_a_fault(browser: Any, tmp_path: Path) -> None:
    index = tmp_path / "index.html"
    index.write_text("<!doctype html><title>t</title><main><h1>x</h1><input></main>")
    assert any("label" in fault for fault in faults(browser, index, ""))


def faults(browser: Any, index: Path, fragment: str, **options: Any) -> list[str]:
    """What axe holds against a view with everything unfolded, each with the first place."""
    reader = Reader(browser, **options)
    page = reader.open(index, fragment)
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    found = axe_playwright.Axe().run(page, options=LEVELS).response["violations"]
    reader.context.close()
    return [f"{one['id']} ({one['impact']}): {one['nodes'][0]['html'][:200]}" for one in found]
