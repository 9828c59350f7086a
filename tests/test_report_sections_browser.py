"""Judges and provenance in a real browser: what copies, what folds, what is there without a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api

NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"
GRANTED = "document.execCommand = () => false"
REFUSING = "navigator.clipboard.writeText = () => Promise.reject(new Error('no'))"


@pytest.fixture(scope="module")
def examples() -> int:
    return 12


def pasted(page: Any) -> str:
    """What the clipboard holds, as a reader finds it: pasted into a field."""
    page.evaluate("document.body.prepend(document.createElement('textarea'))")
    field = page.locator("textarea").first
    field.focus()
    page.keyboard.press("Control+V")
    text = str(field.input_value())
    page.evaluate("document.querySelector('textarea').remove()")
    return text


@pytest.mark.parametrize("before", [GRANTED, NO_CLIPBOARD, REFUSING], ids=["clipboard", "none", "refused"])
@pytest.mark.parametrize("target", ["suite-text", "methods-text", "methods-bibtex", "prompt-0-0"])
def test_a_button_copies_what_it_names_by_keyboard(
    reader: Reader, index: Path, before: str, target: str
) -> None:
    reader.context.add_init_script(before)
    if before == GRANTED:
        reader.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = reader.open(index)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    button = page.locator(f"button[data-copy='{target}']")
    said = button.locator("xpath=following-sibling::*[@role='status']")
    assert said.inner_text() == ""
    button.focus()
    page.keyboard.press("Enter")
    sync_api.expect(said).to_have_text("Copied")
    expected = page.locator(f"#{target}").text_content()
    assert expected
    assert pasted(page) == expected


def test_what_cannot_be_copied_is_selected_and_said(reader: Reader, index: Path) -> None:
    reader.context.add_init_script(f"{NO_CLIPBOARD}; document.execCommand = () => false")
    page = reader.open(index)
    button = page.locator("button[data-copy='suite-text']")
    button.click()
    said = button.locator("xpath=following-sibling::*[@role='status']")
    sync_api.expect(said).to_have_text("Selected: copy it with Ctrl+C or ⌘C")
    assert (
        page.evaluate("getSelection().toString().trim()") == page.locator("#suite-text").inner_text().strip()
    )


def test_every_button_has_a_name_of_its_own(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    names = page.locator("button.copy").all_inner_texts()
    assert len(names) == len(set(names)) >= 4


def test_a_judge_of_the_overview_leads_to_its_figures(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    page.locator("#judges-overview a", has_text="local").click()
    sync_api.expect(page.locator("#judge-2")).to_be_in_viewport()
    assert page.locator("#judge-2 h3").inner_text() == "local, against all others"


def test_without_a_script_all_is_there_but_the_buttons(browser: Any, index: Path) -> None:
    reader = Reader(browser, java_script_enabled=False)
    page = reader.open(index)
    sync_api.expect(page.locator("button.copy").first).to_be_hidden()
    for identity in ("suite-text", "methods-text", "judge-0", "judge-3", "costs"):
        sync_api.expect(page.locator(f"#{identity}")).to_be_visible()
    more = page.locator("#judge-1 details").first
    sync_api.expect(more.locator("table")).to_be_hidden()
    more.locator("summary").click()
    sync_api.expect(more.locator("table")).to_be_visible()
    reader.context.close()


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_no_section_is_wider_than_the_screen(browser: Any, index: Path, width: int) -> None:
    reader = Reader(browser, viewport={"width": width, "height": 900})
    page = reader.open(index)
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    scrolling = page.evaluate(
        "[...document.querySelectorAll('#training .cards')].map((one) => "
        "one.parentElement.scrollWidth - one.parentElement.clientWidth)"
    )
    # Training and costs are read without scrolling sideways, at any width.
    assert scrolling == [0, 0]
    reader.context.close()


def test_a_card_names_its_figures(browser: Any, index: Path) -> None:
    reader = Reader(browser, viewport={"width": 390, "height": 844})
    page = reader.open(index)
    cell = page.locator("#training .cards tbody td").first
    assert (
        page.evaluate("(cell) => getComputedStyle(cell, '::before').content", cell.element_handle())
        == '"length"'
    )
    assert cell.locator("dt").all_inner_texts() == ["steps", "epochs", "effective batch"]
    reader.context.close()
