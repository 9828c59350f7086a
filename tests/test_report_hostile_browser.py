"""What strangers wrote, in a real browser: it runs nothing, breaks no layout and is shown for what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from hostile_texts import CORPUS, make_hostile_report
from report_inputs import make_report_input

from harness.report import render
from harness.report.text import visible


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(make_hostile_report(tmp_path_factory.mktemp("hostile"), list(CORPUS.values())))


@pytest.fixture(params=[1440, 390])
def reading(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {"viewport": {"width": request.param, "height": 900}}


@pytest.fixture
def reader(reader: Reader) -> Iterator[Reader]:
    """The strict reader, for whom nothing of the texts may have become part of the page either."""
    yield reader
    loading = "img, iframe, object, embed, video, audio, base, meta[http-equiv=refresh]"
    assert reader.page.locator(loading).count() == 0
    assert reader.page.locator("script").count() == 3
    assert "ran" not in reader.page.title().split()


def unfold(page: Any) -> None:
    page.evaluate(
        """() => {
          document.querySelectorAll("details").forEach((one) => { one.open = true; });
          document.querySelectorAll("button.fold[aria-expanded=false]").forEach((one) => one.click());
        }"""
    )


def assert_layout(page: Any) -> None:
    """The page does not scroll sideways, and no example's part stands out of its frame."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = page.evaluate(
        """() => [...document.querySelectorAll(".example")].flatMap((one) => {
          const frame = one.getBoundingClientRect();
          return [...one.querySelectorAll("*")]
            .filter((part) => part.getBoundingClientRect().right > frame.right + 1)
            .map((part) => part.outerHTML.slice(0, 80));
        })"""
    )
    assert outside == []


@pytest.mark.parametrize(
    "fragment", ["", "#examples?diff=pair", "#examples?diff=reference&a=reference&find=un"]
)
def test_it_runs_nothing_and_breaks_no_layout(reader: Reader, index: Path, fragment: str) -> None:
    page = reader.open(index, fragment)
    page.mouse.move(200, 200)
    assert_layout(page)
    heights = page.locator(".example").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert len(heights) > 1
    assert max(heights) < 12_000
    unfold(page)
    assert_layout(page)


def test_it_is_shown_for_what_it_is(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    unfold(page)
    for number, text in enumerate(CORPUS.values()):
        prompt = page.locator(".example").nth(number).locator(".block.prompt .text").last.text_content()
        assert prompt.endswith(visible(text)), text[:30]


def test_every_control_works_among_them(reader: Reader, index: Path) -> None:
    page = reader.open(index)
    names = page.locator("[name=b] option").all_inner_texts()
    assert any("</script><script>" in name for name in names)
    for number, name in enumerate(names):
        page.locator("[name=b]").select_option(index=number)
        shown = page.locator(".example").first.locator("h3").nth(1)
        sync_api.expect(shown).to_contain_text(name[:40].strip())
    page.locator(".permalink").nth(3).click()
    sync_api.expect(page.locator(".example.linked")).to_have_count(1)
    fragment = page.evaluate("location.hash")
    page.reload()
    sync_api.expect(page.locator(".example.linked")).to_have_count(1)
    assert page.evaluate("location.hash") == fragment
    for words in ("<script>", "(.*", "[", "\\", "*", "𒐫", "__proto__"):
        page.locator("[name=find]").fill(words)
        page.wait_for_timeout(300)
        assert page.locator("#count").inner_text() != ""
    assert_layout(page)


def test_each_text_runs_in_its_own_direction(browser: Any, tmp_path: Path) -> None:
    """Hebrew and Arabic from the right, also between English paragraphs; CJK breaks anywhere it may."""
    texts = ["שלום עולם, מה שלומך?", "Answer:\nمرحبا بالعالم\nend", "これは長い文章です。" * 40, "plain"]
    make_report_input(tmp_path, examples=len(texts))
    lines = [json.loads(line) for line in (tmp_path / "examples.jsonl").read_text().splitlines()]
    for line, text in zip(lines, texts, strict=True):
        line["answers"]["base"]["text"] = text
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    reader = Reader(browser, viewport={"width": 390, "height": 844})
    page = reader.open(render(tmp_path))
    answers = [page.locator(".example").nth(n).locator(".answer .text").first for n in range(len(texts))]

    def edges(answer: Any, words: str) -> tuple[float, float]:
        """How far the words stand from the left and from the right of their box."""
        left, right = answer.evaluate(
            """(one, words) => {
              const node = document.createTreeWalker(one, NodeFilter.SHOW_TEXT).nextNode();
              const start = node.data.indexOf(words);
              const range = document.createRange();
              range.setStart(node, start);
              range.setEnd(node, start + words.length);
              const [box, inner] = [one.getBoundingClientRect(), range.getBoundingClientRect()];
              return [inner.left - box.left, box.right - inner.right];
            }""",
            words,
        )
        return left, right

    left, right = edges(answers[0], "שלום עולם, מה שלומך?")
    assert right < 2 < left
    left, right = edges(answers[1], "مرحبا بالعالم")
    assert right < 2 < left
    left, right = edges(answers[1], "end")
    assert left < 2 < right
    assert answers[2].evaluate("one => one.scrollWidth <= one.clientWidth && one.clientHeight > 60")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert reader.complaints == []
    reader.context.close()
