"""Old replies read again: what changes, what is left, and that nobody is asked and nothing is half done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_inputs import changed, make_report_input

from harness.cli import main
from harness.errors import HarnessError, InputError
from harness.json_files import iter_json_lines, read_json, write_jsonl
from harness.report.reparse import Reread, reparse

READER = '''"""Reads its old replies."""

import json
from dataclasses import dataclass

from harness import Question, Verdict, option


@dataclass(frozen=True)
class {name}:
    """Reads its old replies."""

    strict: bool = option(False, help="refuse to read")

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        raise AssertionError("nobody is asked")

    def reread(self, raw: str) -> Verdict:
        {body}
'''
BETTER = """found = json.loads(raw)["choice"]
        return Verdict("tie" if found == "unparsed" else found, "read again", raw)"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A report in which gpt4's verdicts come from the plugin `reader`."""
    made = make_report_input(tmp_path / "report", examples=40)
    changed(made, lambda results: results["judges"][1]["plugin"].update(name="reader"))
    return made


def suite_with(tmp_path: Path, body: str, name: str = "reader") -> Path:
    (tmp_path / "judges").mkdir(exist_ok=True)
    (tmp_path / "judges" / f"{name}.py").write_text(READER.format(name=name.title(), body=body))
    (tmp_path / "suite.yaml").touch()
    return tmp_path


def test_a_better_parser_changes_what_it_reads(folder: Path, tmp_path: Path) -> None:
    before, lines = read_json(folder / "results.json"), list(iter_json_lines(folder / "verdicts.jsonl"))
    unparsed = sum(line["judge"] == "gpt4" and line["choice"] == "unparsed" for line in lines)
    assert unparsed == before["judges"][1]["receipt"]["unparsed"] > 0
    told = reparse(folder, suite_with(tmp_path, BETTER))
    asked = sum(line["judge"] == "gpt4" for line in lines)
    assert told[1] == Reread("gpt4", replies=asked, changed=unparsed, understood=unparsed)
    after, read = read_json(folder / "results.json"), list(iter_json_lines(folder / "verdicts.jsonl"))
    for old, new in zip(lines, read, strict=True):
        if old["judge"] != "gpt4" or old["choice"] != "unparsed":
            assert old == new
        else:
            assert (new["choice"], new["fault"], new["reason"]) == ("tie", "", "read again")
            assert new["raw"] == old["raw"]
    gpt4 = after["judges"][1]
    assert (gpt4["analysis"]["unparsed"], gpt4["receipt"]["unparsed"], gpt4["receipt"]["faults"]) == (
        0,
        0,
        {},
    )
    assert gpt4["receipt"]["cost_usd"] == 2.75
    kept = [judge for judge in after["judges"] if judge["name"] != "gpt4"]
    assert kept == [judge for judge in before["judges"] if judge["name"] != "gpt4"]
    rows = {row["name"]: row for row in after["candidates"]}
    assert rows["last2"]["win_rates"]["gpt4"]["unparsed"] == 0
    assert not any(
        "could not be read" in warning for row in rows.values() for warning in row["judge_warnings"]
    )
    assert [row["name"] for row in after["candidates"]] == [row["name"] for row in before["candidates"]]
    shown = [verdict for entry in iter_json_lines(folder / "examples.jsonl")
             for verdict in entry["verdicts"]["gpt4"].get("last2", ())]  # fmt: skip
    assert {verdict["choice"] for verdict in shown} == {"first", "second", "tie"}
    assert (folder / "index.html").is_file()


