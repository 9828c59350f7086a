"""Links into the examples: each leads to the view it was taken from, and a broken one to a right page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from example_pages import check, count, numbers, wait_for_hash


def test_a_link_reproduces_the_view(browser: Any, reader: Reader, index: Path) -> None:
    page = reader.open(index)
    page.locator("[name=a]").select_option(label="full")
    page.locator("[name=b]").select_option(label="last2")
    page.locator("[name=order]").select_option(label="largest difference in BLEU")
    page.locator("[name=diff]").select_option(label="each against the reference")
    check(page, "differ")
    page.locator(".pager button[data-step='1']").first.click()
    wait_for_hash(page, "page=2")
    fragment = page.evaluate("location.hash")
    shown = page.locator("#list").inner_html()
    other = Reader(browser)
    linked = other.open(index, fragment)
    assert linked.locator("#list").inner_html() == shown
    for name in ("a", "b", "order", "diff"):
        assert linked.locator(f"[name={name}]").input_value() == page.locator(f"[name={name}]").input_value()
    assert linked.locator("[value=differ]").is_checked()
    assert linked.locator(".side h3").first.inner_text() == "full"
    assert linked.evaluate("window.scrollY") > 0
    other.context.close()


def test_a_permalink_leads_to_one_example_of_the_view(browser: Any, reader: Reader, index: Path) -> None:
    page = reader.open(index, "#examples?order=bleu&show=differ&page=2")
    wanted = numbers(page)[7]
    link = page.locator(".permalink").nth(7)
    link.click()
    wait_for_hash(page, "example=")
    linked = page.locator(".example.linked")
    assert linked.locator(".permalink").inner_text() == f"#{wanted}"
    assert linked.evaluate("one => one === document.activeElement")
    fragment = page.evaluate("location.hash")
    other = Reader(browser)
    elsewhere = other.open(index, fragment)
    elsewhere.wait_for_load_state("load")
    assert elsewhere.locator(".example.linked .permalink").inner_text() == f"#{wanted}"
    assert numbers(elsewhere) == numbers(page)
    assert -1 < elsewhere.locator(".example.linked").evaluate("one => one.getBoundingClientRect().top") < 60
    other.context.close()
    page.locator(".pager button[data-step='1']").first.click()
    assert page.locator(".example.linked").count() == 0
    assert "example=" not in page.evaluate("location.hash")


def test_a_figure_leads_to_the_answers_behind_it(reader: Reader, index: Path) -> None:
    page = reader.open(index, "#board?sort=bleu&find=nothing")
    page.locator(".board a.dig", has_text="of last2").click()
    sync_api.expect(page.locator(".side h3").nth(1)).to_have_text("last2")
    assert page.locator(".side h3").first.inner_text() == "base"
    assert count(page) == "1–50 of 120"
    assert "sort=bleu" in page.evaluate("location.hash")  # the board stays as it was chosen
    panel = page.locator(".panel", has=page.locator(".of", has_text="lora-r4")).first
    panel.locator("a.dig").click()
    sync_api.expect(page.locator(".side h3").nth(1)).to_have_text("lora-r4")
    assert page.locator("[name=order]").locator("option:checked").inner_text() == (
        "largest difference in perplexity"
    )


def test_a_judges_flips_are_those_of_this_judge(reader: Reader, index: Path, results: dict[str, Any]) -> None:
    page = reader.open(index)
    rates = {c["name"]: c["win_rates"].get("gpt4", {}) for c in results["candidates"]}
    swaps = rates["qlora-r16"]
    flips = round((swaps["flips_to_first"] + swaps["flips_to_second"]) * swaps["pairs"])
    assert flips > 0
    row = page.locator("#judge-1 tr", has_text="all flips").filter(has_text="qlora-r16")
    page.evaluate("document.querySelectorAll('#judges details').forEach((one) => { one.open = true; })")
    row.locator("a.dig", has_text="all flips").click()
    sync_api.expect(page.locator("#count")).to_have_text(f"1–{flips} of {flips}, 120 in all")
    assert page.locator("[name=judge]").input_value() == "gpt4"
    told = page.locator(".example .verdict", has_text="gpt4").locator(".badge", has_text="flip")
    assert told.count() == flips
    page.locator("[name=judge]").select_option("reference")
    sync_api.expect(page.locator("#count")).to_have_text("No example is like that.")


def test_going_back_leaves_the_linked_example(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    page.locator(".permalink").nth(7).click()
    sync_api.expect(page.locator(".example.linked")).to_have_count(1)
    page.go_back()
    sync_api.expect(page.locator(".example.linked")).to_have_count(0)
    assert count(page) == "1–50 of 120"


@pytest.mark.parametrize(
    "fragment",
    [
        "#examples?a=nobody&b=<img>&show=x,__proto__&order=99&page=-3&diff=7",
        "#examples?page=1e9",
        "#examples?example=nothing",
        "#x",
        "#examples?a=%F0%28&find=",
    ],
)
def test_a_wrong_link_shows_a_right_page(reader: Reader, index: Path, fragment: str) -> None:
    page = reader.open(index, fragment)
    assert page.locator(".example").count() in (20, 50)
    lost = "the example of the link is not among them" in count(page)
    assert lost == ("example=" in fragment)


def test_another_section_leaves_the_list_as_it_is(reader: Reader, index: Path) -> None:
    page = reader.open(index, "#examples?show=flips")
    page.locator(".example").first.evaluate("one => { one.dataset.kept = 'yes'; }")
    page.locator("nav a[href='#judges']").click()
    wait_for_hash(page, "#judges?show=flips")
    assert page.locator(".example[data-kept]").count() == 1
