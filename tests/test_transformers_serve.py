"""A real OpenAI-compatible server from end to end: `transformers serve` with the quickstart's base as judge.

A model of a million weights writes prose, so nearly all of its verdicts are unparsed. What is tested is what
becomes of them: the ladder of failures, the replies that are kept, and a ranking that is refused.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import harness, results, write_suite

from harness import Message, Question, Verdict, registry
from harness.json_files import iter_json_lines
from harness.records import FAULTS

pytestmark = pytest.mark.slow
TRANSFORMERS = Path(sys.executable).with_name("transformers")
PATIENCE_SECONDS = 300
QUESTION = Question((Message("user", "Name a colour of the sky."),), "The sky is blue.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_up(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[str]:
    """`transformers serve` on a free port of loopback; its base URL."""
    (folder / "hub").mkdir()
    port = free_port()
    command = [TRANSFORMERS, "serve", model, "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(folder / "hub"), "CUDA_VISIBLE_DEVICES": ""}
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), env={**os.environ, **offline}, stdout=log, stderr=log, cwd=folder
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_up(f"http://127.0.0.1:{port}/health"):
            said = (folder / "serve.log").read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def base(repo: Path) -> Path:
    return repo / "suites" / "quickstart" / "base"


@pytest.fixture(scope="module")
def url(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(base, tmp_path_factory.mktemp("serve")) as address:
        yield address


def judge(url: str, model: Path, **options: Any) -> Any:
    chosen = {"base_url": url, "model": str(model), "max_tokens": 16, "timeout": 120.0, **options}
    return registry.create(registry.make_spec(registry.find("judge", "gpt4"), chosen))


@pytest.mark.parametrize(
    "options", [{}, {"format": "make_choice"}, {"channel": "json_schema"}, {"channel": "text"}]
)
def test_what_the_model_says_is_kept_and_no_verdict_is_made_up(
    url: str, base: Path, options: dict[str, Any]
) -> None:
    asked = judge(url, base, **options)
    asked.server.preflight()
    asked.server.reach()
    found: Verdict = asked.compare(QUESTION, "The sky is blue.", "Answer 1 is better. 1")
    replies = json.loads(found.raw)
    assert 1 <= len(replies) <= 2
    assert all(reply["channel"] == options.get("channel", "tool") for reply in replies)
    assert found.choice == "unparsed"
    assert found.fault in FAULTS[1:]
    assert len(replies) == 2
    assert found.prompt_tokens > 0
    assert found.cost_usd == 0.0
    again = asked.reread(found.raw)
    assert (again.choice, again.fault, again.reason) == (found.choice, found.fault, found.reason)


def test_samples_differ_and_are_all_kept(url: str, base: Path) -> None:
    found = judge(url, base, samples=2, temperature=1.0).compare(QUESTION, "Blue.", "Green.")
    assert found.choice == "unparsed"
    assert [len(sample) for sample in json.loads(found.raw)] == [2, 2]


SUITE = """\
name: trial
model: {model}
data: {train: data.json, eval: 0.5}
prompting: {max_length: 128}
generation: {max_new_tokens: 8}
evaluators: [exact_match]
judges: [{gpt4: {model: {model}, base_url: "{url}", max_tokens: 16, timeout: 120.0, against: canary}}]
rank_by: gpt4
candidates:
  canary: {backend: constant}
  blue: {backend: {constant: {text: Blue.}}}
"""


def test_a_run_keeps_every_reply_and_refuses_a_ranking(
    url: str, base: Path, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    write_suite(tmp_path, base, rows[:8], SUITE.replace("{url}", url))
    said = harness("run", "suite.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "could not be read" in " ".join(said.stdout.split())
    done = results(tmp_path)
    assert [candidate["rank"] for candidate in done["candidates"]] == [None] * 3
    (judged,) = done["judges"]
    receipt, analysis = judged["receipt"], judged["analysis"]
    assert (receipt["asked"], receipt["unparsed"], analysis["unparsed"]) == (16, 16, 1.0)
    assert sum(receipt["faults"].values()) == 16
    assert receipt["cost_usd"] == 0.0
    assert analysis["refused"]
    steps = tmp_path.glob(".harness/store/*/judge.json")
    lines = [line for step in steps for line in iter_json_lines(step.with_name("verdicts.jsonl"))]
    replies = [json.loads(line["verdict"]["raw"]) for line in lines]
    assert len(replies) == 16
    assert {len(reply) for reply in replies} == {2}
