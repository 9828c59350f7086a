"""What the judge stage makes of the kinds of judges there are, of controls, of panels, and of a budget."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from judge_bench import HEADER, RECORDING, Bench, judging
from scripted_chat import calls, says, scripted_chat

from harness import Judgment, PluginError, Question, StageError, Verdict, registry, to_json
from harness.errors import BudgetExhausted
from harness.json_files import read_json, read_jsonl, write_jsonl
from harness.ledger import Ledger
from harness.records import Choice
from harness.stages import evaluate
from harness.stages.judge import run

LOGGED = '    log: str = option(help="file", changes_result=False)\n'
NOTE = 'with open(self.log, "a") as file:\n    file.write(f"{question.repeat}|{first}|{second}\\n")\n'


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.predictions("candidate", ["a b", "a", "same", "a b c"])
    made.predictions("opponent", ["x", "x y", "same", "x y z"])
    return made


def choices(judgments: list[Judgment]) -> list[tuple[str, bool, Choice]]:
    return [(j.example_id, j.candidate_first, j.verdict.choice) for j in judgments]


# Kinds of judges


def test_a_symmetric_judge_is_asked_once_and_its_word_is_mirrored(bench: Bench) -> None:
    body = NOTE + 'return Verdict("first", preference=0.9)'
    bench.judge(judging(body, head="    symmetric = True\n" + LOGGED))
    receipt = bench.run(options=bench.log)
    assert len(bench.calls()) == 3
    found = [(j.candidate_first, j.verdict.choice, j.verdict.preference) for j in bench.judgments()[:2]]
    assert found == [(True, "first", 0.9), (False, "second", pytest.approx(0.1))]
    assert choices(bench.judgments()[4:6]) == [("id2", True, "tie"), ("id2", False, "tie")]
    assert (receipt["symmetric"], receipt["examples"], receipt["asked"]) == (True, 4, 3)


@pytest.mark.parametrize("said", ["tie", "unparsed"])
def test_a_symmetric_judges_tie_is_a_tie_both_ways(bench: Bench, said: str) -> None:
    bench.judge(judging(f'return Verdict("{said}")', head="    symmetric = True\n"))
    bench.run()
    assert [choice for _, _, choice in choices(bench.judgments()[:2])] == [said, said]


def test_no_verdict_in_one_order_leaves_out_the_pair_and_is_counted(bench: Bench) -> None:
    body = NOTE + 'return None if second == "a" else Verdict("first")'
    bench.judge(judging(body, head=LOGGED))
    receipt = bench.run(options=bench.log)
    assert {j.example_id for j in bench.judgments()} == {"id0", "id2", "id3"}
    assert (receipt["examples"], receipt["not_judged"], receipt["skipped"]) == (3, 1, 0)
    assert (receipt["asked"], receipt["from_cache"]) == (5, 0)
    bench.run(options=bench.log, out="again")
    assert len(bench.calls()) == 7, "only what had no verdict is asked again"


def test_a_judge_in_batches_is_asked_in_chunks_that_are_kept_one_by_one(bench: Bench) -> None:
    bench.pairs(5)
    more = """
    def compare_many(self, pairs):
        with open(self.log, "a") as file:
            file.write(f"{len(pairs)}\\n")
        if (Path(self.log).parent / "broken").exists() and len(Path(self.log).read_text().split()) > 2:
            raise RuntimeError("out of luck")
        return [Verdict("first") for _ in pairs]
"""
    bench.judge(judging("raise AssertionError", head="    batch_size = 4\n" + LOGGED, more=more))
    (bench.folder / "broken").touch()
    with pytest.raises(StageError, match="judge 'mine' failed: RuntimeError: out of luck"):
        bench.run(options=bench.log)
    (bench.folder / "broken").unlink()
    receipt = bench.run(options=bench.log)
    assert bench.calls() == ["4", "4", "2", "2"]
    assert (receipt["asked"], receipt["from_cache"], receipt["examples"]) == (10, 0, 5)


@pytest.mark.parametrize(("cost", "ordered"), [("0.0", True), ("0.01", False)])
def test_a_judge_in_batches_that_is_free_is_asked_by_length(bench: Bench, cost: str, ordered: bool) -> None:
    """Like lengths pad least; one that charges is asked in the order of the draw, which a budget may cut."""
    answers = ["x" * (7 * n % 40) for n in range(40)]
    bench.predictions("candidate", answers)
    bench.predictions("opponent", [f"{answer}." for answer in answers])
    more = f"""
    def compare_many(self, pairs):
        with open(self.log, "a") as file:
            file.writelines(f"{{len(first + second)}}\\n" for _, first, second in pairs)
        return [Verdict("first", cost_usd={cost}) for _ in pairs]
