"""What lies in a report's folder: whole files at all times, nothing behind a link, nothing half-made."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_inputs import changed, make_report_input

from harness.cli import main
from harness.errors import InputError
from harness.json_files import read_json, write_json, write_jsonl
from harness.publish import publish
from harness.report import render
from harness.report.files import EXAMPLES, RESULTS
from harness.report.text import markdown
from harness.whole_files import write_text_whole

Json = dict[str, Any]
CARD = Path("cards") / "full" / "README.md"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report_input(tmp_path_factory.mktemp("made"), examples=4)


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    found = tmp_path / "report"
    found.mkdir()
    for path in made.iterdir():
        (found / path.name).write_bytes(path.read_bytes())
    return found


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def limit_size(size: int) -> None:
    """Files of this process may not grow beyond `size` bytes, as on a disk that fills up."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def in_child(target: Callable[..., object], *arguments: Any) -> ForkProcess:
    child = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    child.start()
    return child


# The writer of whole files


def test_a_link_at_a_partial_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("a.json", "b.jsonl", "c.txt"):
        (tmp_path / f"{name}.partial").symlink_to(victim)
        (tmp_path / name).symlink_to(victim)
    write_json(tmp_path / "a.json", {"x": 1})
    write_jsonl(tmp_path / "b.jsonl", [{"x": 1}])
    write_text_whole(tmp_path / "c.txt", "new")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "c.txt").is_symlink()
    assert (tmp_path / "c.txt").read_text() == "new"


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])

    def write() -> None:
        limit_size(100_000)
        for value in (["x" * 200_000], ["\ud800"]):
            with pytest.raises((OSError, UnicodeEncodeError)):
                write_json(path, value)

    child = in_child(write)
    child.join(60)
    assert child.exitcode == 0
    assert contents(tmp_path) == {"a.json": b"[\n  1\n]\n"}


# Two at once, and crashes


def test_renders_at_once_leave_all_files(folder: Path) -> None:
    render(folder)
    before = contents(folder)
    for _ in range(3):
        children = [in_child(render, folder) for _ in range(2)]
        for child in children:
            child.join(120)
            assert child.exitcode == 0
        assert contents(folder) == before


def test_what_a_killed_render_left_goes_with_the_next_and_a_living_ones_stays(folder: Path) -> None:
    from harness.report.outputs.writing import Outputs

    left = folder / ".outputs.dead.partial"
    (left / "cards").mkdir(parents=True)
    with Outputs(folder, read_json(folder / RESULTS)):
        (living,) = set(folder.glob(".outputs.*.partial")) - {left}
        render(folder)
        assert not left.exists()
        assert living.exists()
    assert not list(folder.glob("*.partial")) + list(folder.glob(".*.partial"))


