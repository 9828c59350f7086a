"""The command line: quick, documented, and plain."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from commands import HARNESS, harness

from harness.cli import main

HEAVY = {"torch", "transformers", "datasets", "evaluate", "pandas", "openai", "peft", "scipy"}
COMMANDS = [
    "run",
    "plan",
    "check",
    "inspect",
    "report",
    "compare",
    "push",
    "label",
    "verdicts",
    "plugins",
    "suites",
]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["plan", "{repo}/suites/quickstart/suite.yaml"],
        ["run", "--dry-run", "{repo}/suites/quickstart/suite.yaml"],
        ["suites", "list"],
    ],
)
def test_what_starts_no_work_imports_nothing_heavy(arguments: list[str], repo: Path, tmp_path: Path) -> None:
    filled = [argument.format(repo=repo) for argument in arguments]
    said = harness(*filled, folder=tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert said.returncode == 0, said.stderr
    imported = {line.rsplit("|", 1)[1].strip() for line in said.stderr.splitlines() if line.count("|") == 2}
    assert "click" in imported
    assert imported.isdisjoint(HEAVY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str, repo: Path) -> None:
    assert f"`harness {command}" in (repo / "README.md").read_text(encoding="utf-8")
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0


def test_no_command_is_missing_from_the_list() -> None:
    assert sorted(main.commands) == sorted(COMMANDS)


def test_plan_names_every_step_and_its_state(repo: Path, tmp_path: Path) -> None:
    said = harness("plan", repo / "suites/quickstart/suite.yaml", folder=tmp_path)
    for step in (
        "prepare",
        "train full",
        "train lora",
        "predict base",
        "evaluate lora perplexity",
        "judge full reference",
    ):
        assert any(line.split()[:2] == ["to", "do"] and step in line for line in said.stdout.splitlines())


@pytest.mark.parametrize("command", [["plan"], ["run", "--dry-run"]])
def test_a_plan_without_a_key_says_what_judging_costs(command: list[str], repo: Path, tmp_path: Path) -> None:
    suite = [repo / "suites" / "quickstart" / "suite.yaml", "--set", "judges=[gpt4]"]
    keyless = {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": ""}
    said = harness(*command, *suite, folder=tmp_path, env=keyless)
    assert (said.returncode, said.stderr) == (0, "")
    told = "judges.gpt4: https://api.openai.com/v1 needs a key, and OPENAI_API_KEY is not set; export it"
    *lines, last = said.stdout.splitlines()
    assert last.startswith("a run needs first: ")
    assert told in last
    assert any(line.startswith("what servers will be asked, an estimate") for line in lines)
    assert any(line.startswith("  gpt4: ") and "$" in line for line in lines)
    keyed = harness(*command, *suite, folder=tmp_path, env={**keyless, "OPENAI_API_KEY": "sk-nobody"})
    assert keyed.stdout.splitlines() == lines
    refused = harness("run", *suite, folder=tmp_path, env=keyless)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert told in refused.stderr
    assert refused.stderr.count("\n") == 1
    nowhere = harness(*command, *suite, folder=tmp_path, env={**keyless, "OPENAI_BASE_URL": "nowhere"})
    assert nowhere.returncode == 2
    assert "there can be no chat server at 'nowhere'" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []


def test_plugins_lists_every_plugin_with_its_options(repo: Path, tmp_path: Path) -> None:
    said = harness("plugins", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    files = [
        *repo.glob("harness/backends/*.py"),
        *repo.glob("harness/evaluators/*.py"),
        *repo.glob("judges/*.py"),
    ]
    for path in files:
        if path.stem != "__init__":
            assert f"  {path.stem} " in said.stdout
    assert "cannot be used" not in said.stdout
    for option in ("temperature", "lowercase", "margin"):
        assert f"      {option}: " in said.stdout


def test_a_bundled_suite_is_copied_whole(tmp_path: Path) -> None:
    said = harness("suites", "copy", "quickstart", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    assert (tmp_path / "quickstart" / "suite.yaml").is_file()
    assert harness("plan", "quickstart/suite.yaml", folder=tmp_path).returncode == 0
    again = harness("suites", "copy", "quickstart", folder=tmp_path)
    assert (again.returncode, again.stderr) == (
        2,
        "error: quickstart: is there already; name another destination\n",
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "nowhere"], "error: nowhere: no results.json in this folder; run the suite first\n"),
        (["suites", "copy", "quickstrat"], "error: no bundled suite 'quickstrat'; known are "),
        *(
            ([*command, "--suite", suite], f"error: --suite {suite}: {fault}\n")
            for command in (
                ["plugins"],
                ["compare", "{quickstart}", "{quickstart}"],
            )
            for suite, fault in (
                ("nosuch.yaml", "no such file; check the path"),
                (".", "is a folder; name the suite.yaml in it"),
            )
        ),
    ],
)
def test_mistakes_on_the_command_line(arguments: list[str], said: str, tmp_path: Path, repo: Path) -> None:
    quickstart = str(repo / "reports" / "quickstart")
    done = harness(*(argument.format(quickstart=quickstart) for argument in arguments), folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "{quickstart}:base", "{quickstart}:lora"],
        ["compare", "{quickstart}:base", "{quickstart}:lora", "--json"],
        ["compare", "{quickstart}:lora", "{quickstart}:base", "--fail-if", "any worse"],
        ["verdicts", "summarize", "{quickstart}/verdicts.jsonl"],
        ["plan", "{repo}/suites/quickstart/suite.yaml"],
        ["plugins"],
    ],
)
def test_output_that_nobody_reads_ends_the_command_quietly(
    arguments: list[str], repo: Path, tmp_path: Path
) -> None:
    quickstart = repo / "reports" / "quickstart"
    reading, writing = os.pipe()
    os.close(reading)
    said = subprocess.run(
        [HARNESS, *(argument.format(quickstart=quickstart, repo=repo) for argument in arguments)],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (said.returncode, said.stderr) == (141, b"")


@pytest.mark.parametrize("columns", ["60", "200"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "{quickstart}:base", "{quickstart}:lora", "--fail-if", "perplexity > 5%"],
        ["verdicts", "summarize", "{quickstart}/verdicts.jsonl"],
    ],
)
def test_no_line_ends_in_blanks(arguments: list[str], columns: str, repo: Path, tmp_path: Path) -> None:
    quickstart = repo / "reports" / "quickstart"
    filled = [argument.format(quickstart=quickstart) for argument in arguments]
    said = harness(*filled, folder=tmp_path, env={"COLUMNS": columns})
    assert said.returncode == 0, said.stderr
    assert "•" in said.stdout
    assert [line for line in said.stdout.splitlines() if line != line.rstrip()] == []


@pytest.mark.slow
def test_inspect_marks_the_targets(repo: Path, tmp_path: Path) -> None:
    suite = repo / "suites/quickstart/suite.yaml"
    said = harness("inspect", suite, "--split", "eval", "--index", "3", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    row = json.loads((repo / "suites/quickstart/eval.jsonl").read_text().splitlines()[3])
    assert f"⟦{row['output']}<|im_end|>⟧" in said.stdout
    assert row["instruction"] in said.stdout.split("⟦")[0]
