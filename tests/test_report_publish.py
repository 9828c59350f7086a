"""From a rank artifact into a report folder: everything, and nothing where nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from report_inputs import make_report_input

from harness.json_files import dump_line, iter_json_lines
from harness.publish import publish

ARTIFACT = {"results.json", "examples.jsonl", "verdicts.jsonl"}


def test_all_files_are_copied_and_rendered_once(tmp_path: Path) -> None:
    artifact, folder = make_report_input(tmp_path / "artifact", examples=6), tmp_path / "reports" / "suite"
    assert publish(artifact, folder)
    assert {path.name for path in folder.iterdir()} == ARTIFACT | {
        "index.html",
        "leaderboard.md",
        "leaderboard.csv",
        "examples.parquet",
        "lm-eval",
        "cards",
        ".outputs.json",
    }
    for name in ARTIFACT:
        assert (folder / name).read_bytes() == (artifact / name).read_bytes()
    assert not publish(artifact, folder)


def test_other_verdicts_are_published_again(tmp_path: Path) -> None:
    artifact, folder = make_report_input(tmp_path / "artifact", examples=6), tmp_path / "suite"
    publish(artifact, folder)
    (folder / "verdicts.jsonl").write_text("")
    assert publish(artifact, folder)
    assert (folder / "verdicts.jsonl").read_bytes() == (artifact / "verdicts.jsonl").read_bytes()


def reread(folder: Path, choice: str) -> None:
    """As if a better parser had read one reply of the folder otherwise."""
    path = folder / "verdicts.jsonl"
    lines = list(iter_json_lines(path))
    lines[3] |= {"choice": choice, "reason": "read otherwise", "fault": "", "preference": None}
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")


def test_replies_that_were_read_again_are_not_put_back_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact, folder = make_report_input(tmp_path / "artifact", examples=6), tmp_path / "suite"
    publish(artifact, folder)
    reread(folder, "tie")
    assert capsys.readouterr().err == ""
    assert publish(artifact, folder)
    assert (folder / "verdicts.jsonl").read_bytes() == (artifact / "verdicts.jsonl").read_bytes()
    assert capsys.readouterr().err == (
        f"warning: {folder}: 1 verdict that had been read again is put back as the run read them; "
        "run harness report --reparse again\n"
    )


@pytest.mark.parametrize("other", ["", "fewer", "another reply", "[1]", "no JSON", "not UTF-8"])
def test_verdicts_of_another_run_are_replaced_and_nothing_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    artifact, folder = make_report_input(tmp_path / "artifact", examples=6), tmp_path / "suite"
    publish(artifact, folder)
    reread(folder, "tie")
    path = folder / "verdicts.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if other == "fewer":
        path.write_text("".join(lines[:-1]))
    elif other == "another reply":
        path.write_text("".join([*lines[:-1], lines[-1].replace('"raw": "', '"raw": "x')]))
    elif other == "not UTF-8":
        path.write_bytes(b"\xff\n")
    else:
        path.write_text(f"{other}\n")
    assert publish(artifact, folder)
    assert capsys.readouterr().err == ""
