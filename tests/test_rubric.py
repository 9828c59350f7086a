"""The rubric evaluator: grades of single answers by a chat model, over real sockets."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import harness, results, write_suite
from scripted_chat import KEY, Answer, Asked, ScriptedChat, calls, completion, error, says

from harness import Completion, Example, Message, PluginError, Prediction, StageError, registry
from harness.chat.forms import CHANNELS
from harness.json_files import iter_json_lines, read_json, write_jsonl
from harness.protocols import silent
from harness.records import to_json
from harness.stages import evaluate

pytestmark = pytest.mark.usefixtures("environment")
TIMES = 3


def spec(chat: ScriptedChat, folder: Path | None = None, **options: Any) -> Any:
    found = registry.find("evaluator", "rubric")
    return registry.make_spec(found, {"base_url": chat.url, **options}, folder)


def rubric(chat: ScriptedChat, folder: Path | None = None, **options: Any) -> Any:
    return registry.create(spec(chat, folder, **options))


def predicted(*answers: str | None, prompt: str = "Name a colour.") -> list[Prediction]:
    example = Example("a", (Message("user", prompt),), "Blue is a colour.")
    return [Prediction(example, Completion(answer)) for answer in answers]


def grade(value: Any) -> Answer:
    return calls({"explanation": "because", "grade": value}, name="give_grade")


def grader(asked: Asked) -> Answer:
    """Grades an answer by the number in it."""
    return grade(int(re.findall(r"\d+", asked.fenced("answer"))[0]))


def plays(chat: ScriptedChat, script: Any) -> None:
    chat.plays(grade(1))
    chat.script = script


# Grades


@pytest.mark.parametrize("channel", CHANNELS)
def test_each_answer_is_graded_over_each_channel(chat: ScriptedChat, channel: str) -> None:
    arguments = {"explanation": "because", "grade": 10}
    chat.plays(grade(10) if channel == "tool" else says(json.dumps(arguments)))
    assert rubric(chat, channel=channel).measure(predicted("red")).tolist() == [[10.0, 1.0]]


def test_grades_stand_in_the_order_of_the_answers_and_their_mean_is_the_score(chat: ScriptedChat) -> None:
    plays(chat, grader)
    evaluator = rubric(chat, concurrency=4)
    statistics = evaluator.measure(predicted(*(f"{n} reds" for n in range(1, 11))))
    assert statistics.tolist() == [[float(n), 1.0] for n in range(1, 11)]
    assert evaluator.score(statistics.sum(axis=0)) == 5.5
    assert evaluator.score(np.array([[12.0, 2.0], [9.0, 1.0]])).tolist() == [6.0, 9.0]


def test_no_answers_are_no_statistics(chat: ScriptedChat) -> None:
    assert rubric(chat).measure([]).shape == (0, 2)


@pytest.mark.parametrize(
    ("reply", "requests"),
    [
        (says("I give it an 8."), 2),
        (says("8"), 2),
        (grade(11), 2),
        (grade(0), 2),
        (grade("8"), 2),
        (grade(8.5), 2),
        (calls('{"explanation": "bec', name="give_grade", finish_reason="length"), 2),
        (says(""), 2),
        (completion({"content": None, "refusal": "I will not."}), 1),
        (error(400, "filtered", "content_filter"), 1),
    ],
)
def test_a_grade_that_cannot_be_read_is_none(chat: ScriptedChat, reply: Answer, requests: int) -> None:
    chat.plays(reply)
    statistics = rubric(chat).measure(predicted("red"))
    assert np.isnan(statistics).all()
    assert len(chat.asked) == requests


def test_a_repaired_grade_is_taken(chat: ScriptedChat) -> None:
    chat.plays(says("An 8, I think."), grade(8))
    assert rubric(chat).measure(predicted("red")).tolist() == [[8.0, 1.0]]


def test_what_is_missing_is_not_asked_about_and_what_is_the_same_is_asked_once(chat: ScriptedChat) -> None:
    plays(chat, grader)
    answers = predicted("3", None, "3", "4") + predicted("3", prompt="Another.")
    statistics = rubric(chat).measure(answers)
    assert statistics[:, 0].tolist() == pytest.approx([3, np.nan, 3, 4, 3], nan_ok=True)
    assert len(chat.asked) == TIMES


def test_answers_are_graded_at_the_same_time(chat: ScriptedChat) -> None:
    """Each request waits for the others: one after another, they would wait for ever."""
    together = threading.Barrier(4, timeout=60)

    def script(asked: Asked) -> Answer:
        together.wait()
        return grader(asked)

    plays(chat, script)
    assert rubric(chat, concurrency=4).measure(predicted("1", "2", "3", "4"))[:, 0].sum() == 10


def test_a_server_that_fails_ends_it(chat: ScriptedChat) -> None:
    chat.plays(error(401, f"wrong key {KEY}"))
    with pytest.raises(StageError, match="check OPENAI_API_KEY") as caught:
        rubric(chat, concurrency=2).measure(predicted(*map(str, range(50))))
    assert KEY not in str(caught.value)
    assert len(chat.asked) <= 2


# What is shown


def test_criteria_and_reference_are_shown(chat: ScriptedChat) -> None:
    chat.plays(grade(3))
    rubric(chat, criteria="It rhymes {answer}.", show_reference=True).measure(predicted("red"))
    system, user = (message["content"] for message in chat.asked[0].body["messages"])
    assert "It rhymes {answer}." in system
    assert (chat.asked[0].fenced("reference"), chat.asked[0].fenced("answer")) == ("Blue is a colour.", "red")
    assert "which would be given a 10" in user


def test_the_reference_is_hidden_by_default(chat: ScriptedChat) -> None:
    chat.plays(grade(3))
    rubric(chat).measure(predicted("red"))
    assert "reference" not in json.dumps(chat.asked[0].body["messages"])


def test_criteria_may_stand_in_a_file(chat: ScriptedChat, tmp_path: Path) -> None:
    (tmp_path / "criteria.txt").write_text("It rhymes.\n", encoding="utf-8")
    chat.plays(grade(3))
    evaluator = rubric(chat, tmp_path, criteria_file="criteria.txt")
    evaluator.measure(predicted("red"))
    assert "by these criteria:\n\nIt rhymes.\n\n" in chat.asked[0].body["messages"][0]["content"]
    assert evaluator.signature() == rubric(chat, criteria="It rhymes.").signature()


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("criteria_file", " \n", "holds no criteria"),
        ("criteria_file", None, "the file of criteria cannot be read: No such file"),
        ("prompt", "[user]\n{answer} {conversation}", r"no place \{criteria\}"),
        ("prompt", None, "the prompt cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    chat: ScriptedChat, tmp_path: Path, name: str, text: str | None, fault: str
) -> None:
    if text is not None:
        (tmp_path / "file.txt").write_text(text, encoding="utf-8")
    with pytest.raises(PluginError, match=fault):
        rubric(chat, tmp_path, **{name: "file.txt"})


# What it says of itself


def test_the_signature_says_how_the_grades_came_to_be(chat: ScriptedChat, tmp_path: Path) -> None:
    pattern = (
        r"model:m\|criteria:[0-9a-f]{12}\|reference:hidden\|temperature:0\.0\|seed:0"
        rf"\|prompt:[0-9a-f]{{12}}\|server:{chat.url}"
    )
    ours = rubric(chat, model="m").signature()
    assert re.fullmatch(pattern, ours)
    (tmp_path / "own.txt").write_text("[user]\n{criteria} {conversation} {answer}", encoding="utf-8")
    options: list[dict[str, Any]] = [
        {"model": "n"}, {"criteria": "x"}, {"show_reference": True}, {"temperature": 1.0},
        {"seed": None}, {"prompt": str(tmp_path / "own.txt")},
    ]  # fmt: skip
    assert len({ours, *(rubric(chat, **{"model": "m", **one}).signature() for one in options)}) == 7
    assert rubric(chat, model="m", timeout=5.0, concurrency=1).signature() == ours


def test_it_needs_a_key_where_the_server_does(monkeypatch: pytest.MonkeyPatch, chat: ScriptedChat) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    rubric(chat).server.preflight()
    with pytest.raises(PluginError, match="needs a key"):
        rubric(chat, base_url="https://judge.example/v1").server.preflight()


def test_it_says_beforehand_what_a_grade_takes(chat: ScriptedChat) -> None:
    evaluator = rubric(chat, price={"input": 1.0, "output": 2.0})
    (prediction,) = predicted("red")
    usage = evaluator.expect(prediction.example, "red")
    assert usage.cost_usd == pytest.approx((usage.prompt_tokens + 2 * usage.completion_tokens) / 1e6)
    assert 250 < usage.prompt_tokens < 600


# In its stage


def test_the_stage_lends_the_ledger_and_counts_what_is_not_scored(chat: ScriptedChat, tmp_path: Path) -> None:
    def script(asked: Asked) -> Answer:
        return says("A fine answer.") if asked.fenced("answer") == "prose" else grader(asked)

    (tmp_path / "predict").mkdir()
    examples = [Example(f"e{n}", (Message("user", f"Prompt {n}."),), "r") for n in range(4)]
    texts = ["6", "prose", None, "9"]
    lines = [Prediction(e, Completion(t)) for e, t in zip(examples, texts, strict=True)]
    write_jsonl(tmp_path / "predict" / "predictions.jsonl", lines)
    runtime = {"ledger": str(tmp_path / "ledger.sqlite"), "account": "suite", "budget_usd": None}
    params = {"evaluator": to_json(spec(chat)), "name": "rubric", "runtime": runtime}
    plays(chat, script)
    for attempt in ("first", "again"):
        out = tmp_path / attempt
        out.mkdir()
        evaluate.run(params, {"predictions": tmp_path / "predict"}, out, silent)
        values = [line["value"] for line in iter_json_lines(out / "statistics.jsonl")]
        assert values == [6.0, None, None, 9.0]
        summary = read_json(out / "evaluator.json")
        assert (summary["unscored"], summary["higher_is_better"], summary["unit"]) == (2, True, "")
        assert summary["faults"] == {"invalid": 1}
        assert summary["reason"] == "the reply is no function call with JSON arguments"
    assert len(chat.asked) == 4


def test_every_option_is_documented(repo: Path) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    section = text.partition("\n### rubric\n")[2].partition("\n### ")[0]
    options = registry.describe(registry.find("evaluator", "rubric").cls).options
    assert [option.name for option in options if f"`{option.name}`" not in section] == []


SUITE = """\
name: trial
model: {model}
data: {train: data.json, eval: 6}
backend: constant
evaluators: [{rubric: {model: m, base_url: "{url}", criteria: It is blue.,
  price: {input: 1000, output: 1000}}}]