def test_reading_the_same_changes_nothing(folder: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    results = json.loads(files["results.json"])
    told = reparse(folder, suite_with(tmp_path, 'return Verdict(json.loads(raw)["choice"])'))
    assert told[1].changed == 0
    assert (folder / "verdicts.jsonl").read_bytes() == files["verdicts.jsonl"]
    again = read_json(folder / "results.json")
    assert again.pop("examples")["n"] == len((folder / "examples.jsonl").read_text().splitlines())
    faults = [board["judges"][1]["receipt"].pop("faults") for board in (again, results)]
    assert faults[0] == {"invalid": results["judges"][1]["receipt"]["unparsed"]}
    warnings = results.pop("warnings")  # of which one is not the stage's
    assert again.pop("warnings") == warnings[:-1]
    assert again == results


def test_controls_that_cannot_be_read_are_not_among_the_unparsed(folder: Path, tmp_path: Path) -> None:
    """A judge that is left as it was leaves results.json byte for byte."""
    lines = list(iter_json_lines(folder / "verdicts.jsonl"))
    unread = [line for line in lines if line["judge"] == "gpt4" and line["choice"] == "unparsed"]
    controls = [{**line, "control": "repeat"} for line in unread]
    assert controls
    write_jsonl(folder / "verdicts.jsonl", lines + controls)
    same = suite_with(tmp_path, 'return Verdict(json.loads(raw)["choice"])')
    reparse(folder, same)
    receipt = read_json(folder / "results.json")["judges"][1]["receipt"]
    assert (receipt["unparsed"], receipt["faults"]) == (len(unread), {"invalid": len(unread)})
    before = (folder / "results.json").read_bytes()
    for suite in (same, None):
        assert not any(told.changed for told in reparse(folder, suite))
        assert (folder / "results.json").read_bytes() == before


def test_a_warning_in_words_of_an_earlier_version_does_not_stay(folder: Path, tmp_path: Path) -> None:
    before = read_json(folder / "results.json")["candidates"]
    assert any(row["judge_warnings"] for row in before)

    def reword(results: dict[str, Any]) -> None:
        for row in results["candidates"]:
            row["judge_warnings"] = [f"formerly: {warning}" for warning in row["judge_warnings"]]

    changed(folder, reword)
    reparse(folder, suite_with(tmp_path, 'return Verdict(json.loads(raw)["choice"])'))
    assert read_json(folder / "results.json")["candidates"] == before


@pytest.mark.parametrize("rank_by", ["gpt4", "local"])
def test_a_board_ranked_by_a_judge_is_ranked_anew(folder: Path, tmp_path: Path, rank_by: str) -> None:
    changed(folder, lambda results: results["suite"].update(rank_by=rank_by))
    reparse(folder, suite_with(tmp_path, BETTER))
    rows = read_json(folder / "results.json")["candidates"]
    rates = [row["win_rates"][rank_by]["rules"]["average"]["value"] for row in rows[1:-1]]
    assert rates == sorted(rates, reverse=True)
    assert all(row["rank"] and row["group"] for row in rows[1:-1])


def test_gpt4_reads_its_own_replies_without_key_or_server(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    said = {"first": "answer_1", "second": "answer_2", "tie": "tie", "unparsed": "answer_2"}
    lines = list(iter_json_lines(folder / "verdicts.jsonl"))
    for line in lines:
        line["raw"] = json.dumps({"explanation": "Because.", "choice": said[line["choice"]]})
    write_jsonl(folder / "verdicts.jsonl", lines)
    changed(folder, lambda results: results["judges"][1]["plugin"].update(name="gpt4", options={}))
    unparsed = [line["judge"] == "gpt4" and line["choice"] == "unparsed" for line in lines]
    told = reparse(folder)
    assert (told[1].changed, told[1].understood) == (sum(unparsed), sum(unparsed))
    again = list(iter_json_lines(folder / "verdicts.jsonl"))
    assert {line["choice"] for line, was in zip(again, unparsed, strict=True) if was} == {"second"}
    assert next(line for line, was in zip(again, unparsed, strict=True) if was)["reason"] == "Because."


def test_a_judge_beside_the_suite_is_found_where_the_suite_is_named(folder: Path, tmp_path: Path) -> None:
    suite_with(tmp_path, BETTER)
    left = CliRunner().invoke(main, ["report", str(folder), "--reparse"])
    assert "gpt4: left as it was; unknown judge 'reader'" in left.stderr
    assert "; if it is in judges/ beside a suite, name the suite with --suite\n" in left.stderr
    suite = str(tmp_path / "suite.yaml")
    found = CliRunner().invoke(main, ["report", str(folder), "--reparse", "--suite", suite])
    assert "gpt4: left as it was" not in found.stderr
    assert " of which were unparsed before" in found.stderr


def test_a_panel_follows_its_members(folder: Path, tmp_path: Path) -> None:
    def combine(results: dict[str, Any]) -> None:
        options = {"judges": ["gpt4", "reference"], "rule": "majority"}
        panel = {
            "name": "both",
            "members": options["judges"],
            "plugin": {"name": "panel", "options": options},
        }
        results["judges"].append({**results["judges"][1], **panel})

    changed(folder, combine)
    lines = list(iter_json_lines(folder / "verdicts.jsonl"))
    copies = [{**line, "judge": "both", "choice": "unparsed"} for line in lines if line["judge"] == "gpt4"]
    copies[0] |= {"settled": True, "choice": "tie"}
    write_jsonl(folder / "verdicts.jsonl", lines + copies)
    told = {one.judge: one for one in reparse(folder, suite_with(tmp_path, BETTER))}
    assert told["both"].understood == len(copies) - 1
    settled = [line for line in iter_json_lines(folder / "verdicts.jsonl") if line.get("settled")]
    assert [(line["judge"], line["choice"]) for line in settled] == [("both", "tie")]


@pytest.mark.parametrize(
    ("body", "name", "reason"),
    [
        (BETTER, "elsewhere", "unknown judge 'reader'"),
        ("return Verdict(  # broken", "reader", "reader.py"),
    ],
)
def test_a_judge_that_cannot_be_made_leaves_its_verdicts(
    folder: Path, tmp_path: Path, body: str, name: str, reason: str
) -> None:
    verdicts = (folder / "verdicts.jsonl").read_bytes()
    told = reparse(folder, suite_with(tmp_path, body, name))
    assert reason in str(told[1])
    assert str(told[1]).startswith("gpt4: left as it was; ")
    assert (folder / "verdicts.jsonl").read_bytes() == verdicts


def test_a_judge_that_fails_changes_nothing(folder: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(HarnessError, match="judge 'gpt4' failed on a reply: ZeroDivisionError"):
        reparse(folder, suite_with(tmp_path, "return 1 / 0"))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (
            lambda path: path.write_text('{"judge": "gpt4"}\n'),
            "verdicts.jsonl:1: not a verdict of this report",
        ),
        (lambda path: path.write_text("[]\n"), "verdicts.jsonl:1: not a verdict of this report"),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "not JSON"),
        (lambda path: path.write_text(path.read_text().replace('"gpt4"', '"other"', 1)), "not a verdict"),
    ],
)
def test_spoilt_verdicts_are_refused_at_their_line(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder / "verdicts.jsonl")
    results = (folder / "results.json").read_bytes()
    with pytest.raises(InputError, match=message):
        reparse(folder)
    assert (folder / "results.json").read_bytes() == results


def test_the_command_says_what_changed_and_renders(folder: Path, tmp_path: Path) -> None:
    suite = suite_with(tmp_path, BETTER) / "suite.yaml"
    done = CliRunner().invoke(main, ["report", str(folder), "--reparse", "--suite", str(suite)])
    assert done.exit_code == 0, done.output
    assert "verdicts changed" in done.stderr
    assert "of which were unparsed before" in done.stderr
    assert "reference: left as it was; its verdicts come from no reply" in done.stderr
    assert (folder / "index.html").is_file()


def test_an_earlier_schema_is_one_line(folder: Path) -> None:
    changed(folder, lambda results: results.update(schema=2))
    for options in ([], ["--reparse"]):
        done = CliRunner().invoke(main, ["report", str(folder), *options])
        assert done.exit_code == 2
        (line,) = done.stderr.splitlines()
        assert (
            "results.json: written by an earlier version of the harness (schema 2, this one reads 4)" in line
        )
        assert "run the suite again" in line
