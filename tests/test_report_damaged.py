"""A report that somebody sent, of which one thing is not as it should be: one line, and never a traceback."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from report_inputs import JUDGES, changed, make_report_input

from harness.cli import main
from harness.json_files import dump_line, iter_json_lines, read_json
from harness.report import svg

Json = dict[str, Any]
Change = Callable[[Json], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_report_input(tmp_path / "sent", examples=6, judges=JUDGES[:2])


def harness(*arguments: str | Path) -> Result:
    """A command by its exit code and what it says: anything that is not caught is raised here."""
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


def refused(*arguments: str | Path) -> str:
    """The one line by which a command refuses what it is given."""
    done = harness(*arguments)
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    return line


def neighbour(results: Json, by: object) -> None:
    results["neighbours"][0]["cheaper"] = {"name": "full", "times": 3.0, "by": by}


# results.json


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r["suite"].pop("rank_by"), "suite lacks rank_by;"),
        (lambda r: r["suite"].pop("name"), "suite lacks name;"),
        (lambda r: r.update(suite={}), "suite lacks description, name, rank_by, text;"),
        (lambda r: neighbour(r, "x"), "neighbours[0].cheaper.by is not train_cost_usd or train_seconds;"),
        (lambda r: neighbour(r, None), "neighbours[0].cheaper.by is not string;"),
        (lambda r: r["candidates"][1].update(status="x"), "candidates[1].status is not ok or failed;"),
        (
            lambda r: r["candidates"][1]["per_example"]["chrf"].update(above=None),
            "candidates[1].per_example.chrf.above is not integer;",
        ),
        (lambda r: r["judges"][0]["receipt"].update(examples=None), "receipt.examples is not integer;"),
        (lambda r: r["data"]["rows"].update(eval=None), "data.rows.eval is not integer;"),
    ],
)
@pytest.mark.parametrize("options", [("report",), ("report", "--reparse"), ("compare",)])
def test_what_the_form_does_not_allow_is_told_by_its_place(
    folder: Path, tmp_path: Path, change: Change, said: str, options: tuple[str, ...]
) -> None:
    changed(folder, change)
    others = [make_report_input(tmp_path / "mine", examples=6)] if options == ("compare",) else []
    assert said in refused(*options, *others, folder)


def test_what_may_be_lacking_is_shown_as_missing(folder: Path) -> None:
    needed = ("name", "description", "text", "rank_by")

    def change(results: Json) -> None:
        results |= {"data": {}, "suite": {key: results["suite"][key] for key in needed}}
        results["candidates"][1]["costs"] = {}

    changed(folder, change)
    assert harness("report", folder).exit_code == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["candidates"][1]["per_example"]["chrf"].update(counts=[1]),
        lambda r: r["candidates"][1]["differences"]["bleu"].update(value=None),
        lambda r: r["candidates"][1]["answers"]["lengths"]["quantiles"].update({"75": None}),
    ],
)
@pytest.mark.parametrize("options", [(), ("--reparse",)])
def test_what_a_schema_cannot_say_is_one_line_too(
    folder: Path, change: Change, options: tuple[str, ...]
) -> None:
    changed(folder, change)
    assert "results.json: holds no results that can be " in refused("report", folder, *options)


@pytest.mark.parametrize("loss", [1e308, 1.7e308, 5e-324])
def test_a_loss_near_the_largest_number_is_drawn(folder: Path, loss: float) -> None:
    def change(results: Json) -> None:
        results["candidates"][1]["training"]["validation"][0]["loss"] = loss

    changed(folder, change)
    done = harness("report", folder)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        *((1.0, 1.05e308), (1e308, 1.7e308), (1.0, math.inf), (5e-324, 1.0), (5e-324, 1e-323)),
        *((1.0, 1.0 + 2**-52), (1e16, 1e16 + 2), (1e-310, 1e308)),
    ],
)
def test_a_scale_has_ticks_wherever_it_lies(low: float, high: float, logarithmic: bool) -> None:
    ticks = svg.Scale(low, high, 0, 100, logarithmic).ticks()
    assert ticks
    assert len(ticks) < 1500


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["suite"].update(description="\ud800"),
        lambda r: r["metrics"][0].update(label="\udc00 label"),
        lambda r: r["candidates"][1]["warnings"].append("\ud83d"),
    ],
)
def test_half_of_a_surrogate_pair_stays_what_it_is(folder: Path, change: Change) -> None:
    path = folder / "results.json"
    results = read_json(path)
    change(results)
    path.write_text(json.dumps(results))
    for options in ((), ("--reparse",), ("--reparse",)):
        done = harness("report", folder, *options)
        assert done.exit_code == 0, done.output
    again = read_json(path)
    for key in ("suite", "metrics"):
        assert again[key] == results[key]
    assert again["candidates"][1]["warnings"] == results["candidates"][1]["warnings"]


def test_a_half_in_an_example_stays_too(folder: Path) -> None:
    path = folder / "examples.jsonl"
    lines = list(iter_json_lines(path))
    lines[0]["answers"]["full"]["text"] = "half \ud800"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for _ in range(2):
        done = harness("report", folder, "--reparse")
        assert done.exit_code == 0, done.output
    assert next(iter_json_lines(path))["answers"]["full"]["text"] == "half \ud800"
    path.read_bytes().decode("utf-8")


# verdicts.jsonl


def test_verdicts_of_judges_that_the_report_does_not_have(folder: Path, tmp_path: Path) -> None:
    mine = make_report_input(tmp_path / "mine", examples=6, judges=JUDGES[:2])
    changed(folder, lambda r: r.update(judges=[]))
    for arguments in (("report", "--reparse", folder), ("compare", mine, folder), ("compare", folder, mine)):
        line = refused(*arguments)
        assert "verdicts.jsonl:1: not a verdict of this report: 'judge' is 'reference', which " in line


@pytest.mark.parametrize("key", ["first_chars", "second_chars", "seed", "preference", "fault"])
def test_verdicts_that_lack_what_is_read(folder: Path, tmp_path: Path, key: str) -> None:
    mine = make_report_input(tmp_path / "mine", examples=6, judges=JUDGES[:2])
    path = folder / "verdicts.jsonl"
    lines = list(iter_json_lines(path))
    for line in lines:
        del line[key]
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")
    for arguments in (("report", "--reparse", folder), ("compare", mine, folder)):
        assert f"verdicts.jsonl:1: not a verdict of this report: it lacks {key}" in refused(*arguments)


# Pipes in the place of files


@pytest.mark.parametrize("name", ["results.json", "examples.jsonl", "verdicts.jsonl", ".outputs.json"])
@pytest.mark.parametrize("link", [False, True])
def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path, name: str, link: bool) -> None:
    mine = make_report_input(tmp_path / "mine", examples=6, judges=JUDGES[:2])
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe" if link else folder / name)
    if link:
        (folder / name).symlink_to(tmp_path / "pipe")
    done = [harness("report", folder), harness("report", folder, "--reparse")]
    done += [harness("compare", *sides) for sides in ((mine, folder), (folder, mine))]
    codes = {
        "results.json": [2, 2, 2, 2],
        "examples.jsonl": [2, 2, 2, 2],
        "verdicts.jsonl": [0, 2, 0, 0],
        ".outputs.json": [0, 0, 0, 0],
    }
    assert [each.exit_code for each in done] == codes[name]
    for each in done:
        assert len(each.stderr.splitlines()) <= (1 if each.exit_code else 2)
