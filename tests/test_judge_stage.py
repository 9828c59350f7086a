"""The judge stage with judges of a user's own, and with gpt4 against a server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_bench import HEADER, RECORDING, Bench
from scripted_chat import KEY, Answer, Asked, ScriptedChat, error, says, verdict

from harness import (
    Completion,
    Example,
    Judgment,
    Message,
    Prediction,
    StageError,
    Verdict,
)
from harness.errors import StoreError
from harness.json_files import read_jsonl, write_json, write_jsonl
from harness.stages import judge as stage
from harness.stopping import STOPPED

pytestmark = pytest.mark.usefixtures("environment")

SHORTER = '''"""Prefers the shorter answer."""
from dataclasses import dataclass

from harness import Question, Verdict, option


@dataclass(frozen=True)
class Shorter:
    """Prefers the answer with fewer words."""

    slack: int = option(0, help="so many words more are no worse")

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        more = len(first.split()) - len(second.split())
        return Verdict("tie" if abs(more) <= self.slack else "first" if more < 0 else "second")
'''


MANY = "    def compare_many(self, pairs):\n        return [Verdict('tie') for _ in pairs]\n\n"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.predictions("candidate", ["a b", "a", "same", "a b c"])
    made.predictions("opponent", ["x", "x y", "same", "x y z"])
    return made


# What is asked, and what is written


def test_a_judge_beside_the_suite_is_all_it_takes(bench: Bench) -> None:
    bench.judge(SHORTER, "shorter")
    receipt = bench.run("shorter", name="brevity")
    found = [(j.example_id, j.candidate_first, j.verdict.choice) for j in bench.judgments()]
    assert found == [
        ("id0", True, "second"), ("id0", False, "first"),
        ("id1", True, "first"), ("id1", False, "second"),
        ("id2", True, "tie"), ("id2", False, "tie"),
        ("id3", True, "tie"), ("id3", False, "tie"),
    ]  # fmt: skip
    assert receipt["name"] == "brevity"
    assert receipt["signature"].startswith("judge:shorter|slack:0|code:")
    assert receipt["cost_usd"] is None  # this judge does not say


def test_a_judge_that_always_says_first_contradicts_itself_on_record(bench: Bench) -> None:
    bench.judge(RECORDING)
    bench.run(options=bench.log)
    asked = [j for j in bench.judgments() if j.example_id != "id2"]
    assert [(j.candidate_first, j.verdict.choice) for j in asked] == [(True, "first"), (False, "first")] * 3
    assert sorted(bench.calls())[:2] == ["question 0|a b|x", "question 0|x|a b"]


def test_identical_answers_tie_without_being_asked(bench: Bench) -> None:
    bench.judge(RECORDING)
    receipt = bench.run(options=bench.log)
    ties = [j.verdict for j in bench.judgments() if j.example_id == "id2"]
    assert ties == [Verdict("tie", "identical answers", cost_usd=0.0)] * 2
    assert [j.example_id for j in bench.judgments() if j.settled] == ["id2", "id2"]
    assert not any("same" in call for call in bench.calls())
    assert (receipt["identical"], receipt["asked"], receipt["from_cache"]) == (2, 6, 0)


def test_a_missing_answer_is_counted_and_never_judged(bench: Bench) -> None:
    bench.judge(RECORDING)
    bench.predictions("candidate", ["a", None, "b", "c", "beyond the opponent's rows"])
    bench.predictions("opponent", [None, "x", "y", ""])
    receipt = bench.run(options=bench.log)
    assert [j.example_id for j in bench.judgments()] == ["id2", "id2", "id3", "id3"]
    assert (receipt["examples"], receipt["skipped"]) == (2, 2)


def test_the_sample_depends_on_ids_alone(bench: Bench) -> None:
    bench.judge(SHORTER)
    for backwards in (False, True):
        for name in ("candidate", "opponent"):
            bench.predictions(name, [f"{name} {n}" for n in range(20)], backwards=backwards)
        bench.run(max_prompts=5, out=f"out{backwards}")
    drawn = read_jsonl(bench.folder / "outTrue" / "verdicts.jsonl", Judgment)
    assert read_jsonl(bench.folder / "outFalse" / "verdicts.jsonl", Judgment) == drawn
    ids = [judgment.example_id for judgment in drawn[::2]]
    assert len(set(ids)) == 5
    assert sorted(ids) != [f"id{n}" for n in range(5)]


def test_a_smaller_sample_is_the_start_of_a_larger_one(bench: Bench) -> None:
    bench.judge(SHORTER)
    bench.predictions("candidate", [f"a {n}" for n in range(20)])
    bench.predictions("opponent", ["x"] * 20)
    drawn = []
    for size in (5, 12):
        bench.run(max_prompts=size, out=f"out{size}")
        lines = read_jsonl(bench.folder / f"out{size}" / "verdicts.jsonl", Judgment)
        drawn.append([judgment.example_id for judgment in lines])
    assert drawn[1][:10] == drawn[0]


def test_a_missing_answer_brings_no_other_prompt_into_the_sample(bench: Bench) -> None:
    bench.judge(SHORTER)
    bench.predictions("opponent", ["x"] * 20)
    bench.predictions("candidate", ["a b"] * 20)
    bench.run(max_prompts=5, out="whole")
    whole = {j.example_id for j in bench.judgments("whole")}
    lost = int(min(whole).removeprefix("id"))
    bench.predictions("candidate", [None if n == lost else "a b" for n in range(20)])
    receipt = bench.run(max_prompts=5)
    assert {j.example_id for j in bench.judgments()} == whole - {f"id{lost}"}
    assert receipt["skipped"] == 1


def test_progress_counts_verdicts_and_names_the_unparsed(bench: Bench) -> None:
    bench.judge(RECORDING)
    told: list[tuple[int, int, str]] = []
    (bench.folder / "out").mkdir()
    params = bench.params("mine", {**bench.log, "reply": "unparsed"})
    stage.run(params, bench.inputs, bench.folder / "out", lambda *now: told.append(now))
    assert [now[0] for now in told] == [
        1,
        2,
        3,
        4,
        5,
        6,
        7,
    ]  # the identical pair is one and the same in both orders
    assert told[-1] == (7, 7, "6 unparsed, $3.00")


def test_no_pairs_are_no_error(bench: Bench) -> None:
    bench.judge(SHORTER)
    bench.predictions("candidate", [None, None])
    assert bench.run()["examples"] == 0
    assert bench.judgments() == []


def test_the_reference_judge_works_offline_and_costs_nothing(bench: Bench) -> None:
    bench.predictions("candidate", [f"reference {n}" for n in range(4)])
    assert bench.run("reference")["cost_usd"] == 0.0
    assert [j.verdict.choice for j in bench.judgments()] == ["first", "second"] * 4


# The cache


def test_nothing_is_asked_twice(bench: Bench) -> None:
    bench.judge(RECORDING)
    first = bench.run(options=bench.log)
    again = bench.run(options=bench.log, out="again")
    assert len(bench.calls()) == len(set(bench.calls())) == 6
    assert (first["asked"], first["cost_usd"], first["prompt_tokens"]) == (6, 3.0, 18)
    assert (again["asked"], again["from_cache"], again["cost_usd"], again["prompt_tokens"]) == (0, 6, 0, 0)
    assert (bench.folder / "out/verdicts.jsonl").read_bytes() == (
        bench.folder / "again/verdicts.jsonl"
    ).read_bytes()


def test_equal_comparisons_of_one_run_are_asked_once(bench: Bench) -> None:
    bench.judge(RECORDING)
    for name, answer in (("candidate", "a"), ("opponent", "x")):
        example = Example("one", (Message("user", "question"),), "reference")
        twin = Example("two", example.prompt, example.reference)
        rows = [Prediction(e, Completion(answer)) for e in (example, twin)]
        write_jsonl(bench.folder / name / "predictions.jsonl", rows)
    receipt = bench.run(options=bench.log)
    assert len(bench.calls()) == 2
    assert (receipt["asked"], receipt["from_cache"]) == (2, 2)


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda bench, options: options.update(reply="tie"), 6),
        (lambda bench, options: bench.judge(RECORDING + "\n# another digest"), 6),
        (
            lambda bench, options: bench.judge(
                RECORDING + "\n    def identity(self):\n        return 'v2'\n"
            ),
            6,
        ),
        (lambda bench, options: bench.predictions("opponent", ["other", "x y", "same", "x y z"]), 2),
        (lambda bench, options: options.update(log=str(bench.folder / "elsewhere.txt")), 0),
    ],
    ids=["option", "source", "identity", "answer", "option without effect"],
)
def test_what_a_verdict_depends_on_is_in_its_key(bench: Bench, change: Any, asked: int) -> None:
    bench.judge(RECORDING)
    options = dict(bench.log)
    bench.run(options=options)
    change(bench, options)
    assert bench.run(options=options, out="again")["asked"] == asked


def test_an_unparsed_verdict_is_a_verdict(bench: Bench) -> None:
    bench.judge(RECORDING)
    options = {**bench.log, "reply": "unparsed"}
    assert bench.run(options=options)["unparsed"] == 6
    assert bench.run(options=options, out="again")["from_cache"] == 6
    assert bench.judgments()[0].verdict.raw == "a b"


def test_a_cache_that_is_no_database_is_named(bench: Bench) -> None:
    bench.judge(SHORTER)
    (bench.folder / "ledger.sqlite").write_text("not a database, but long enough to be looked at" * 50)
    with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used: file is not a database"):
        bench.run()


# Judges that fail


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (
            "return 'first'",
            "judge 'mine' returned 'first'; expected a Verdict with one of first, second, tie",
        ),
        (
            "return Verdict('A')",
            r"judge 'mine' returned Verdict\('A'\); what it says is one of first, second, tie, unparsed$",
        ),
        ("return Verdict('tie', reason=None)", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', preference=1.5)", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', preference=True)", "judge 'mine' returned Verdict"),
        ("return Verdict('first', preference=0.0)", "a preference .* not for the other answer"),
        ("return Verdict('second', preference=0.51)", "a preference .* not for the other answer"),
        ("return Verdict('unparsed', preference=0.5)", "only if unparsed, a known fault and no preference"),
        ("return Verdict('tie', fault='invalid')", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', cost_usd=True)", "judge 'mine' returned Verdict"),
        ("return Verdict('unparsed', fault='shy')", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', cost_usd=1e308)", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', prompt_tokens=10**30)", "judge 'mine' returned Verdict"),
        ("return Verdict('tie', completion_tokens=True)", "judge 'mine' returned Verdict"),
        ("raise OSError('no route')", r"judge 'mine' failed on example id\d: OSError: no route"),
        ("raise OSError('half \\ud800')", r"judge 'mine' failed on example id\d: OSError: half \ufffd$"),
        ("raise SystemExit(3)", r"judge 'mine' failed on example id\d: SystemExit: 3"),
        ("raise KeyboardInterrupt", r"judge 'mine' failed on example id\d: KeyboardInterrupt: $"),
    ],
)
def test_a_judge_that_fails_ends_the_stage_with_its_reason(bench: Bench, body: str, fault: str) -> None:
    head = "class Mine:\n    def compare(self, question, first, second):"
    bench.judge(f"{HEADER}@dataclass(frozen=True)\n{head}\n        {body}\n")
    with pytest.raises(StageError, match=fault):
        bench.run()
    assert not (bench.folder / "out" / "verdicts.jsonl").exists()


def test_the_first_error_stops_the_rest_and_what_was_paid_is_kept(bench: Bench, chat: ScriptedChat) -> None:
    for name in ("candidate", "opponent"):
        bench.predictions(name, [f"{name} {n}" for n in range(50)])
    options = {"base_url": chat.url, "concurrency": 3}
    chat.plays(*[verdict("tie")] * 10, error(401, f"no {KEY}"))
    with pytest.raises(StageError, match="check OPENAI_API_KEY"):
        bench.run("gpt4", options)
    assert 11 <= len(chat.asked) <= 13
    chat.plays(verdict("tie"))
    receipt = bench.run("gpt4", options)
    assert len(chat.asked) == 90
    # The same folder is gone on with: what the failed attempt bought belongs to this artifact.
    assert (receipt["asked"], receipt["from_cache"]) == (100, 0)


def test_the_window_is_as_wide_as_the_judge_says(bench: Bench, chat: ScriptedChat) -> None:
    for name in ("candidate", "opponent"):
        bench.predictions(name, [f"{name} {n}" for n in range(12)])
    lock, now, widest = threading.Lock(), [0], [0]

    def script(asked: Asked) -> Answer:
        with lock:
            now[0] += 1
            widest[0] = max(widest[0], now[0])
        threading.Event().wait(0.05)
        with lock:
            now[0] -= 1
        return verdict("tie")

    chat.script = script
    bench.run("gpt4", {"base_url": chat.url, "concurrency": 3})
    assert widest[0] == 3


def test_the_key_is_nowhere(bench: Bench, chat: ScriptedChat) -> None:
    chat.plays(says(f"The header was Bearer {KEY}"))
    assert bench.run("gpt4", {"base_url": chat.url})["unparsed"] == 6
    assert any(KEY in asked.headers["authorization"] for asked in chat.asked)
    written = [path for path in bench.folder.rglob("*") if path.is_file()]
    assert {"ledger.sqlite", "verdicts.jsonl", "judge.json"} <= {path.name for path in written}
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("    concurrency = -3", "judge 'mine' has the concurrency -3; expected a positive integer"),
        ("    concurrency = 'x'", "judge 'mine' has the concurrency 'x'; expected a positive integer"),
        (f"{MANY}    batch_size = 'x'", "judge 'mine' has the batch_size 'x'; expected a positive integer"),
        (f"{MANY}    batch_size = 0", "judge 'mine' has the batch_size 0; expected a positive integer"),
        (
            "    def prefetch(self, pairs, progress):\n        raise SystemExit",
            "judge 'mine' failed: SystemE",
        ),
    ],
)
def test_a_judge_with_a_trait_that_cannot_be_is_named(bench: Bench, body: str, fault: str) -> None:
    compare = "    def compare(self, question, first, second):\n        return Verdict('tie')\n"
    bench.judge(f"{HEADER}@dataclass(frozen=True)\nclass Mine:\n{body}\n\n{compare}")
    with pytest.raises(StageError, match=fault):
        bench.run()


# Asked to stop


@pytest.mark.parametrize("concurrency", [1, 8])
def test_asked_to_stop_it_keeps_what_is_in_flight(bench: Bench, chat: ScriptedChat, concurrency: int) -> None:
    for name in ("candidate", "opponent"):
        bench.predictions(name, [f"{name} {n}" for n in range(15)])
    options = {"base_url": chat.url, "concurrency": concurrency}
    in_flight, stopped = threading.Semaphore(0), threading.Event()

    def script(asked: Asked) -> Answer:
        in_flight.release()
        stopped.wait(30)
        return verdict("tie")

    chat.script = script
    write_json(bench.folder / "params.json", bench.params("gpt4", options))
    (bench.folder / "out").mkdir()
    process = subprocess.Popen([sys.executable, "-c", RUN, str(bench.folder)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(concurrency):
            assert in_flight.acquire(timeout=30)
        process.terminate()
        time.sleep(0.3)
        stopped.set()
        assert process.wait(timeout=30) == STOPPED
    finally:
        stopped.set()
        process.kill()
        process.wait()
    asked = len(chat.asked)
    # Whoever was answered before the signal had come through may have asked once more.
    assert concurrency <= asked <= 2 * concurrency
    receipt = bench.run("gpt4", options)
    assert (len(chat.asked), receipt["asked"], receipt["from_cache"]) == (30, 30, 0)


# kill -9


def test_after_kill_9_only_the_requests_in_flight_are_asked_again(bench: Bench, chat: ScriptedChat) -> None:
    for name in ("candidate", "opponent"):
        bench.predictions(name, [f"{name} {n}" for n in range(10)])
    options = {"base_url": chat.url, "concurrency": 2}
    prefers = {True: verdict("answer_1"), False: verdict("answer_2")}
    counted: Counter[tuple[str, str]] = Counter()
    stuck, killed = threading.Semaphore(0), threading.Event()

    def script(asked: Asked) -> Answer:
        counted[asked.pair] += 1
        if len(counted) > 7 and not killed.is_set():
            stuck.release()
            killed.wait(20)
        return prefers[asked.pair[0].startswith("candidate")]

    chat.script = script
    write_json(bench.folder / "params.json", bench.params("gpt4", options))
    (bench.folder / "out").mkdir()
    process = subprocess.Popen([sys.executable, "-c", RUN, str(bench.folder)])
    try:
        # Both threads of the stage hang in a request: all that came before is committed.
        assert stuck.acquire(timeout=30)
        assert stuck.acquire(timeout=30)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        killed.set()
    assert not (bench.folder / "out" / "verdicts.jsonl").exists()
    resumed = bench.run("gpt4", options)
    assert sorted(counted.values()) == [1] * 18 + [2] * 2
    (bench.folder / "ledger.sqlite").unlink()
    assert bench.run("gpt4", options, out="undisturbed") == resumed
    both = [(bench.folder / out / "verdicts.jsonl").read_bytes() for out in ("out", "undisturbed")]
    assert both[0] == both[1]
    assert {j.verdict.choice for j in bench.judgments() if j.candidate_first} == {"first"}


RUN = """
import json, pathlib, sys
from harness.protocols import silent
from harness.stages import judge
folder = pathlib.Path(sys.argv[1])
inputs = {name: folder / name for name in ("candidate", "opponent")}
judge.run(json.loads((folder / "params.json").read_text()), inputs, folder / "out", silent)
"""
