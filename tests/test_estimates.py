"""What `harness plan` says of calls, tokens and cost, before the data are there and after."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from scripted_chat import scripted_chat

from harness import Completion, Example, Message, Prediction
from harness.errors import PluginError, SuiteError
from harness.estimates import Estimate, estimates
from harness.json_files import write_jsonl
from harness.ledger import Ledger
from harness.listing import describe_plan
from harness.plan import Plan, Step, compile_plan
from harness.plan.pairings import pairings
from harness.run import Run, _Loop
from harness.stages.judge import run
from harness.store import Store
from harness.suite import load_suite

PRICED = '''
from dataclasses import dataclass
from harness import Question, Verdict, option
from harness.protocols import Usage

@dataclass(frozen=True)
class Priced:
    """Takes as many tokens as the answers have characters."""

    cost: float | None = option(0.01, help="USD")

    def compare(self, question: Question, first: str, second: str):
        return Verdict("tie")

    def expect(self, question: Question, first: str, second: str):
        return Usage(len(first) + len(second), 5, self.cost)
'''
GRADING = '''
from dataclasses import dataclass
from typing import ClassVar
from harness.protocols import Usage

@dataclass(frozen=True)
class Grading:
    """Takes as many tokens as the answer has characters."""

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    def measure(self, predictions): ...
    def score(self, totals): ...
    def signature(self): return ""
    def expect(self, example, answer): return Usage(len(answer), 1, 0.02)
'''
SERVED = '''
from dataclasses import dataclass
from typing import ClassVar
from harness.protocols import Usage

@dataclass(frozen=True)
class Served:
    """Answers for a price."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()

    def train(self, job): ...
    def load(self, model, trained, prompting): ...
    def answer(self, examples, decoding): ...
    def expect(self, example, decoding): return Usage(10, 30, 0.03)
