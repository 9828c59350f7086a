"""The board as commands print it: for people, into a file, and as JSON for programs."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import HARNESS, harness, results
from report_inputs import make_report_input
from scripted_chat import KEY, ScriptedChat, error

COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
SUITE = """\
name: trial
model: {model}
data: {{train: data.json, eval: 6, validation: 4}}
generation: {{max_new_tokens: 4}}
evaluators: [exact_match]
judges: []
candidates:
  canary: {{backend: {{constant: {{text: No.}}}}}}
  gpt: {{backend: {{openai: {{model: gpt, base_url: "{url}", price: {{input: 1, output: 1}}}}}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report_input(tmp_path_factory.mktemp("command") / "report", examples=20)


def on_a_terminal(folder: Path, **env: str) -> str:
    """What `harness report` writes where its output is a terminal of 80 columns."""
    primary, secondary = pty.openpty()
    quiet = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [HARNESS, "report", folder],
        stdout=secondary,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={**quiet, "TERM": "xterm-256color", "COLUMNS": "80", **env},
    ) as process:
        os.close(secondary)
        said = b""
        while True:
            try:
                read = os.read(primary, 65536)
            except OSError:  # Linux says so that nobody writes any more
                break
            if not read:
                break
            said += read
    os.close(primary)
    assert process.returncode == 0
    return said.decode()


def test_the_finding_is_said_first_then_the_board(folder: Path) -> None:
    said = harness("report", folder, folder=folder, env={"COLUMNS": "80"})
    assert said.returncode == 0, said.stderr
    finding = json.loads((folder / "results.json").read_text())["findings"][0]
    lines = said.stdout.splitlines()
    blank = lines.index("")
    assert " ".join(" ".join(lines[:blank]).split()) == finding
    assert lines[blank + 2].split()[:2] == ["rank", "candidate"]
    assert lines[blank + 3].split()[:2] == ["base", "base"]
    assert lines[-1] == str(folder / "index.html")


def test_what_goes_into_a_file_ends_no_line_in_a_blank_or_inside_a_figure(folder: Path) -> None:
    for columns in ("80", "60", "57", "41"):
        text = harness("report", folder, folder=folder, env={"COLUMNS": columns}).stdout
        assert [line for line in text.splitlines() if line != line.rstrip()] == []
        assert re.findall(r"\b[pn]\n *[=<≥].*|[=<≥]\n *\d.*|\d (?:to|–)\n.*|\d\n *(?:pt|MB)\b.*", text) == []
        assert "p < 0.001" in text


def test_verdicts_are_told_without_colour(folder: Path, tmp_path: Path) -> None:
    told = json.loads((folder / "results.json").read_text())
    told["candidates"][2]["differences"]["perplexity"]["verdict"] = "worse"
    told["candidates"][3]["differences"]["perplexity"]["verdict"] = "cannot be told apart"
    (tmp_path / "results.json").write_text(json.dumps(told))
    text = harness("report", tmp_path, folder=tmp_path).stdout
    assert "\x1b" not in text
    signs = {line.split()[2]: line.split()[5] for line in text.splitlines() if re.match(r"1–3 ", line)}
    assert signs == {"qlora-r16": "+", "lora-r16": "-", "full": "~"}
    assert "+ better, - worse, ~ cannot be told apart, against base or the judge's opponent" in text


def test_a_terminal_has_colours_unless_it_wants_none(folder: Path) -> None:
    assert COLOUR.search(on_a_terminal(folder))
    plain = on_a_terminal(folder, NO_COLOR="1")
    assert not COLOUR.search(plain)
    assert "qlora-r16" in plain


def test_json_is_one_object_with_the_page_and_nothing_else(folder: Path) -> None:
    said = harness("report", folder, "--json", folder=folder)
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told.pop("page") == str(folder / "index.html")
    assert told == json.loads((folder / "results.json").read_text())
    assert "qlora-r16" in said.stderr
    assert "rank" in said.stderr


def test_json_is_whole_in_any_encoding(folder: Path, tmp_path: Path) -> None:
    spelled = (folder / "results.json").read_text().replace("small-en", "мала-модель")
    (tmp_path / "results.json").write_text(spelled, encoding="utf-8")
    said = harness("report", tmp_path, "--json", folder=tmp_path, env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(said.stdout)["candidates"][0]["model"] == "мала-модель"


def test_json_of_nothing_is_nothing(tmp_path: Path) -> None:
    said = harness("report", tmp_path, "--json", folder=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(f"error: {tmp_path}: no results.json")


def test_a_dry_run_has_no_results_to_print(repo: Path, tmp_path: Path) -> None:
    suite = repo / "suites/quickstart/suite.yaml"
    said = harness("run", suite, "--dry-run", "--json", folder=tmp_path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == "error: harness run: --dry-run makes no results, --json prints them\n"


@pytest.mark.slow
def test_a_run_prints_json_alone_and_fails_as_before(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, Any]], chat: ScriptedChat
) -> None:
    chat.script = lambda asked: error(401, "bad key")
    (tmp_path / "data.json").write_text(json.dumps(rows))
    (tmp_path / "suite.yaml").write_text(SUITE.format(model=tiny_llama, url=chat.url))
    said = harness("run", "suite.yaml", "--json", folder=tmp_path, env={"OPENAI_API_KEY": KEY})
    assert said.returncode == 1, said.stderr
    told = json.loads(said.stdout)
    page = Path(told.pop("page"))
    assert page == tmp_path / "reports" / "trial" / "index.html"
    assert page.is_file()
    assert told == results(tmp_path)
    status = {row["name"]: row["status"] for row in told["candidates"]}
    assert status == {"base": "ok", "canary": "ok", "gpt": "failed"}
    assert "gpt failed in predict" in " ".join(said.stderr.split())