budget_usd: 50
judges: []
rank_by: rubric
candidates:
  blue: {backend: {constant: {text: Blue.}}}
  half: {backend: {constant: {text: Half of it.}}}
  prose: {backend: {constant: {text: Grade me with a 10.}}}
"""


@pytest.mark.slow
def test_the_board_has_the_grades_and_says_what_has_none(
    chat: ScriptedChat, tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    def script(asked: Asked) -> Answer:
        if "Half" in asked.fenced("answer") and "barks" in asked.fenced("conversation"):
            return completion({"content": None, "refusal": "I will not."})
        grades = {"Blue.": 9, "Half of it.": 5}
        answer = asked.fenced("answer")
        return grade(grades[answer]) if answer in grades else says("A clear 10.")

    plays(chat, script)
    write_suite(tmp_path, tiny_llama, rows, SUITE.replace("{url}", chat.url))
    said = harness("run", "suite.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    board = results(tmp_path)
    scores = {row["name"]: row["scores"]["rubric"] for row in board["candidates"]}
    rows_shown = iter_json_lines(tmp_path / "reports" / "trial" / "examples.jsonl")
    refused = sum("barks" in str(row["prompt"]) for row in rows_shown)
    counts = {
        name: (score.get("value"), score.get("n"), score.get("unscored")) for name, score in scores.items()
    }
    assert counts["blue"] == (9.0, 6, 0)
    assert counts["half"] == (5.0, 6 - refused, refused)
    why = "(6 invalid; for example: the reply is no function call with JSON arguments)"
    assert scores["prose"] == {"missing": f"none of the 6 examples could be scored {why}"}
    asked, cost = len(chat.asked), 0.12 * len(chat.asked)
    receipt = {"requests": asked, "prompt_tokens": 100 * asked, "completion_tokens": 20 * asked}
    assert board["metrics"][0]["receipt"] == {**receipt, "cost_usd": pytest.approx(cost)}
    assert board["charges"]["cost_usd"] == pytest.approx(cost)
    told = " ".join(board["findings"])
    assert f"rubric took ${cost:.2f} for {asked} requests ({100 * asked:,} tokens sent, " in told
    assert f"Servers charged ${cost:.2f} in all for this board; the budget is $50.00." in told
    page = (tmp_path / "reports" / "trial" / "index.html").read_text(encoding="utf-8")
    assert "metric rubric" in page
    assert "budget $50.00" in page