"""
    bench.judge(judging("raise AssertionError", head="    batch_size = 4\n" + LOGGED, more=more))
    assert bench.run(options=bench.log)["asked"] == 80
    lengths = [int(length) for length in bench.calls()][4:]
    assert (lengths == sorted(lengths, reverse=True)) is ordered


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [
        ("[]", "judge 'mine' returned 0 verdicts on 6 pairs; expected one for each"),
        ("None", "judge 'mine' returned None on 6 pairs; expected one for each"),
        ("['first'] * len(pairs)", "judge 'mine' returned 'first'; expected a Verdict"),
    ],
)
def test_a_judge_in_batches_has_a_verdict_for_each_pair(bench: Bench, returned: str, complaint: str) -> None:
    more = f"    def compare_many(self, pairs):\n        return {returned}\n"
    bench.judge(judging("raise AssertionError", head="    batch_size = 8\n", more=more))
    with pytest.raises(StageError, match=complaint):
        bench.run()


def test_a_judge_can_fetch_everything_at_once_before_it_is_asked(bench: Bench) -> None:
    more = """
    def prefetch(self, pairs, progress):
        with open(self.log, "a") as file:
            file.write(f"prefetched {len(pairs)}\\n")
"""
    bench.judge(judging(NOTE + 'return Verdict("tie")', head=LOGGED, more=more))
    bench.run(options=bench.log)
    assert bench.calls()[0] == "prefetched 6"
    assert len(bench.calls()) == 7
    bench.run(options=bench.log, out="again")
    assert len(bench.calls()) == 7, "nothing is fetched where everything is known"


# Opponents and samples


def test_the_reference_answers_are_an_opponent(bench: Bench) -> None:
    bench.judge(RECORDING)
    del bench.inputs["opponent"]
    bench.run(options=bench.log, opponent="reference")
    assert sorted(bench.calls())[:2] == ["question 0|a b|reference 0", "question 0|reference 0|a b"]


def drawn(bench: Bench, out: str, **more: Any) -> list[str]:
    bench.run("length", out=out, **more)
    return list(
        dict.fromkeys(j.example_id for j in read_jsonl(bench.folder / out / "verdicts.jsonl", Judgment))
    )


def test_the_pairs_of_a_round_robin_are_spread_over_the_prompts(bench: Bench) -> None:
    bench.pairs(40)
    place = {"max_pairs": 8, "candidate": "b"}
    one = drawn(bench, "one", opponent="a", **place)
    other = drawn(bench, "other", opponent="base", **place)
    assert len(one) == len(other) == 8
    assert set(one) != set(other)
    assert drawn(bench, "again", opponent="a", **place) == one
    few = drawn(bench, "few", opponent="a", max_prompts=12, **place)
    assert set(few) <= set(drawn(bench, "common", max_prompts=12))


def test_what_a_budget_leaves_is_what_a_smaller_sample_would_ask(bench: Bench) -> None:
    bench.pairs(20)
    bench.judge(judging(NOTE + 'return Verdict("tie", cost_usd=0.5)', head=LOGGED + "    concurrency = 1\n"))
    bench.budget_usd = 3.0
    with pytest.raises(BudgetExhausted, match=r"budget of \$3\.00 is spent .*raise budget_usd"):
        bench.run(options=bench.log)
    assert len(bench.calls()) == 6
    receipt = bench.run(options=bench.log, out="smaller", max_prompts=3)
    assert (len(bench.calls()), receipt["from_cache"]) == (6, 6)
    bench.budget_usd = 100.0
    receipt = bench.run(options=bench.log)
    assert len(bench.calls()) == len(set(bench.calls())) == 40
    assert (receipt["asked"], receipt["cost_usd"]) == (40, 20.0)


def test_a_budget_is_overspent_by_no_more_than_one_verdict_a_worker(bench: Bench) -> None:
    bench.pairs(20)
    bench.judge(RECORDING)
    bench.budget_usd = 3.0
    with pytest.raises(BudgetExhausted):
        bench.run(options=bench.log)
    assert 6 <= len(bench.calls()) <= 6 + 4, "half a dollar each, four at a time"


def test_a_judge_that_costs_nothing_needs_no_budget(bench: Bench) -> None:
    bench.budget_usd = 0.0
    assert bench.run("reference")["cost_usd"] == 0.0


# Controls


def test_controls_ask_about_identical_answers_and_ask_again(bench: Bench) -> None:
    bench.judge(judging(NOTE + 'return Verdict("first")', head=LOGGED))
    receipt = bench.run(options=bench.log, controls=4)
    found = bench.judgments(controls=True)
    assert Counter(j.control for j in found) == {"identical": 4, "repeat": 3}
    assert {j.verdict.choice for j in found} == {"first"}, "a control is not settled without being asked"
    repeated = [call for call in bench.calls() if call.startswith("1|")]
    assert sorted(repeated) == ["1|a b c|x y z", "1|a b|x", "1|a|x y"]
    assert sum("|same|same" in call for call in bench.calls()) == 1
    assert (receipt["asked"], receipt["identical"], receipt["examples"]) == (13, 2, 4)


def test_controls_are_on_the_first_prompts_of_the_draw_and_count_for_nothing(bench: Bench) -> None:
    bench.pairs(12)
    body = 'return Verdict("unparsed", fault="refused") if first == second else Verdict("first")'
    bench.judge(judging(body))
    plain = bench.run(out="plain")
    receipt = bench.run(controls=3)
    first = [j.example_id for j in read_jsonl(bench.folder / "plain/verdicts.jsonl", Judgment)][:6:2]
    assert {j.example_id for j in bench.judgments(controls=True)} == set(first)
    assert bench.judgments() == bench.judgments("plain")
    assert (receipt["unparsed"], receipt["faults"]) == (plain["unparsed"], plain["faults"]) == (0, {})


def test_faults_are_counted_by_kind(bench: Bench) -> None:
    bench.judge(judging('return Verdict("unparsed", fault="cut" if len(first) > 3 else "empty")'))
    receipt = bench.run()
    assert (receipt["unparsed"], receipt["faults"]) == (6, {"cut": 2, "empty": 4})


# Panels


def panel(rule: str = "majority", names: tuple[str, ...] = ("a", "b", "c")) -> Any:
    spec = registry.make_spec(registry.find("judge", "panel"), {"judges": list(names), "rule": rule})
    return registry.create(spec)


F, S, T, U = Verdict("first"), Verdict("second"), Verdict("tie"), Verdict("unparsed", fault="cut")


@pytest.mark.parametrize(
    ("rule", "said", "choice", "preference"),
    [
        ("majority", [F, F, S], "first", None),
        ("majority", [F, S, T], "tie", None),
        ("majority", [T, T, S], "tie", None),
        ("majority", [S, S, U], "second", None),
        ("majority", [F, S, U], "tie", None),
        ("majority", [U, U, S], "second", None),
        ("majority", [U, U, U], "unparsed", None),
        ("mean", [F, F, S], "first", 2 / 3),
        ("mean", [F, S, T], "tie", 0.5),
        ("mean", [F, S, U], "tie", 0.5),
        ("mean", [Verdict("first", preference=0.6), S, S], "second", 0.2),
        ("mean", [Verdict("first", preference=0.7), Verdict("second", preference=0.3), T], "tie", 0.5),
        ("mean", [U, U, U], "unparsed", None),
    ],
)
def test_a_panel_is_what_its_members_say(
    rule: str, said: list[Verdict], choice: str, preference: float | None
) -> None:
    verdict = panel(rule).combine(said)
    assert verdict.choice == choice
    assert verdict.preference == (None if preference is None else pytest.approx(preference))
    assert verdict.reason == ", ".join(f"{n}: {v.choice}" for n, v in zip("abc", said, strict=True))
    assert verdict.fault == ("cut" if choice == "unparsed" else "")


@pytest.mark.parametrize("names", [("a",), ("a", "a")])
def test_a_panel_has_two_members_or_more(names: tuple[str, ...]) -> None:
    with pytest.raises(PluginError, match="two or more judges, each once"):
        panel(names=names)


def test_a_panel_cannot_be_asked_itself() -> None:
    with pytest.raises(StageError, match="combines the verdicts of other judges"):
        panel().compare(Question((), ""), "a", "b")


def test_a_panel_is_made_of_its_members_steps_and_costs_nothing(bench: Bench) -> None:
    for name, said in (("one", "first"), ("two", "tie"), ("three", "first")):
        bench.judge(RECORDING, name)
        bench.run(name, {**bench.log, "reply": said}, out=name, controls=2)
        bench.inputs[f"member {len(bench.inputs) - 2}"] = bench.folder / name
    asked = len(bench.calls())
    receipt = bench.run("panel", {"judges": ["one", "two", "three"]})
    assert len(bench.calls()) == asked
    assert {j.verdict.choice for j in bench.judgments() if j.example_id != "id2"} == {"first"}
    assert bench.judgments()[0].verdict.reason == "one: first, two: tie, three: first"
    assert bench.judgments(controls=True) == []
    spent = ("examples", "identical", "asked", "requests", "from_cache", "prompt_tokens", "cost_usd")
    assert {key: receipt[key] for key in spent} == {**dict.fromkeys(spent, 0), "examples": 4, "identical": 2}


def test_a_panel_has_no_word_where_a_member_has_none(bench: Bench) -> None:
    bench.judge(judging('return None if "a b c" in (first, second) else Verdict("first")'), "shy")
    bench.run("shy", out="shy")
    bench.run("reference", out="reference")
    bench.inputs |= {"member 0": bench.folder / "shy", "member 1": bench.folder / "reference"}
    receipt = bench.run("panel", {"judges": ["shy", "reference"]})
    assert {j.example_id for j in bench.judgments()} == {"id0", "id1", "id2"}
    assert receipt["not_judged"] == 1


def test_a_panel_that_breaks_its_protocol_is_named(bench: Bench) -> None:
    more = '    members = ("a",)\n\n    def combine(self, verdicts):\n        return "first"\n'
    bench.judge(judging("raise AssertionError", more=more))
    bench.run("length", out="a")
    bench.inputs["member 0"] = bench.folder / "a"
    with pytest.raises(StageError, match="judge 'mine' returned 'first'; expected a Verdict"):
        bench.run()


def test_a_panel_that_fails_is_named(bench: Bench) -> None:
    more = '    members = ("a",)\n\n    def combine(self, verdicts):\n        raise SystemExit(1)\n'
    bench.judge(judging("raise AssertionError", more=more))
    bench.run("length", out="a")
    bench.inputs["member 0"] = bench.folder / "a"
    with pytest.raises(StageError, match=r"judge 'mine' failed on example id\d: SystemExit: 1"):
        bench.run()


# A server's replies are kept, however its judge reads them

ASKING = (
    HEADER
    + '''
from dataclasses import field
from harness.chat import ChatServer

@dataclass(frozen=True)
class Asking:
    """Asks a server for one word."""

    base_url: str = option(help="the server")
    server: ChatServer = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        price = {"input": 1000.0, "output": 1000.0}
        server = ChatServer(self.base_url, timeout=10, max_retries=0, price=price)
        object.__setattr__(self, "server", server)

    def compare(self, question, first, second):
        content = f"{question.prompt[0].content}|{first}|{second}"
        reply = self.server.complete(
            {"model": "m", "messages": [{"role": "user", "content": content}]}, sample=question.repeat
        )
        return Verdict({"ONE": "first", "TWO": "second"}.get(reply.text, "unparsed"), raw=reply.text)
'''
)


def test_a_better_parser_reads_the_replies_that_were_paid_for(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    with scripted_chat() as chat:
        chat.plays(says("ONE."))
        bench.judge(ASKING)
        first = bench.run(options={"base_url": chat.url})
        assert (first["unparsed"], first["requests"], len(chat.asked)) == (6, 6, 6)
        bench.judge(ASKING.replace("reply.text, ", 'reply.text.strip("."), '))
        better = bench.run(options={"base_url": chat.url}, out="better")
        assert (better["unparsed"], better["requests"], len(chat.asked)) == (0, 0, 6)
        assert (better["asked"], better["from_cache"], better["cost_usd"]) == (6, 0, 0.0)
    assert first["cost_usd"] > 0
    with Ledger(bench.folder / "ledger.sqlite") as ledger:
        assert ledger.spent("suite").usd == pytest.approx(first["cost_usd"])


def test_a_judge_that_fails_leaves_its_receipt_to_the_next_attempt(bench: Bench) -> None:
    body = NOTE + 'if first == "x y z":\n    raise OSError("gone")\nreturn Verdict("first", cost_usd=0.25)'
    bench.judge(judging(body, head=LOGGED + "    concurrency = 1\n"))
    with pytest.raises(StageError, match="judge 'mine' failed on example id3: OSError: gone"):
        bench.run(options=bench.log)
    spent = 0.25 * (len(bench.calls()) - 1)
    with Ledger(bench.folder / "ledger.sqlite") as ledger:
        assert ledger.spent("suite").usd == pytest.approx(spent)
        assert ledger.spent("suite: out").usd == pytest.approx(spent)


def test_an_artifact_in_the_making_has_the_receipt_of_the_finished_one(bench: Bench) -> None:
    bench.judge(RECORDING)
    (bench.folder / "judge-1.partial").mkdir()
    run(bench.params("mine", bench.log), bench.inputs, bench.folder / "judge-1.partial", lambda *_: None)
    assert bench.run(options=bench.log, out="judge-1")["asked"] == 6


def test_the_answers_of_the_members_come_as_the_stage_writes_them(bench: Bench) -> None:
    """A member's file of another tool is read by its fields, controls apart."""
    (bench.folder / "m").mkdir()
    lines = [Judgment("id0", first, F) for first in (True, False)]
    write_jsonl(bench.folder / "m" / "verdicts.jsonl", [*lines, Judgment("id0", True, S, "repeat")])
    bench.inputs |= {"member 0": bench.folder / "m", "member 1": bench.folder / "m"}
    bench.run("panel", {"judges": ["a", "b"]})
    assert choices(bench.judgments()[:2]) == [("id0", True, "first"), ("id0", False, "first")]


