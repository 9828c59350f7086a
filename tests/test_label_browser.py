"""The labelling page in a real browser, opened from disk; then what was said there, on the board."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Reader, sync_api
from commands import harness, results, write_suite

from harness.labelling.page import label_page
from harness.labelling.pairs import Pair
from harness.labels import pair_digest, prompt_digest, read_labels, text_digest
from harness.records import Message, Messages

expect = sync_api.expect
HOSTILE = (
    "</script><script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title='owned'\"> <b>bold</b> &lt; \u2028 {{ 7 * 7 }}",
    "javascript:alert(1) <iframe src='https://example.org'></iframe> \u202eevil <!-- <script>",
)
ARABIC = "القمر يدور حول الأرض."
CHOICES = {"left": "1", "right": "2", "tie": "0"}


def pair(prompt: Messages | str, one: str, other: str) -> Pair:
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    asked = prompt_digest(turns)
    return Pair(pair_digest(asked, text_digest(one), text_digest(other)), asked, turns, (one, other))


PAIRS = [
    pair("Which colour?", "blue, which is the colour of the sky", "red"),
    pair(HOSTILE[0], HOSTILE[1], HOSTILE[2]),
    pair((Message("system", "Be brief."), Message("user", "قل شيئا")), ARABIC, "   "),
    pair("How long?", "short", "long " * 2000),
    pair("Last?", "yes", "no"),
]


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    path = tmp_path / "label.html"
    path.write_text(label_page("trial", PAIRS, seed=0), encoding="utf-8")
    return path


@pytest.fixture
def reader(browser: Any, page_file: Path) -> Iterator[Reader]:
    """A reader who must have asked for the page alone and have heard no complaint at the end."""
    made = Reader(browser, accept_downloads=True)
    yield made
    assert {url for url in made.requests if not url.startswith("blob:")} == {page_file.as_uri()}
    assert made.complaints == []
    made.context.close()


def at(page: Any, place: str) -> None:
    expect(page.locator("#place")).to_have_text(place)


def save(page: Any, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click("#save")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_labelling_by_keyboard_from_the_first_pair_to_the_file(
    reader: Reader, page_file: Path, tmp_path: Path
) -> None:
    page = reader.open(page_file)
    at(page, "1 of 5")
    for key, place in [("1", "2 of 5"), ("t", "3 of 5"), ("Backspace", "2 of 5")]:
        page.keyboard.press(key)
        at(page, place)
    expect(page.locator("[data-choice=tie]")).to_have_attribute("aria-pressed", "true")
    for key in ("ArrowRight", "0", "s", "2"):
        page.keyboard.press(key)
    at(page, "done")
    expect(page.locator("#summary")).to_have_text("4 labelled, 1 skipped.")
    page.fill("#name", "Anna")
    file = read_labels(save(page, tmp_path))
    assert file.labeller == "Anna"
    assert {label.pair: label.choice for label in file.labels} == {
        PAIRS[0].digest: "left",
        PAIRS[1].digest: "right",
        PAIRS[2].digest: "tie",
        PAIRS[4].digest: "right",
    }
    expect(page.locator("#save")).to_have_text("Saved")
    expect(page.locator("#save")).to_be_disabled()


def test_the_side_that_was_chosen_is_the_answer_that_was_seen(
    reader: Reader, page_file: Path, tmp_path: Path
) -> None:
    page = reader.open(page_file)
    blue = "left" if "blue" in page.locator("#left .text").inner_text() else "right"
    page.keyboard.press(CHOICES[blue])
    page.fill("#name", "Anna")
    (label,) = read_labels(save(page, tmp_path)).labels
    assert label.better == text_digest("blue, which is the colour of the sky")


def test_progress_and_name_survive_a_reload(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    page.keyboard.press("1")
    page.keyboard.press("s")
    page.fill("#name", "Ben")
    page.reload()
    at(page, "3 of 5")
    expect(page.locator("#name")).to_have_value("Ben")
    expect(page.locator("#save")).to_have_text("Save 1 label")
    page.locator("#back").click()
    page.locator("#back").click()
    expect(page.locator("[data-choice=left]")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#back")).to_be_disabled()


def test_hostile_texts_are_shown_and_run_nothing(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    page.keyboard.press("s")
    assert page.locator("#prompt .text").inner_text() == HOSTILE[0]
    shown = {page.locator(f"#{side} .text").inner_text() for side in ("left", "right")}
    assert any("<iframe src=" in text and "⟨U+202E⟩evil" in text for text in shown)
    assert any("<img src=x" in text and "{{ 7 * 7 }}" in text for text in shown)
    assert page.title() == "trial · which answer is better?"
    assert page.locator("iframe, main img, b").count() == 0


def test_direction_follows_the_text_and_an_empty_answer_says_so(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    page.keyboard.press("s")
    page.keyboard.press("s")
    arabic = page.locator("article .text", has_text=ARABIC)
    assert arabic.evaluate("e => getComputedStyle(e).direction") == "rtl"
    expect(page.locator("article .text.empty")).to_have_text("(no text)")
    assert page.locator("#prompt h2").all_inner_texts() == ["system", "user"]


def test_without_a_name_nothing_is_saved_and_the_field_is_shown(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    expect(page.locator("#save")).to_be_disabled()
    page.keyboard.press("1")
    page.click("#save")
    expect(page.locator("#trouble")).to_be_visible()
    expect(page.locator("#name")).to_be_focused()
    page.keyboard.type("2 t s 0")  # typed into the name, no choices
    at(page, "2 of 5")


def test_skipped_pairs_can_be_looked_at_again(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    for key in "11s11":
        page.keyboard.press(key)
    page.click("#review")
    at(page, "3 of 5")


def test_keys_with_modifiers_and_held_keys_choose_nothing(reader: Reader, page_file: Path) -> None:
    page = reader.open(page_file)
    page.keyboard.press("Control+1")
    page.keyboard.press("Alt+2")
    at(page, "1 of 5")
    page.keyboard.down("1")
    page.keyboard.down("1")
    page.keyboard.up("1")
    at(page, "2 of 5")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_touch_works_and_nothing_hangs_over_the_edge(
    browser: Any,
    page_file: Path,
    width: int,
    scheme: str,
) -> None:
    made = Reader(browser, viewport={"width": width, "height": 740}, color_scheme=scheme, has_touch=True)
    page = made.open(page_file)
    for place in range(2, 6):
        page.locator("[data-choice=left]").tap()
        at(page, f"{place} of 5")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.locator("[data-choice=right]").bounding_box()["y"] < 740
    assert made.complaints == []
    made.context.close()


def test_a_browser_that_keeps_nothing_is_told_and_labels_all_the_same(
    browser: Any,
    page_file: Path,
) -> None:
    made = Reader(browser)
    made.page.add_init_script("Storage.prototype.setItem = () => { throw new Error('quota'); };")
    page = made.open(page_file)
    page.keyboard.press("1")
    at(page, "2 of 5")
    expect(page.locator("#trouble")).to_contain_text("save the labels before you close")
    made.context.close()


# From the run to the board

SUITE = """\
model: {model}
data: {train: data.json, eval: 0.5}
prompting: {max_length: 128}
generation: {max_new_tokens: 4}
evaluators: [exact_match]
judges: [reference]
candidates:
  zebra: {backend: {constant: {text: The sky is blue.}}}
  quagga: {backend: reference}
