"""From a rank artifact into a report folder: everything, and nothing where nothing changed."""

from __future__ import annotations

from pathlib import Path

from report_inputs import make_report_input

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
