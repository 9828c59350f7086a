"""OPENAI_API_KEY is sent to the server and found nowhere else, whatever the server does with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import harness, results
from scripted_chat import KEY, Answer, Asked, ScriptedChat, calls, completion, error, says

SUITE = """\
name: secret
model: {model}
data: {{train: data.json, eval: 6, validation: 4}}
backend: constant
generation: {{max_new_tokens: 8}}
evaluators: [chrf, {{rubric: {{model: grader, base_url: "{url}"}}}}]
judges: [{{gpt4: {{model: judge, base_url: "{url}"}}}}]
candidates:
  told: {{backend: {{openai: {{model: told, base_url: "{url}"}}}}}}
  refused: {{backend: {{openai: {{model: refused, base_url: "{url}"}}}}}}
  failing: {{backend: {{openai: {{model: failing, base_url: "{url}", max_retries: 1}}}}}}
  silent: {{backend: {{openai: {{model: silent, base_url: "{url}", max_retries: 0}}}}}}
  prose: {{backend: {{openai: {{model: prose, base_url: "{url}", max_retries: 0}}}}}}
"""
TRACEBACK = """
import sys
from harness import registry
from harness.data.examples import make_example
from harness.protocols import Decoding
from harness.records import Message
url, model = sys.argv[1:]
options = {"model": model, "base_url": url, "max_retries": 0}
spec = registry.make_spec(registry.find("backend", "openai"), options)
asked = [make_example([Message("user", "Who are you?")], "Me")]
list(registry.create(spec).answer(asked, Decoding({"max_new_tokens": 8, "do_sample": False})))
"""


def play(asked: Asked) -> Answer:
    """A server that says the key back by all ways there are."""
    key = asked.headers["authorization"].removeprefix("Bearer ")
    match asked.body["model"]:
        case "told":
            return says(f"Your key is {key}.")
        case "refused":
            return completion({"content": None, "refusal": f"Not with {key}."})
        case "failing":
            return error(500, f"failed for {key}", key, x_key=key)
        case "silent":
            return error(401, f"Incorrect API key provided: {key}", "invalid_api_key")
        case "prose":
            return Answer(f"<html>{key}</html>".encode())
        case "judge":
            said = {"explanation": f"I was called with {key}", "choice": "answer_1"}
            return calls(said) if len(asked.body["messages"]) > 2 else says(f"no verdict, {key}")
        case _:
            return says(f"grade: {key}")


@pytest.fixture
def chat(chat: ScriptedChat) -> ScriptedChat:
    chat.script = play
    return chat


def places_with(text: str, folder: Path) -> list[str]:
    """The files below a folder that hold a text, in their bytes or their names."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    return [str(path) for path in files if text.encode() in path.read_bytes() or text in str(path)]


@pytest.mark.slow
def test_no_artifact_log_ledger_or_report_holds_the_key(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], chat: ScriptedChat
) -> None:
    (tmp_path / "data.json").write_text(json.dumps(rows))
    (tmp_path / "suite.yaml").write_text(SUITE.format(model=tiny_llama, url=chat.url))
    env = {"OPENAI_API_KEY": KEY}
    said = ""
    for command in ("plan", "run", "run", "check"):
        done = harness(command, "suite.yaml", folder=tmp_path, env=env)
        said += done.stdout + done.stderr
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in chat.asked)
    assert {str(asked.body["model"]) for asked in chat.asked} > {"told", "failing", "judge", "grader"}
    assert KEY not in said
    assert "failed for [OPENAI_API_KEY]" in said
    assert places_with(KEY, tmp_path) == []
    assert places_with("Your key is [OPENAI_API_KEY].", tmp_path)
    board = {row["name"]: row for row in results(tmp_path, "secret")["candidates"]}
    assert {name for name, row in board.items() if row["status"] == "failed"} == {
        "failing",
        "silent",
        "prose",
    }
    assert board["refused"]["answers"]["missing"] == 6


@pytest.mark.parametrize("model", ["failing", "silent", "prose"])
def test_no_traceback_holds_the_key(repo: Path, chat: ScriptedChat, model: str) -> None:
    env = {**os.environ, "OPENAI_API_KEY": KEY, "PYTHONPATH": str(repo)}
    done = subprocess.run(
        [sys.executable, "-c", TRACEBACK, chat.url, model],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "[OPENAI_API_KEY]" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert len(chat.asked) == 1