'''
SUITE = """\
name: trial
model: ./model
data: {train: rows.json, validation: 2, eval: 12}
evaluators: [exact_match]
"""
CANDIDATES = {"one": "{method: lora}", "two": "{method: lora, training: {learning_rate: 1e-5}}"}
WITH_API = {**CANDIDATES, "api": "{backend: served}"}
ALONE = {"one": CANDIDATES["one"]}
ROWS = [{"instruction": f"Question {n}?", "input": "", "output": "reference!"} for n in range(40)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    for kind, name, source in (
        ("judges", "priced", PRICED),
        ("evaluators", "grading", GRADING),
        ("backends", "served", SERVED),
    ):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def planned(judges: str, *more: str, candidates: Mapping[str, str] = CANDIDATES) -> Plan:
    recipes = "".join(f"  {name}: {recipe}\n" for name, recipe in candidates.items())
    Path("suite.yaml").write_text(f"{SUITE}candidates:\n{recipes}judges: {judges}\n")
    return compile_plan(load_suite(Path("suite.yaml"), more), Store(Path(".harness/store")))


def expected(plan: Plan) -> dict[str, Estimate]:
    return {estimate.name: estimate for estimate in estimates(plan)[0]}


# Before the data are prepared


@pytest.mark.parametrize(
    ("judges", "more", "requests"),
    [
        ("[priced]", [], 2 * 24),
        ("[{priced: {max_prompts: 5}}]", [], 2 * 10),
        ("[{priced: {max_prompts: 50}}]", [], 2 * 24),
        ("[{priced: {controls: 3}}]", [], 2 * (24 + 6)),
        ("[{priced: {against: reference}}]", [], 3 * 24),
        ("[{priced: {against: all}}]", [], 3 * 24),
        ("[{priced: {against: all, max_pairs: 20}}]", [], 3 * 2 * 6),
        ("[{priced: {against: one}}]", ["seeds=[0, 1]"], (1 + 2) * 24),
        ("[priced]", ["data.eval=0.5"], 2 * 2 * 20),
        ("[priced]", ["data={train: rows.json}"], 2 * 2 * 4),
        ("[priced]", ["data={train: rows.json, eval: rows.json, overlap: report}"], 2 * 2 * 40),
        ("[length]", [], 0),
    ],
)
def test_calls_are_counted_by_the_rows_there_will_be(
    folder: Path, judges: str, more: list[str], requests: int
) -> None:
    found = expected(planned(judges, *more))
    assert sum(estimate.requests for estimate in found.values()) == pytest.approx(requests)


def test_references_stand_for_answers_that_are_not_there(folder: Path) -> None:
    estimate = expected(planned("[priced]"))["priced"]
    assert estimate.prompt_tokens == pytest.approx(48 * 2 * len("reference!"))
    assert (estimate.completion_tokens, estimate.cost_usd) == (pytest.approx(240), pytest.approx(0.48))
    assert (estimate.prompts, estimate.guessed, estimate.is_judge) == (12, True, True)


def test_a_price_that_nobody_knows_is_not_nothing(folder: Path) -> None:
    assert expected(planned("[{priced: {cost: null}}]"))["priced"].cost_usd is None


def test_evaluators_and_candidates_that_ask_are_counted_too(folder: Path) -> None:
    plan = planned("[]", "evaluators=[grading]", candidates=WITH_API)
    found = expected(plan)
    assert {name: e.requests for name, e in found.items()} == {"grading": 4 * 12, "api": 12}
    assert found["grading"].prompt_tokens == 48 * len("reference!")
    assert found["api"].cost_usd == pytest.approx(12 * 0.03)


def test_a_plan_writes_nothing(folder: Path) -> None:
    describe_plan(planned("[priced]", "budget_usd=1"))
    assert not (folder / ".harness").exists()


# Afterwards


def made(plan: Plan, name: str, file: str, rows: Sequence[Any]) -> None:
    """The artifact of a step of the plan, with one file."""
    key = plan.steps[name].key
    write_jsonl(plan.store.create(key) / file, rows)
    plan.store.commit(key, {})


def answered(plan: Plan, answers: Mapping[str, Sequence[str | None]]) -> None:
    """The data, and the answers of some candidates."""
    count = max(map(len, answers.values()))
    examples = [Example(f"id{n}", (Message("user", f"Q{n}"),), "reference!") for n in range(count)]
    made(plan, "prepare", "eval.jsonl", examples)
    for candidate, texts in answers.items():
        rows = [Prediction(e, Completion(text)) for e, text in zip(examples, texts, strict=True)]
        made(plan, f"predict {candidate}", "predictions.jsonl", rows)


def test_answers_that_are_there_are_what_is_counted(folder: Path) -> None:
    plan = planned("[{priced: {against: one}}]")
    answered(plan, {"one": ["a", "same", "c", "d"], "base": ["xx", "same", None, "z"]})
    estimate = expected(plan)["priced"]
    exact, guessed = 2 * (3 + 2), 8 * (len("reference!") + 1) - 2 * 3
    assert estimate.requests == 4 + 8, "of four, one pair is identical and one has a missing answer"
    assert estimate.prompt_tokens == pytest.approx(exact + guessed, rel=0.15)
    assert (estimate.prompts, estimate.guessed) == (4, True)


def test_what_the_ledger_holds_is_paid_for(folder: Path) -> None:
    plan = planned("[{priced: {against: one, controls: 1}}]", candidates=ALONE)
    answered(plan, {"one": ["a", "b", "c"], "base": ["x", "y", "z"]})
    assert expected(plan)["priced"].requests == 6 + 2
    step = plan.steps["judge base priced"]
    run(step.work.params, inputs_of(plan, "judge base priced"), folder, lambda *_: None)
    assert expected(plan)["priced"].requests == 0
    assert "what servers will be asked" not in describe_plan(plan)


def test_replies_that_a_better_parser_would_read_again_are_paid_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with scripted_chat() as chat:
        plan = planned(f"[{{gpt4: {{against: one, controls: 1, base_url: '{chat.url}'}}}}]", candidates=ALONE)
        answered(plan, {"one": ["a", "b", "c"], "base": ["x", "y", "z"]})
        assert expected(plan)["gpt4"].requests == 6 + 2
        step = plan.steps["judge base gpt4"]
        run(step.work.params, inputs_of(plan, step.name), folder, lambda *_: None)
    with closing(sqlite3.connect(folder / ".harness" / "ledger.sqlite", isolation_level=None)) as ledger:
        ledger.execute("DELETE FROM verdicts")
    assert expected(plan)["gpt4"].requests == 0


def inputs_of(plan: Plan, name: str) -> dict[str, Path]:
    return {as_name: plan.store.open(key) for as_name, key in plan.steps[name].work.inputs.items()}


def test_a_step_that_is_done_asks_nothing(folder: Path) -> None:
    plan = planned("[priced]")
    answered(plan, {name: ["a"] for name in ("base", "one", "two")})
    for name in ("judge one priced", "judge two priced"):
        made(plan, name, "verdicts.jsonl", [])
    assert expected(plan) == {}


def test_many_calls_are_estimated_by_a_few(folder: Path) -> None:
    plan = planned("[priced]", candidates=ALONE)
    answered(plan, {name: [f"{name} {n}" for n in range(1000)] for name in ("one", "base")})
    estimate = expected(plan)["priced"]
    assert estimate.requests == pytest.approx(2000)
    assert estimate.cost_usd == pytest.approx(20.0)


# What is said


def lines(plan: Plan) -> list[str]:
    said = describe_plan(plan).splitlines()
    return said[next(n for n, line in enumerate(said) if "steps to do" in line) + 1 :]


GUESS = "; answers that are not there yet are taken to be as long as the references"


@pytest.mark.parametrize(
    ("judges", "more", "said"),
    [
        ("[length]", [], []),
        (
            "[priced]",
            [],
            [
                f"what servers will be asked, an estimate{GUESS}",
                "  priced: about 48 calls, 960 tokens in, 240 out, about $0.48",
            ],
        ),
        ("[priced]", ["budget_usd=0.5"], [None, None, "the budget of $0.50 is enough"]),
        (
            "[priced]",
            ["budget_usd=0.2"],
            [None, None, "the budget of $0.20 is enough for about 5 prompts of priced: set max_prompts: 5"],
        ),
        ("[priced]", ["budget_usd=0.01"], [None, None, "the budget of $0.0100 is not enough for $0.48"]),
        (
            "[{priced: {cost: null}}]",
            ["budget_usd=1"],
            [
                None,
                "  priced: about 48 calls, 960 tokens in, 240 out, price not known",
                "the budget of $1.00 is held while servers are asked",
            ],
        ),
        (
            "[{priced: {max_prompts: 1}}]",
            ["evaluators=[grading]", "budget_usd=0.7"],
            [
                None,
                "  grading: about 36 calls, 360 tokens in, 36 out, about $0.72",
                "  priced: about 4 calls, 80 tokens in, 20 out, about $0.0400",
                "the budget of $0.70 is not enough for $0.76",
            ],
        ),
    ],
)
def test_the_plan_says_what_it_will_cost(
    folder: Path, judges: str, more: list[str], said: list[str | None]
) -> None:
    told = lines(planned(judges, *more))
    assert len(told) == len(said)
    assert [line for line, wanted in zip(told, said, strict=True) if wanted is not None] == [
        wanted for wanted in said if wanted is not None
    ]


def test_what_was_spent_is_no_longer_there(folder: Path) -> None:
    with Ledger(folder / ".harness" / "ledger.sqlite") as ledger:
        ledger.spend("trial", "k", usd=0.3, prompt_tokens=1, completion_tokens=1)
    told = lines(planned("[priced]", "budget_usd=0.5"))
    assert told[-1] == (
        "the budget of $0.50, $0.20 of it left, is enough for about 5 prompts of priced: set max_prompts: 5"
    )


def test_data_that_nobody_loaded_are_not_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.hub.pin", lambda *_, **__: "commit")
    told = lines(planned("[priced]", "data={train: some/dataset}", "budget_usd=1"))
    assert told == [
        "what servers will be asked, an estimate",
        "  priced: not known before the data are loaded",
        "the budget of $1.00 is held while servers are asked",
    ]


def test_a_budget_needs_prices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    judge = "[{gpt4: {model: unheard-of, base_url: 'https://example.org/v1'}}]"
    planned(judge)
    with pytest.raises(PluginError, match=r"no price is known .* set price") as caught:
        planned(judge, "budget_usd=1")
    assert caught.value.where.startswith("suite.yaml:8:11: judges.gpt4")


FAILING = """
from dataclasses import dataclass
from harness import Verdict

@dataclass(frozen=True)
class Failing:
    def compare(self, question, first, second):
        return Verdict("tie")

    def {method}:
        {body}
"""


@pytest.mark.parametrize(
    ("method", "body", "message"),
    [
        (
            "identity(self)",
            "raise ValueError('boom')",
            r"judge 'failing' failed in identity\(\): ValueError: boom",
        ),
        ("identity(self)", "return object()", r"judge 'failing' returned .* from identity\(\); return text"),
        ("preflight(self)", "raise ValueError('boom')", r"failed in preflight\(\): ValueError: boom"),
        (
            "expect(self, q, a, b)",
            "raise ValueError('boom')",
            r"'failing' failed in expect\(\): ValueError: boom",
        ),
        ("expect(self, q, a, b)", "return 5", r"'failing' returned .* from expect\(\)"),
    ],
)
def test_a_judge_that_fails_before_any_work_is_named(
    folder: Path, method: str, body: str, message: str
) -> None:
    (folder / "judges" / "failing.py").write_text(FAILING.format(method=method, body=body), encoding="utf-8")
    with pytest.raises(PluginError, match=message):
        describe_plan(planned("[failing]"))


SILENT = """
from dataclasses import dataclass
from harness import Verdict
from harness.chat import ChatServer

@dataclass(frozen=True)
class Silent:
    '''Has a server, and says neither what it expects to ask it nor of which model.'''

    server = ChatServer("http://127.0.0.1:9/v1", timeout=1.0, max_retries=0)

    def compare(self, question, first, second):
        return Verdict("tie")
"""


def test_a_judge_with_a_server_that_expects_nothing_is_told_of(folder: Path) -> None:
    (folder / "judges" / "silent.py").write_text(SILENT, encoding="utf-8")
    assert "  silent: about 48 comparisons, tokens not known" in describe_plan(planned("[silent]"))


def test_a_budget_needs_the_name_of_the_model(folder: Path) -> None:
    (folder / "judges" / "silent.py").write_text(SILENT, encoding="utf-8")
    planned("[silent]")
    with pytest.raises(PluginError, match="has a server, but no `model` whose price could be known"):
        planned("[silent]", "budget_usd=1")


def test_planning_with_judges_imports_nothing_heavy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    planned("[gpt4, priced]")
    code = """
import sys
from pathlib import Path
from harness.listing import describe_plan
from harness.plan import compile_plan
from harness.store import Store
from harness.suite import load_suite
describe_plan(compile_plan(load_suite(Path("suite.yaml")), Store(Path(".harness/store"))))
heavy = ("torch", "transformers", "datasets", "pandas", "openai", "scipy")
print(*(name for name in heavy if name in sys.modules))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == []


# Who meets whom


@pytest.mark.parametrize(
    ("against", "seeds", "met"),
    [
        ("base", "[0, 1]", ["one#0-base", "one#1-base", "two#0-base", "two#1-base"]),
        ("one", "[0, 1]", ["base-one#0", "two#0-one#0", "two#1-one#1"]),
        ("reference", "[0]", ["base-reference", "one-reference", "two-reference"]),
        ("all", "[0]", ["one-base", "two-base", "two-one"]),
        (
            "all",
            "[0, 1]",
            ["one#0-base", "one#1-base", "two#0-base", "two#0-one#0", "two#1-base", "two#1-one#1"],
        ),
    ],
)
def test_who_meets_whom(folder: Path, against: str, seeds: str, met: list[str]) -> None:
    plan = planned(f"[{{length: {{against: {against}}}}}]", f"seeds={seeds}")
    found = [
        f"{pairing.trial.label}-{pairing.opponent.label if pairing.opponent else pairing.player}"
        for pairing in pairings(plan.suite, "length")
    ]
    assert found == met
    assert len([step for step in plan.steps.values() if step.stage == "judge"]) == len(met)


def test_candidates_without_the_judge_stay_out_of_its_round_robin(folder: Path) -> None:
    plan = planned("[{length: {against: all}}]", "candidates.one.judges=[]")
    assert [pairing.player for pairing in pairings(plan.suite, "length")] == ["base"]


def test_the_reference_as_a_candidate_does_not_meet_the_references(folder: Path) -> None:
    recipes = {**ALONE, "reference": "{backend: reference}"}
    plan = planned("[{length: {against: reference}}]", candidates=recipes)
    assert [p.trial.label for p in pairings(plan.suite, "length")] == ["base", "one"]
    assert "opponent" not in plan.steps["judge one length"].after


def test_a_panels_step_comes_after_its_members_whatever_their_order(folder: Path) -> None:
    plan = planned("[{panel: {judges: [length, reference], against: all}}, {length: {against: all}}, "
                   "{reference: {against: all}}]")  # fmt: skip
    step = plan.steps["judge two panel against one"]
    assert step.after == {
        "candidate": "predict two",
        "opponent": "predict one",
        "member 0": "judge two length against one",
        "member 1": "judge two reference against one",
    }
    names = list(plan.steps)
    assert all(names.index(name) < names.index(step.name) for name in step.after.values())


def test_fewer_pairs_than_comparisons_are_refused(folder: Path) -> None:
    with pytest.raises(SuiteError, match="max_pairs is 2, and there are 3 pairs of trials to compare; allow"):
        planned("[{length: {against: all, max_pairs: 2}}]")


def test_money_is_in_no_key_and_controls_are(folder: Path) -> None:
    def keys(*more: str, judge: str = "{priced: {}}") -> set[str]:
        return {step.key for step in planned(f"[{judge}]", *more).steps.values()}

    assert keys("budget_usd=1") == keys("budget_usd=2") == keys()
    assert keys(judge="{priced: {controls: 1}}") != keys()


# Who runs beside whom


class Endless(Executor):
    """Whatever is begun does not end."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


class Heard:
    """A listener that remembers nothing but what was started."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, step: Step) -> None:
        self.names.append(step.name)

    def progressed(self, step: Step, done: int, total: int, note: str) -> None: ...
    def ended(self, step: Step, status: str, seconds: float, message: str) -> None: ...


ON_DEVICE = PRICED.replace("    cost: float", "    needs_device = True\n    cost: float").replace(
    "Priced", "Big"
)


@pytest.mark.parametrize(
    ("judges", "started"),
    [
        # Two steps of one judge may ask the same: the second finds it in the ledger.
        ("[priced]", ["judge one priced"]),
        ("[priced, {priced: {name: twin, against: reference}}]", ["judge base twin"]),
        ("[priced, {priced: {name: dearer, cost: 1.0}}]", ["judge one priced", "judge one dearer"]),
        ("[priced, length]", ["judge one priced", "judge one length"]),
        # Judges on the one device wait for each other, those beside it do not.
        ("[big, {big: {name: other, cost: 1.0}}, length]", ["judge one big", "judge one length"]),
    ],
)
def test_which_judges_run_beside_each_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch, judges: str, started: list[str]
) -> None:
    monkeypatch.setattr("harness.run.devices", list)
    (folder / "judges" / "big.py").write_text(ON_DEVICE)
    plan = planned(judges)
    answered(plan, {name: ["a"] for name in ("base", "one", "two")})
    heard = Heard()
    loop = _Loop(Run(plan, dict.fromkeys(plan.steps, "cached")), Endless(), heard)
    for step in plan.steps.values():
        if step.stage == "judge":
            loop._settle_or_start(step)
    assert heard.names == started