def test_files_of_a_render_that_was_killed_are_still_known(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it moved is taken away by the first render that no longer has it."""
    replace = Path.replace

    def killed(path: Path, target: Path) -> Path:
        if target.name == "index.html":
            os._exit(9)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    child = in_child(render, folder)
    child.join(120)
    assert child.exitcode == 9
    monkeypatch.undo()
    assert (folder / CARD).is_file()

    def drop(results: Json) -> None:
        (gone,) = [c for c in results["candidates"] if c["name"] == "full"]
        gone["training"] = None

    changed(folder, drop)
    render(folder)
    assert not (folder / CARD).exists()
    assert (folder / "cards" / "last2" / "README.md").is_file()


@pytest.mark.parametrize("what", ["report", "publish", "reparse"])
def test_on_a_full_disk_all_stays_as_it_was(made: Path, folder: Path, tmp_path: Path, what: str) -> None:
    publish(made, folder)
    other = make_report_input(tmp_path / "other", examples=5)
    before = contents(folder)

    def work() -> None:
        limit_size((folder / "index.html").stat().st_size // 2)
        if what == "publish":
            with pytest.raises(InputError, match="File too large"):
                publish(other, folder)
            return
        options = ["--reparse"] if what == "reparse" else []
        done = CliRunner().invoke(main, ["report", str(folder), *options])
        assert done.exit_code == 2, done.output
        (line,) = done.stderr.splitlines()
        assert "File too large" in line

    child = in_child(work)
    child.join(120)
    assert child.exitcode == 0
    assert contents(folder) == before
    assert {path.name for path in folder.iterdir()} == {name.split("/")[0] for name in before}


# Cards that somebody edited


def test_an_edited_card_is_kept_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(folder)
    capsys.readouterr()
    (folder / CARD).write_text("my words")
    for _ in range(2):
        changed(folder, lambda results: results["findings"].clear())
        render(folder)
        assert (folder / CARD).read_text() == "my words"
        assert capsys.readouterr().err == (
            f"warning: {folder / CARD}: it was edited and is kept; take it away to have it made anew\n"
        )
    (folder / CARD).unlink()
    render(folder)
    assert (folder / CARD).read_text().startswith("---\n")
    assert capsys.readouterr().err == ""


def test_a_card_that_nobody_edited_is_made_anew(folder: Path) -> None:
    render(folder)
    (folder / CARD).write_text("an earlier card")
    known = read_json(folder / ".outputs.json")
    known["files"][CARD.as_posix()] = hashlib.sha256(b"an earlier card").hexdigest()
    write_json(folder / ".outputs.json", known)
    render(folder)
    assert (folder / CARD).read_text().startswith("---\n")


# A folder of a stranger


@pytest.mark.parametrize("place", ["cards", "lm-eval", "cards/full", "lm-eval/base"])
def test_nothing_is_written_behind_a_link(folder: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / place).symlink_to(outside)
    done = CliRunner().invoke(main, ["report", str(folder)])
    assert done.exit_code == 2
    (line,) = done.stderr.splitlines()
    assert "is a symbolic link" in line
    assert not list(outside.iterdir())
    assert not (folder / "index.html").exists()


def test_links_in_place_of_files_are_replaced(folder: Path, made: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in (
        "index.html.partial",
        "outputs.partial",
        "leaderboard.md",
        "leaderboard.csv",
        ".outputs.json",
    ):
        (folder / name).symlink_to(victim)
    (folder / EXAMPLES).unlink()
    (folder / EXAMPLES).symlink_to(victim)
    publish(made, folder)
    assert victim.read_text() == "mine"
    assert not (folder / "leaderboard.md").is_symlink()


# What cannot be rendered


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda results: results.update(candidates=[]), "candidates has 0 members"),
        (lambda results: results["candidates"][0].update(scores=3), "candidates[0].scores is not object"),
        (lambda results: results["candidates"][1].update(training="x"), "candidates[1].training is not"),
        (lambda results: results["judges"][0].pop("receipt"), "judges[0] lacks receipt"),
        (lambda results: results["judges"][0]["analysis"].update(length=[]), "judges[0].analysis.length"),
        (lambda results: results["charges"].update(rows=1), "charges.rows is not array"),
        (lambda results: results["metrics"][0].update(name=5), "metrics[0].name is not string"),
        (lambda results: results["candidates"].append(results["candidates"][1]), "has two candidates named"),
        (lambda results: results["data"].update(rows={"eval": float("nan")}), "the number NaN"),
        (lambda results: results["data"]["rows"].update(eval=10**400), "the number 1000000000"),
        (lambda results: results.update(schema=True), "not a results.json of schema"),
    ],
)
def test_results_of_other_kinds_are_one_line(folder: Path, edit: Callable[[Json], object], said: str) -> None:
    results = read_json(folder / RESULTS)
    edit(results)
    (folder / RESULTS).write_text(json.dumps(results))
    before = contents(folder)
    done = CliRunner().invoke(main, ["report", str(folder)])
    assert done.exit_code == 2, done.output
    (line,) = done.stderr.splitlines()
    assert said in line
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            lambda line: line["verdicts"].update(gpt4=3),
            ":1: not an example of a report: verdicts.gpt4 is not",
        ),
        (lambda line: line["answers"]["full"].update(scores=-1), "answers.full.scores is not object"),
        (
            lambda line: line["answers"]["full"].update(statistics={"bleu": True}),
            "statistics.bleu is not array",
        ),
        (lambda line: line["prompt"].append("x"), "is not object"),
        (lambda line: line.update(id=5), "id is not string"),
        (lambda line: line["answers"]["full"]["scores"].update(bleu=float("inf")), "the number Infinity"),
    ],
)
def test_examples_of_other_kinds_are_one_line(
    folder: Path, edit: Callable[[Json], object], said: str
) -> None:
    lines = [json.loads(line) for line in (folder / EXAMPLES).read_text().splitlines()]
    edit(lines[0])
    (folder / EXAMPLES).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError) as raised:
        render(folder)
    assert said in str(raised.value)


def test_examples_of_another_run_or_twice_the_same_are_refused(folder: Path, tmp_path: Path) -> None:
    own = (folder / EXAMPLES).read_bytes()
    told = {"n": own.count(b"\n"), "sha256": hashlib.sha256(own).hexdigest()}
    changed(folder, lambda results: results.update(examples=told))
    render(folder)
    other = make_report_input(tmp_path / "other", examples=4, seed=8) / EXAMPLES
    for content in (other.read_bytes(), b"".join(own.splitlines(keepends=True)[:-1]), b""):
        (folder / EXAMPLES).write_bytes(content)
        with pytest.raises(InputError, match=r"is not the file that results\.json was written with"):
            render(folder)
    (folder / EXAMPLES).write_bytes(own + own.splitlines(keepends=True)[0])
    with pytest.raises(InputError, match=r"examples\.jsonl:5: holds example '.*' twice"):
        render(folder)


@pytest.mark.parametrize("options", [(), ("--reparse",), ("--json",)])
def test_examples_that_are_gone_are_missed(folder: Path, options: tuple[str, ...]) -> None:
    own = (folder / EXAMPLES).read_bytes()
    told = {"n": own.count(b"\n"), "sha256": hashlib.sha256(own).hexdigest()}
    changed(folder, lambda results: results.update(examples=told))
    render(folder)
    (folder / EXAMPLES).unlink()
    before = contents(folder)
    done = CliRunner().invoke(main, ["report", str(folder), *options])
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {folder / EXAMPLES}: no such file, but results.json was written with one of 4 examples; put "
        "the files of one run together, or run the suite again\n"
    )
    assert contents(folder) == before
    nothing = {"n": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    changed(folder, lambda results: results.update(examples=nothing))
    render(folder)


@pytest.mark.parametrize("options", [(), ("--reparse",)])
def test_a_suite_that_is_not_there_is_told(folder: Path, options: tuple[str, ...]) -> None:
    before = contents(folder)
    done = CliRunner().invoke(main, ["report", str(folder), "--suite", "nosuch.yaml", *options])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "error: --suite nosuch.yaml: no such file; check the path\n"
    assert contents(folder) == before


def test_a_file_in_place_of_a_report_names_its_folder(folder: Path) -> None:
    render(folder)
    told = (
        f"error: {folder}/index.html: is a file, and not a results.json; name the report's folder: {folder}"
    )
    for arguments in (["report"], ["push", "full", "me/full", "--dry-run", "--report"]):
        done = CliRunner().invoke(main, [*arguments, str(folder / "index.html")])
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", told + "\n")
    assert CliRunner().invoke(main, ["report", str(folder / RESULTS)]).exit_code == 0


def test_what_is_read_again_names_its_examples(folder: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(folder), "--reparse"])
    assert done.exit_code == 0, done.output
    digest = hashlib.sha256((folder / EXAMPLES).read_bytes()).hexdigest()
    assert read_json(folder / RESULTS)["examples"] == {"n": 4, "sha256": digest}
    render(folder)


def test_what_the_file_system_refuses_is_one_line(folder: Path, tmp_path: Path) -> None:
    (folder / "index.html").mkdir()
    cases = {str(folder): "Is a directory", str(tmp_path / ("x" * 300)): "File name too long"}
    bad = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    bad.mkdir()
    for name in (RESULTS, EXAMPLES):
        (bad / name).write_bytes((folder / name).read_bytes())
    cases[str(bad)] = ""
    for place, said in cases.items():
        done = CliRunner().invoke(main, ["report", place])
        assert done.exit_code == 2 or not said, done.output
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert said in done.stderr


def test_a_broken_address_of_the_hub_does_not_touch_a_report(folder: Path) -> None:
    from commands import harness

    done = harness("report", folder, folder=folder.parent, env={"HF_ENDPOINT": "http://[bad"})
    assert done.returncode == 0, done.stderr
    assert (folder / CARD).is_file()


def test_escapes_of_a_stranger_do_not_reach_the_terminal(folder: Path) -> None:
    changed(folder, lambda results: results["metrics"].append({**results["metrics"][0], "name": "a\x1b[31m"}))
    changed(folder, lambda results: results["metrics"].append(results["metrics"][-1]))
    done = CliRunner().invoke(main, ["report", str(folder)])
    assert done.exit_code == 2
    assert "\x1b" not in done.output


@pytest.mark.parametrize(
    ("text", "acts"),
    [
        ("thanks @someone", "@someone"),
        ("see https://evil.example", "://"),
        ("www.evil.example", "www."),
        ("GH-7", "GH-7"),
        ("owner/name#7", "#7"),
        (":tada:", ":tada:"),
        ("$x^2$", "$"),
    ],
)
def test_what_github_makes_of_plain_text_is_cut(text: str, acts: str) -> None:
    import html

    shown = html.unescape(markdown(text).replace("\\", ""))
    assert acts not in (markdown(text) if acts == "$" else shown)
    assert shown.replace("\u200b", "") == text
