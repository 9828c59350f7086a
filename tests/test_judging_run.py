"""Judging by the command: plan, run out of money, raise the budget, go on. One suite, told in its order."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from commands import counting, harness, results, write_suite
from scripted_chat import Answer, Asked, scripted_chat, verdict

from harness.ledger import Ledger

KEY = "sk-sentinel-4c21"
PROMPTS, CONTROLS, PRICE = 12, 2, 0.2
"""Of the suite below: eval prompts, control prompts, dollars a request."""
ASKED = 3 * (2 * PROMPTS + 2 * CONTROLS) - CONTROLS
"""Three pairs of players; the identical control of `short` serves two of them."""
SUITE = f"""\
name: trial
model: {{model}}
data: {{train: data.json, validation: 2, eval: {PROMPTS}}}
prompting: {{max_length: 96}}
generation: {{max_new_tokens: 1}}
evaluators: [exact_match]
judges:
  - gpt4:
      against: all
      controls: {CONTROLS}
      base_url: URL
      concurrency: 4
      max_tokens: 50
      price: {{input: 1000, output: 5000}}
  - length: {{against: all}}
  - panel: {{judges: [gpt4, length], against: all, rule: mean}}
rank_by: gpt4
budget_usd: 3
candidates:
  long: {{backend: {{outputs: {{path: ./long.json}}}}}}
  short: {{backend: {{outputs: {{path: ./short.json}}}}}}
"""
ROWS = counting(30)


@dataclass
class Story:
    """What was said in turn, and how often the server was asked the same."""

    folder: Path
    said: dict[str, CompletedProcess[str]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    requests: Counter[str] = field(default_factory=Counter)
    written: dict[str, set[str]] = field(default_factory=dict)

    def tell(self, name: str, *arguments: str) -> None:
        env = {"OPENAI_API_KEY": KEY}
        self.said[name] = harness(*arguments, folder=self.folder, env=env)
        self.asked[name] = self.requests.total()
        self.written[name] = {path.name for path in self.folder.iterdir()}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("story")
    told = Story(folder)
    with scripted_chat() as chat:
        write_suite(folder, tiny_llama, ROWS, SUITE.replace("URL", chat.url))
        for name, words in (("long", 12), ("short", 2)):
            answers = [
                {"instruction": row["instruction"], "output": " ".join([name] * words)} for row in ROWS
            ]
            (folder / f"{name}.json").write_text(json.dumps(answers))

        def prefers_long_then_the_first(asked: Asked) -> Answer:
            told.requests[json.dumps(asked.body, sort_keys=True)] += 1
            first, second = ("long" in answer for answer in asked.pair)
            return verdict("answer_2" if second and not first else "answer_1")

        chat.script = prefers_long_then_the_first
        told.tell("plan", "plan", "suite.yaml", "--set", "budget_usd=30")
        told.tell("run", "run", "suite.yaml")
        told.tell("plan again", "plan", "suite.yaml")
        told.tell("raised", "run", "suite.yaml", "--set", "budget_usd=100")
        told.tell("once more", "run", "suite.yaml", "--set", "budget_usd=100")
        yield told


def test_the_plan_tells_calls_and_cost_and_what_the_budget_is_enough_for(story: Story) -> None:
    said = story.said["plan"].stdout
    assert story.said["plan"].returncode == 0, story.said["plan"].stderr
    assert story.asked["plan"] == 0
    assert "  gpt4: about 84 calls, " in said
    assert "answers that are not there yet are taken to be as long as the references" in said
    assert "the budget of $30.00 is enough for about " in said
    assert " prompts of gpt4: set max_prompts: " in said
    assert "length:" not in said
    assert "panel:" not in said
    assert story.written["plan"] == {"suite.yaml", "data.json", "long.json", "short.json"}


def test_a_run_stops_within_one_request_a_worker_of_the_budget_and_says_so(story: Story) -> None:
    done = story.said["run"]
    assert done.returncode == 1
    assert "the budget of $3.00 is spent" in done.stdout + done.stderr
    assert "raise budget_usd to go on" in done.stdout + done.stderr
    enough = round(3 / PRICE)
    assert enough <= story.asked["run"] <= enough + 4


def test_what_was_paid_for_is_kept_and_planned_without(story: Story) -> None:
    said, paid = story.said["plan again"].stdout, story.asked["run"]
    assert (
        f"gpt4: about {ASKED + CONTROLS - paid} calls" in said or f"gpt4: about {ASKED - paid} calls" in said
    )
    assert "the budget of $3.00, $0 of it left, is not enough" in said


def test_a_raised_budget_goes_on_and_nothing_is_paid_twice(story: Story) -> None:
    assert story.said["raised"].returncode == 0, story.said["raised"].stderr
    assert story.asked["raised"] == ASKED
    # The repeated pairs are the same request twice, and meant so.
    assert Counter(story.requests.values()) == {1: ASKED - 6 * CONTROLS, 2: 3 * CONTROLS}
    with Ledger(story.folder / ".harness" / "ledger.sqlite") as ledger:
        assert ledger.spent("trial").requests == ASKED
        assert ledger.spent("trial").usd == pytest.approx(ASKED * PRICE)


def test_the_budget_is_in_no_key(story: Story) -> None:
    assert story.said["once more"].returncode == 0
    assert "everything was already done" in story.said["once more"].stderr
    assert story.asked["once more"] == ASKED


def receipts(story: Story, judge: str) -> list[Mapping[str, Any]]:
    found = [json.loads(path.read_text()) for path in story.folder.glob(".harness/store/*/judge.json")]
    return [receipt for receipt in found if receipt["name"] == judge]


def test_the_receipts_of_all_attempts_add_up_to_what_was_paid(story: Story) -> None:
    paid = receipts(story, "gpt4")
    assert len(paid) == 3
    assert sum(receipt["requests"] for receipt in paid) == ASKED
    assert sum(receipt["cost_usd"] for receipt in paid) == pytest.approx(ASKED * PRICE)
    for judge in ("length", "panel"):
        assert [receipt["cost_usd"] for receipt in receipts(story, judge)] == [0.0] * 3


def test_everyone_meets_everyone_once(story: Story) -> None:
    names = {
        path.name: read for path in story.folder.glob(".harness/store/judge-*") if (read := manifest(path))
    }
    met = Counter((params["name"], params["opponent"]) for params in names.values())
    expected = {(judge, "base"): 2 for judge in ("gpt4", "length", "panel")}
    assert met == {**expected, **{(judge, "long"): 1 for judge in ("gpt4", "length", "panel")}}


def manifest(folder: Path) -> dict[str, Any]:
    params: dict[str, Any] = json.loads((folder / "manifest.json").read_text())["params"]
    return params


def test_the_judge_orders_the_board(story: Story) -> None:
    done = results(story.folder)
    assert done["suite"]["rank_by"] == "gpt4"
    assert [candidate["name"] for candidate in done["candidates"]][:2] == ["base", "long"]


def test_the_key_is_nowhere(story: Story) -> None:
    assert not [p for p in story.folder.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
    assert not [said for said in story.said.values() if KEY in said.stdout + said.stderr]