# Evaluators that ask a server


def test_an_evaluator_that_asks_has_ledger_budget_and_receipt(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-none")
    bench.predictions("candidate", [f"answer {n}" for n in range(10)])
    inputs = {"predictions": bench.folder / "candidate"}
    with scripted_chat() as chat:
        chat.plays(calls({"explanation": "so", "grade": 7}, name="give_grade"))
        price = {"input": 1000.0, "output": 5000.0}
        options = {"base_url": chat.url, "price": price, "concurrency": 2, "max_tokens": 20}
        spec = registry.make_spec(registry.find("evaluator", "rubric"), options)

        def run_with(budget: float, out: str) -> dict[str, Any]:
            runtime = {**bench.params("length")["runtime"], "budget_usd": budget}
            (bench.folder / out).mkdir(exist_ok=True)
            params = {"evaluator": to_json(spec), "runtime": runtime}
            evaluate.run(params, inputs, bench.folder / out, lambda *_: None)
            receipt: dict[str, Any] = read_json(bench.folder / out / "evaluator.json")
            return receipt

        with pytest.raises(BudgetExhausted, match="budget"):
            run_with(1.0, "out")
        assert 5 <= len(chat.asked) <= 5 + 2, "a request costs $0.20"
        receipt = run_with(10.0, "out")
        assert len(chat.asked) == 10
        assert (receipt["requests"], receipt["cost_usd"]) == (10, pytest.approx(2.0))
        again = run_with(10.0, "again")
        assert (len(chat.asked), again["requests"], again["cost_usd"]) == (10, 0, 0.0)
