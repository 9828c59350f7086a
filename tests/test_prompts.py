"""The prompts that judges and metrics tell of are those that a model gets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted_chat import KEY, ScriptedChat, calls, says, verdict

from harness import registry
from harness.errors import InputError
from harness.evaluators.rubric import Rubric
from harness.records import Completion, Example, Message, Prediction, Question
from harness.suite import load_suite

QUESTION = Question((Message("user", "Name a colour {nonce} of the sky."),), "Blue {answer_1}.")
ANSWERS = ("It is {conversation} blue.", "Green.")
PLACE = re.compile(r"\\\{\w+\\\}")


def made(kind: str, name: str, **options: Any) -> Any:
    return registry.create(registry.make_spec(registry.find(kind, name), options))


def fits(template: str, sent: str) -> bool:
    """Whether a text is the template with something in each of its places."""
    pattern = PLACE.sub(lambda _: ".+?", re.escape(template))
    return re.fullmatch(pattern, sent, re.DOTALL) is not None


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("show_reference", [False, True])
@pytest.mark.parametrize("channel", ["tool", "text"])
def test_a_judge_tells_what_it_sends(chat: ScriptedChat, channel: str, show_reference: bool) -> None:
    judge = made("judge", "gpt4", base_url=chat.url, channel=channel, show_reference=show_reference)
    words = json.dumps({"explanation": "because", "choice": "tie"})
    replies = [says("hm"), verdict("tie") if channel == "tool" else says(words)]
    chat.script = lambda _: replies.pop(0)
    assert judge.compare(QUESTION, *ANSWERS).choice == "tie"
    body, told = chat.asked[-1].body, judge.prompts
    how = {"tool": "by function call", "text": "as text"}[channel]
    system, user, reply, again = body["messages"]
    assert fits(told["system"], system["content"])
    assert fits(f"{told['user']}\n\n{told[f'end of the last turn, {how}']}", user["content"])
    assert ("{reference}" in told["user"]) == show_reference
    assert reply["content"] == "hm"
    assert fits(told[f"after an unusable reply, {how}"], again["content"])
    form = json.loads(told["form"])
    if channel == "tool":
        (tool,) = body["tools"]
        assert {**form, "strict": True} == tool["function"]
    assert len(told) == 5


@pytest.mark.usefixtures("environment")
def test_a_metric_tells_what_it_sends(chat: ScriptedChat) -> None:
    metric: Rubric = made("evaluator", "rubric", base_url=chat.url, criteria="It is {answer} blue.")
    chat.script = lambda _: calls({"explanation": "because", "grade": 7}, name="give_grade")
    example = Example("e", QUESTION.prompt, QUESTION.reference)
    assert metric.measure([Prediction(example, Completion("Blue."))]).tolist() == [[7.0, 1.0]]
    system, user = chat.asked[0].body["messages"]
    assert fits(metric.prompts["system"], system["content"])
    assert "It is {answer} blue." in metric.prompts["system"]
    last = metric.prompts["end of the last turn, by function call"]
    assert fits(f"{metric.prompts['user']}\n\n{last}", user["content"])


@pytest.mark.parametrize("options", [{}, {"tie": True}, {"show_reference": True}])
def test_a_model_of_this_machine_tells_what_it_is_shown(options: dict[str, Any]) -> None:
    judge = made("judge", "local", model="someone/judge", **options)
    assert fits(judge.prompts["user"], judge._content(QUESTION, *ANSWERS))
    assert "{choices}" not in judge.prompts["user"]
    assert judge.prompts["replies"].split("\n") == ["1", "2", "tie"][: 3 if options.get("tie") else 2]


@pytest.mark.usefixtures("environment")
def test_a_prompt_of_ones_own_is_told_without_its_path_or_the_key(tmp_path: Path) -> None:
    path = tmp_path / "private.txt"
    path.write_text("[user]\n{conversation} A\n\n[assistant]\nyes?\n\n[user]\n{answer_1} {answer_2}\n")
    judge = made("judge", "gpt4", prompt=str(path), base_url="http://127.0.0.1:1/v1")
    told = judge.prompts
    turns = {"user 1": "{conversation} A", "assistant": "yes?", "user 2": "{answer_1} {answer_2}"}
    assert {name: told[name] for name in turns} == turns
    assert not any(secret in text for text in told.values() for secret in (str(tmp_path), "private", KEY))


JUDGE = '''\
from dataclasses import dataclass

from harness import Question, Verdict


@dataclass(frozen=True)
class Own:
    """Asks nobody."""

    @property
    def prompts(self):
        return {value}

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        return Verdict("tie")
'''


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('{"system": None}', "judge 'own' has no readable prompts: AttributeError"),
        ('"text"', "judge 'own' has no readable prompts: ValueError"),
        ("1 / 0", "judge 'own' has no readable prompts: ZeroDivisionError: division by zero"),
    ],
)
def test_prompts_that_cannot_be_read_are_told_before_any_work(
    tmp_path: Path, tiny_llama: Path, value: str, fault: str
) -> None:
    suite = _suite(tmp_path, tiny_llama, value)
    with pytest.raises(InputError, match=re.escape(fault)) as raised:
        load_suite(suite)
    assert "suite.yaml:4:" in str(raised.value)


def test_half_a_character_in_a_prompt_is_replaced(tmp_path: Path, tiny_llama: Path) -> None:
    (judge,) = load_suite(_suite(tmp_path, tiny_llama, '{"user": "a \\ud800 b"}')).judges
    assert judge.prompts == {"user": "a \ufffd b"}
    json.dumps(dict(judge.prompts), ensure_ascii=False).encode()


def _suite(folder: Path, model: Path, value: str) -> Path:
    (folder / "judges").mkdir()
    (folder / "judges" / "own.py").write_text(JUDGE.replace("{value}", value))
    (folder / "data.json").write_text(json.dumps([{"instruction": "a", "output": "b"}] * 4))
    suite = folder / "suite.yaml"
    text = f"name: s\nmodel: {model}\ndata: {{train: data.json}}\njudges: [own]\ncandidates: {{a: {{}}}}\n"
    suite.write_text(text)
    return suite