"""


def test_what_people_say_comes_onto_the_board(
    browser: Any,
    tmp_path: Path,
    tiny_llama: Path,
    rows: list[dict[str, str]],
) -> None:
    suite = write_suite(tmp_path / "trial", tiny_llama, rows, SUITE)
    folder = suite.parent
    assert harness("run", suite.name, folder=folder).returncode == 0
    made = harness("label", suite.name, "--pairs", "16", "--output", "page.html", folder=folder)
    assert made.returncode == 0, made.stderr
    assert not re.search("zebra|quagga", (folder / "page.html").read_text(encoding="utf-8"))
    reader = Reader(browser, accept_downloads=True)
    page = reader.open(folder / "page.html")
    references = {row["output"] for row in rows}
    for _ in range(16):
        liked = page.locator("#left .text").inner_text() in references
        page.keyboard.press("1" if liked else "2")
    page.fill("#name", "Anna")
    saved = save(page, folder)
    assert len(reader.requests) == sum(url.startswith("blob:") for url in reader.requests) + 1
    reader.context.close()
    taken = harness("label", suite.name, "--import", saved.name, folder=folder)
    assert taken.returncode == 0, taken.stderr
    assert "16 labels of Anna, 16 new, 0 changed" in taken.stdout
    line = taken.stdout.splitlines()[-1]
    assert line == "  - human: {labels: [labels/anna.json]}"
    suite.write_text(SUITE.replace("{model}", str(tiny_llama)).replace(
        "judges: [reference]", f"judges:\n  - reference\n{line}"
    ))  # fmt: skip
    done = harness("run", suite.name, folder=folder)
    assert done.returncode == 0, done.stderr
    board = results(folder)
    human = {judge["name"]: judge for judge in board["judges"]}["human"]
    assert human["symmetric"]
    (agreement,) = board["agreement"]["with_people"]
    assert (agreement["judge"], agreement["people"]) == ("reference", "human")
    assert agreement["n"] >= 16
    assert agreement["same"] > 0.5
