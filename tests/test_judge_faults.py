"""A server that goes wrong while it judges: nothing is lost, asked twice, or counted as a verdict."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_bench import Bench
from scripted_chat import (
    KEY,
    Answer,
    Asked,
    ScriptedChat,
    calls,
    completion,
    error,
    says,
    verdict,
)

from harness import StageError
from harness.judging.analysis import analyse
from harness.judging.table import tabulate
from harness.ledger import Ledger

PAIRS = 8
PLACE = 5
"""Which request goes wrong."""
WORTH = {"first": 1.0, "tie": 0.5, "second": 0.0}


class Troubled:
    """A good judge, which prefers the candidate, but for the requests from PLACE on that get `troubles`."""

    def __init__(self, *troubles: Answer) -> None:
        self.troubles = list(troubles)
        self.answered: Counter[str] = Counter()
        self.count = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked) -> Answer:
        with self._lock:
            self.count += 1
            if self.count >= PLACE and self.troubles:
                return self.troubles.pop(0)
            self.answered[json.dumps(asked.body, sort_keys=True)] += 1
        return verdict("answer_1" if asked.pair[0].startswith("candidate") else "answer_2")


@pytest.fixture
def bench(tmp_path: Path, environment: None) -> Bench:
    made = Bench(tmp_path)
    made.pairs(PAIRS)
    return made


def judge(bench: Bench, chat: ScriptedChat, script: Troubled, **options: Any) -> dict[str, Any]:
    chat.script = script
    price = {"input": 1.0, "output": 1.0}
    given = {"base_url": chat.url, "concurrency": 2, "price": price, **options}
    receipt: dict[str, Any] = bench.run("gpt4", given)
    return receipt


PASSING = {
    "429": error(429, "slow down"),
    "429 with Retry-After": error(429, "slow down", retry_after="0.3"),
    "500": error(500),
    "503 overloaded": error(503, "overloaded"),
    "timeout": Answer({}, delay=3.0),
    "dropped connection": Answer(drop=True),
    "truncated JSON": Answer(verdict("tie").body, cut=60),
    "no JSON": Answer(b"<html>bad gateway</html>"),
    "no completion": Answer({"object": "list"}),
}


@pytest.mark.parametrize("trouble", PASSING)
def test_what_passes_is_tried_again_and_changes_nothing(
    bench: Bench, chat: ScriptedChat, trouble: str
) -> None:
    script = Troubled(PASSING[trouble], PASSING[trouble])
    receipt = judge(bench, chat, script)
    assert script.troubles == []
    assert {j.verdict.choice for j in bench.judgments() if j.candidate_first} == {"first"}
    assert {j.verdict.choice for j in bench.judgments() if not j.candidate_first} == {"second"}
    assert set(script.answered.values()) == {1}, "what was answered is not asked again"
    assert (receipt["requests"], receipt["unparsed"], receipt["examples"]) == (2 * PAIRS, 0, PAIRS)


LADDER = {
    "repaired at once": ([says("Answer 1.")], {}),
    "wrong schema twice": ([calls({"choice": 1}), calls({"choice": 1})], {"invalid": 1}),
    "prose twice": ([says("Answer 1 is better."), says("I said: 1")], {"invalid": 1}),
    "empty twice": ([says(""), says(None)], {"empty": 1}),
    "cut twice": ([says("Well,", "length"), says("Well,", "length")], {"cut": 1}),
    "refused": ([completion({"content": None, "refusal": "I cannot compare these."})], {"refused": 1}),
    "filtered": ([error(400, "filtered", code="content_filter")], {"refused": 1}),
    "too long": ([error(400, "too long", code="context_length_exceeded")], {"too_long": 1}),
}


@pytest.mark.parametrize("rung", LADDER)
def test_what_cannot_be_read_is_unparsed_with_its_fault_and_never_a_verdict(
    bench: Bench, chat: ScriptedChat, rung: str
) -> None:
    troubles, faults = LADDER[rung]
    # One at a time: a repair then follows what it repairs.
    receipt = judge(bench, chat, Troubled(*troubles), concurrency=1, channel="tool")
    assert (receipt["faults"], receipt["unparsed"]) == (faults, sum(faults.values()))
    readable = [j for j in bench.judgments() if j.verdict.choice != "unparsed"]
    assert len(readable) == 2 * PAIRS - sum(faults.values())
    mine = [WORTH[j.verdict.choice] if j.candidate_first else 1 - WORTH[j.verdict.choice] for j in readable]
    assert set(mine) == {1.0}
    again = judge(bench, chat, script := Troubled(), concurrency=1, channel="tool")
    assert (script.count, again["unparsed"]) == (0, receipt["unparsed"]), "not even what is unparsed"


@pytest.mark.parametrize(("temperature", "adjusted"), [(0.0, {"temperature": None}), (None, {})])
def test_a_parameter_that_the_model_refuses_stands_on_the_receipt(
    bench: Bench, chat: ScriptedChat, temperature: float | None, adjusted: dict[str, None]
) -> None:
    refusal = error(400, "'temperature' is not supported with this model", code="unsupported_value")
    judge(bench, chat, Troubled(refusal), concurrency=1)
    receipt = judge(bench, chat, Troubled(), concurrency=1, temperature=temperature)
    assert receipt["adjusted"] == adjusted


STOPPING = {
    "401": (error(401, f"wrong key {KEY}"), "check OPENAI_API_KEY"),
    "unknown model": (error(404, "no such model", code="model_not_found"), "no such model"),
    "429 for ever": (error(429, "out of quota", code="insufficient_quota"), "out of quota"),
    "500 for ever": (error(500, "broken"), "broken"),
}


@pytest.mark.parametrize("trouble", STOPPING)
def test_what_does_not_pass_ends_the_step_and_the_next_run_goes_on(
    bench: Bench, chat: ScriptedChat, trouble: str
) -> None:
    answer, told = STOPPING[trouble]
    first = Troubled(*[answer] * 99)
    with pytest.raises(StageError, match=told) as caught:
        judge(bench, chat, first, max_retries=1)
    assert KEY not in str(caught.value)
    assert not (bench.folder / "out" / "verdicts.jsonl").exists()
    assert first.answered.total() == PLACE - 1
    second = Troubled()
    receipt = judge(bench, chat, second, max_retries=1)
    assert set((first.answered + second.answered).values()) == {1}
    assert (receipt["requests"], receipt["asked"], receipt["unparsed"]) == (2 * PAIRS, 2 * PAIRS, 0)
    with Ledger(bench.folder / "ledger.sqlite") as ledger:
        assert ledger.spent("suite").requests == 2 * PAIRS


BIAS, QUALITY, PROMPTS = 0.9, 0.5, 120
"""Logits that the server adds for standing first, and for being the candidate."""


def biased(asked: Asked) -> Answer:
    """A judge that is drawn to what stands first; the same for the same request."""
    first, second = asked.pair
    logit = BIAS + (QUALITY if first.startswith("candidate") else -QUALITY)
    drawn = int.from_bytes(hashlib.sha256(f"{first}|{second}".encode()).digest()[:8]) / 2**64
    return verdict("answer_1" if drawn < 1 / (1 + math.exp(-logit)) else "answer_2")


def test_the_bias_of_a_position_biased_judge_is_recovered(bench: Bench, chat: ScriptedChat) -> None:
    chat.script = biased
    bench.pairs(PROMPTS)
    bench.run("gpt4", {"base_url": chat.url, "concurrency": 4})
    judgments = bench.judgments()
    players = [
        ("candidate", "opponent") if j.candidate_first else ("opponent", "candidate") for j in judgments
    ]
    first, second = zip(*players, strict=True)
    table = tabulate([j.example_id for j in judgments], first, second, [j.verdict.choice for j in judgments])
    analysis = analyse(table, against="opponent")
    position, rate = analysis["position"], analysis["rates"]["candidate"]
    assert position["low"] < BIAS < position["high"]
    assert position["low"] > 0
    both = [1 / (1 + math.exp(-QUALITY + sign * BIAS)) for sign in (1, -1)]
    average = rate["rules"]["average"]
    assert average["low"] < sum(both) / 2 < average["high"]
    assert rate["flips_to_first"] > rate["flips_to_second"]
