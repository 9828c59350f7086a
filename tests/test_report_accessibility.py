"""axe-core on every view of the page: WCAG 2.1, levels A and AA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader
from report_inputs import make_report_input

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
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(make_report_input(tmp_path_factory.mktemp("page"), examples=60))


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
