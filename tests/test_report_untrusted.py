"""A report that somebody sent: nothing that it names is run, and nothing that is damaged is taken in."""

from __future__ import annotations

import base64
import copy
import hashlib
import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hostile_texts import CORPUS, make_hostile_report

from harness.cli import main
from harness.json_files import iter_json_lines, read_json, write_json
from harness.report import render

Json = dict[str, Any]
EVIL = """from pathlib import Path

Path({mark!r}).write_text("ran")
"""


@pytest.fixture(scope="module")
def examples() -> int:
    return 12


def damaged(
    report: Path,
    folder: Path,
    *,
    results: Callable[[Json], object] | None = None,
    lines: Callable[[list[Json]], object] | None = None,
) -> Path:
    """A copy of the report, changed by hand."""
    folder.mkdir(exist_ok=True)
    told = read_json(report / "results.json")
    found = copy.deepcopy(list(iter_json_lines(report / "verdicts.jsonl")))
    if results:
        results(told)
    if lines:
        lines(found)
    write_json(folder / "results.json", told)
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in found))
    (folder / "examples.jsonl").write_bytes((report / "examples.jsonl").read_bytes())
    (folder / "index.html").write_text("as it was")
    return folder


def refused(folder: Path, *options: str) -> str:
    """The one line by which a folder is refused, nothing in it being changed."""
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = CliRunner().invoke(main, ["report", str(folder), "--reparse", *options])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    return line


@pytest.mark.parametrize(
    "name",
    ["evil.py", "./evil.py", "{folder}/evil.py", "..\\evil", "evil:Judge", "evil.py:Judge", "../x", ""],
)
def test_no_code_that_a_report_names_is_run(
    report: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = damaged(
        report,
        tmp_path / "r",
        results=lambda told: told["judges"][1]["plugin"].update(name=name.format(folder=tmp_path / "r")),
    )
    mark = tmp_path / "mark"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    (folder / "suite.yaml").touch()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    for options in ((), ("--suite", str(folder / "suite.yaml"))):
        assert "a report may not say what file to run" in refused(folder, *options)
    assert not mark.exists()


def first(key: str, value: Any) -> Callable[[list[Json]], object]:
    return lambda lines: lines[0].update({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("judge", value) for value in (["a"], None, 1, "other")),
        *(("example_id", value) for value in (1, None, ["a"], "unknown")),
        *(("seed", value) for value in ("x", [1], 1e9, True)),
        *(("first", value) for value in (None, ["b"], 5, "nobody")),
        *(("choice", value) for value in ("banana", None, ["first"])),
        *(("preference", value) for value in (1e9, -1, "x", True)),
        *(("fault", value) for value in (None, "zzz", 5)),
        *(("control", value) for value in (None, "zzz", True)),
        *(("first_chars", value) for value in ("x", -1)),
        *(("reason", value) for value in (None, 5, "\ud800")),
        *(("raw", value) for value in (None, 5, [1])),
    ],
)
def test_a_line_that_is_no_verdict_is_refused_at_its_place(
    report: Path, tmp_path: Path, key: str, value: Any
) -> None:
    line = refused(damaged(report, tmp_path / "r", lines=first(key, value)))
    assert "verdicts.jsonl:1: not a verdict of this report: " in line
    assert f"'{key}'" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines.append(dict(lines[0])), "verdicts.jsonl:1 already"),
        (lambda lines: lines.append({**lines[0], "choice": "tie"}), "verdicts.jsonl:1 already"),
        (lambda lines: lines.__delitem__(slice(5, None)), "has 5 verdicts of judge 'reference', but"),
        (lambda lines: lines.clear(), "has 0 verdicts of judge 'reference'"),
        (lambda lines: lines[0].update(choice="first", preference=0.2), "is for the other answer"),
        (lambda lines: lines[0].update(choice="tie", fault="invalid"), "is a verdict that was read"),
        (lambda lines: lines[0].update(second=lines[0]["first"]), "are both"),
    ],
)
def test_what_is_there_twice_missing_or_contradicts_itself_is_refused(
    report: Path, tmp_path: Path, change: Callable[[list[Json]], object], message: str
) -> None:
    assert message in refused(damaged(report, tmp_path / "r", lines=change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told.update(judges="x"), "judges is not array"),
        (lambda told: told["judges"][0].update(name=["a"]), "judges[0].name is not string"),
        (lambda told: told["judges"][0]["plugin"].update(options=[1]), "plugin.options is not object"),
        (lambda told: told["judges"][1].update(name="reference"), "has two judges named 'reference'"),
        (lambda told: told["judges"][0].update(members=["ghost"]), "which is no judge of the report"),
        (lambda told: told["judges"][0].update(members=[""]), "combines '', which is no judge"),
        (lambda told: told["judges"][0].update(members=["reference"]), "combine each other in a circle"),
        (lambda told: told["judges"][0]["receipt"].update(examples=None), "receipt.examples is not integer"),
        (lambda told: told.update(candidates=[]), "candidates has 0 members"),
        (lambda told: told.update(candidates="x"), "candidates is not array"),
        (lambda told: told["candidates"][1].pop("scores"), "candidates[1] lacks scores"),
    ],
)
def test_results_that_are_damaged_are_refused(
    report: Path, tmp_path: Path, change: Callable[[Json], object], message: str
) -> None:
    assert message in refused(damaged(report, tmp_path / "r", results=change))


def test_a_reply_of_a_hundred_thousand_brackets_is_unreadable_and_no_more(
    report: Path, tmp_path: Path
) -> None:
    folder = damaged(
        report,
        tmp_path / "r",
        results=lambda told: told["judges"][1]["plugin"].update(name="gpt4", options={}),
        lines=lambda lines: [line.update(raw="[" * 100_000) for line in lines if line["judge"] == "gpt4"][:0],
    )
    done = CliRunner().invoke(main, ["report", str(folder), "--reparse"])
    assert done.exit_code == 0, done.output
    gpt4 = [line for line in iter_json_lines(folder / "verdicts.jsonl") if line["judge"] == "gpt4"]
    assert {line["choice"] for line in gpt4} == {"unparsed"}


class Tags(HTMLParser):
    """The kinds of tags and the names of attributes of a page, and what its scripts hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open == "script" and data.strip():
            self.scripts.append(data)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Tags:
    folder = make_hostile_report(tmp_path_factory.mktemp("harmless"), ["harmless"])
    return Tags(render(folder).read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", CORPUS.values(), ids=CORPUS)
def test_what_a_stranger_wrote_is_text_on_the_page(tmp_path: Path, harmless: Tags, text: str) -> None:
    page = render(make_hostile_report(tmp_path, [text])).read_text(encoding="utf-8")
    found = Tags(page)
    assert found.tags <= harmless.tags
    assert found.attributes <= harmless.attributes
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", page)
    columns, texts, script = found.scripts
    assert len(json.loads(columns)["ids"]) == len(texts.splitlines()) == 2
    assert all(json.loads(line)["answers"] for line in texts.splitlines())
    # The one script that may run is the one that the policy allows, whatever was rendered.
    assert script == harmless.scripts[-1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = html.unescape(re.findall('Content-Security-Policy" content="([^"]*)"', page)[0])
    assert f"script-src 'sha256-{digest}'" in policy
