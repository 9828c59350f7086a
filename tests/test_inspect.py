"""`harness inspect`: an example as ids, text and mask for any candidate, and how long the rows are."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from commands import harness, write_suite

from harness.inspection import lengths
from harness.modeling.supervision import Encoded

SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 2, eval: 6}
prompting: {max_length: 60}
candidates:
  answers: {}
  everything: {training: {completion_only_loss: false}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A suite of whose training rows some are too long."""
    rows = [
        {"instruction": f"Say hello {n}.", "input": "", "output": "Hello! " * (40 if n % 5 == 0 else 1)}
        for n in range(40)
    ]
    made = tmp_path_factory.mktemp("inspected")
    write_suite(made, tiny_llama, rows, SUITE)
    return made


def inspect(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return harness("inspect", "suite.yaml", *arguments, folder=folder)


def line(said: subprocess.CompletedProcess[str], name: str) -> str:
    """What stands behind a name at the beginning of a line."""
    return next(text for text in said.stdout.splitlines() if text.startswith(name))[len(name) :].strip(" ")


def test_an_example_is_shown_as_text_ids_and_mask(folder: Path) -> None:
    said = inspect(folder, "--index", "5")
    assert said.returncode == 0, said.stderr
    ids, targets = line(said, "ids").split(), line(said, "targets").split()
    assert ids[-len(targets) :] == targets
    assert line(said, "mask") == f"{len(ids) - len(targets)} × 0, {len(targets)} × 1"
    labels = next(text for text in said.stdout.splitlines() if text.startswith("labels"))
    assert labels == f"labels   {' ' * (len(ids) - len(targets))}{line(said, 'labels')}"
    assert f"⟦{line(said, 'labels')}⟧" in said.stdout
    assert line(said, "labels").endswith("<|im_end|>")


def test_a_candidate_sees_its_own_mask(folder: Path) -> None:
    said = inspect(folder, "--candidate", "everything")
    assert "as everything sees it" in said.stdout
    tokens = int(said.stdout.splitlines()[1].split()[0])
    assert line(said, "mask") == f"1 × 0, {tokens - 1} × 1"


def test_lengths_and_what_was_cut_are_counted(folder: Path) -> None:
    said = inspect(folder)
    rows = said.stdout.splitlines()
    bars = [text for text in rows if text.startswith("   ") and "–" in text]
    total = line(said, "lengths of").split()[0]
    assert sum(int(text.split()[-1]) for text in bars) == int(total)
    assert "to 60 tokens" in said.stdout
    (cut,) = [text for text in rows if "cut to fit max_length" in text]
    first = cut.split(": ")[1].split(",")[0]
    assert "cut to fit max_length\n\n" in inspect(folder, "--index", first).stdout
    assert "0 rows dropped" in said.stdout


def test_mistakes_are_one_line(folder: Path) -> None:
    for arguments, complaint in [
        (("--index", "9999"), "error: --index: no example 9999 in train; it has "),
        (("--candidate", "nobody"), "error: --candidate: no candidate 'nobody'; known are base, answers, "),
    ]:
        said = inspect(folder, *arguments)
        assert said.returncode == 2
        assert said.stderr.splitlines()[-1].startswith(complaint)


def test_a_histogram_of_known_lengths() -> None:
    def row(length: int, *, target: bool = True, cut: bool = False) -> Encoded:
        return Encoded("", [0] * length, [False] * (length - 1) + [target], cut)

    rows = {0: row(10), 3: row(10), 6: row(29), 9: row(29, cut=True), 12: row(29, target=False), 15: row(29)}
    shown = list(lengths(rows))
    assert shown[0] == "lengths of 6 rows: 10 to 29 tokens, median 29"
    assert shown[1] == f"      10–11     {'█' * 20}{' ' * 20} 2"
    assert shown[10] == f"      28–29     {'█' * 40} 4"
    assert shown[11:] == ["1 row cut to fit max_length: 9", "1 row dropped, for they have no target: 12"]
    assert list(lengths({0: row(7)}))[:2] == [
        "lengths of 1 rows: 7 to 7 tokens, median 7",
        f"       7–7      {'█' * 40} 1",
    ]
