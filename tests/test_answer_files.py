"""Files of answers: what is read as one, which example each answers, what is told of those without use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from answer_rows import ALPACA, EXAMPLES, OTHER, SUM, SYSTEM, TALK, USER, written

from harness.data import answers
from harness.data.examples import make_example
from harness.errors import DataError, InputError
from harness.records import Completion, Example, to_json


def matched(path: Path, examples: list[Example] = EXAMPLES, **options: Any) -> dict[str, str | None]:
    found = answers.answers_to(examples, answers.read(path, **options), path.name)
    return {example_id: completion.text for example_id, completion in found.items()}


OURS = {"example": to_json(SUM), "completion": to_json(Completion("7", 3, "stop")), "sums": None}
TURNS = [{"role": "user", "content": USER.content}, {"role": "assistant", "content": "7"}]
READ = [
    ("our predictions.jsonl", "a.jsonl", [OURS]),
    ("self-instruct's predictions", "a.jsonl", [{"id": "task_1", **ALPACA, "generator": "davinci"}]),
    (
        "AlpacaEval's model_outputs.json",
        "model_outputs.json",
        [{"instruction": "Add the two numbers.\n3 and 4", "output": "7", "generator": "gpt4"}],
    ),
    ("instruction and answer", "a.jsonl", [{"instruction": USER.content, "answer": "7"}]),
    ("prompt and output", "a.jsonl", [{"prompt": f" {USER.content}\n", "output": "7"}]),
    ("a prompt of turns", "a.jsonl", [{"prompt": TURNS[:1], "completion": "7"}]),
    ("question and answer", "a.csv", 'question,answer\n"Add the two numbers. 3 and 4",7\n'),
    ("turns and answer", "a.jsonl", [{"messages": TURNS[:1], "output": "7"}]),
    ("turns with the answer at their end", "a.jsonl", [{"messages": TURNS}]),
    (
        "conversations",
        "a.json",
        [{"conversations": [{"from": "human", "value": USER.content}, {"from": "gpt", "value": "7"}]}],
    ),
    ("the id of the eval example", "a.jsonl", [{"id": SUM.id, "output": "7"}]),
    ("a system message in the file alone", "a.jsonl", [{"id": SUM.id, "system": "Be kind.", **ALPACA}]),
]


@pytest.mark.parametrize(("name", "rows"), [case[1:] for case in READ], ids=[case[0] for case in READ])
def test_a_file_of_answers_is_read_by_its_columns(tmp_path: Path, name: str, rows: Any) -> None:
    found = matched(written(tmp_path, rows, name))
    assert found == {SUM.id: "7", TALK.id: None, OTHER.id: None}


@pytest.mark.parametrize(
    "row",
    [
        {"id": SUM.id, "output": "half \ud800"},
        {"prompt": USER.content, "output": "half \ud800"},
        {"messages": [*TURNS[:1], {"role": "assistant", "content": "half \ud800"}]},
        {"example": to_json(SUM), "completion": to_json(Completion("half \ud800")), "sums": None},
    ],
)
def test_half_a_character_is_replaced_and_costs_no_answer(tmp_path: Path, row: dict[str, Any]) -> None:
    assert matched(written(tmp_path, [row]))[SUM.id] == "half \ufffd"


def test_columns_can_be_named_and_a_format_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, [{"messages": "x", "ask": USER.content, "said": "7", "output": "no"}])
    found = matched(path, wanted="prompt", columns={"prompt": "ask", "output": "said"})
    assert found[SUM.id] == "7"


def test_several_turns_are_one_prompt(tmp_path: Path) -> None:
    turns = [to_json(message) for message in TALK.prompt]
    assert matched(written(tmp_path, [{"messages": turns, "output": "See you"}]))[TALK.id] == "See you"
    assert matched(written(tmp_path, [{"messages": [*turns, TURNS[1]]}]))[TALK.id] == "7"


def test_a_system_message_counts_where_the_file_has_one(tmp_path: Path) -> None:
    told = make_example([SYSTEM, USER], "7")
    examples = [SUM, told]
    without = written(tmp_path, [ALPACA], "without.jsonl")
    assert matched(without, examples) == {SUM.id: "7", told.id: "7"}
    with_one = written(tmp_path, [{**ALPACA, "system": "Be brief.", "output": "seven"}, ALPACA], "with.jsonl")
    assert matched(with_one, examples) == {SUM.id: "7", told.id: "seven"}


def test_an_answer_that_is_not_there_is_missing_and_an_empty_one_is_an_answer(tmp_path: Path) -> None:
    path = written(
        tmp_path, [{**ALPACA, "output": None}, {"instruction": "Which animal barks?", "output": ""}]
    )
    found = answers.answers_to(EXAMPLES, answers.read(path), path.name)
    assert found[SUM.id] == Completion(None, error="missing: the file has null for an answer")
    assert found[TALK.id].error == "missing: answers.jsonl has no answer to this prompt"
    assert found[OTHER.id] == Completion("")


def test_the_same_answer_twice_is_one(tmp_path: Path) -> None:
    assert matched(written(tmp_path, [ALPACA, ALPACA]))[SUM.id] == "7"


def test_equal_prompts_are_told_apart_by_the_ids_of_the_eval_examples(tmp_path: Path) -> None:
    other = make_example([USER], "Seven.")
    rows = [{"id": SUM.id, **ALPACA}, {"id": other.id, **ALPACA, "output": "seven"}]
    path = written(tmp_path, rows)
    assert matched(path, [SUM, other]) == {SUM.id: "7", other.id: "seven"}
    third = make_example([USER], "It is 7.")
    with pytest.raises(DataError, match=r"answers.jsonl:2: another answer than at .*answers.jsonl:1 to the"):
        matched(path, [SUM, third])


MISTAKES = [
    (
        "no prompt of the eval set",
        [{"prompt": "Who?", "output": "Me"}],
        {},
        "a.jsonl: none of its 1 answers is to one of the 3 eval prompts: its first prompt is 'Who?', that of "
        "the eval set 'Add the two numbers. 3 and 4'; give the answers to the prompts of data.eval",
    ),
    (
        "ids of something else",
        [{"id": "task_1", "output": "Me"}],
        {},
        f"its ids are such as 'task_1', those of the eval examples such as '{SUM.id}'",
    ),
    (
        "unknown columns",
        [{"text": "Who?", "said": "Me"}],
        {},
        "a.jsonl: answers need one of messages, conversations, instruction, prompt, question, id, and one of "
        "output, answer, completion, response; the columns are text, said; map yours with columns:",
    ),
    ("no answer", [{"prompt": "Who?"}], {}, "answers need one of"),
    ("a number", [{"prompt": "Who?", "output": 7}], {}, "a.jsonl:1: no answer can be read as prompt: "),
    ("no prompt", [{"prompt": None, "output": "a"}], {}, "a.jsonl:1: no answer can be read as prompt: "),
    ("an unknown role", [{"messages": [{"role": "x", "content": "y"}]}], {}, "can be read as messages: "),
    ("no id", [{"id": "a", "output": "b"}, {"output": "b"}], {}, "a.jsonl:2: no answer can be read as id"),
    ("a broken record", [{"example": {"id": "a"}, "completion": {}}], {}, "can be read as predictions: "),
    ("not ours", [{"a": 1}], {"columns": {"reply": "a"}}, "a.jsonl: columns: unknown name 'reply'; known"),
    ("not theirs", [{"a": 1}], {"columns": {"output": "b"}}, "columns: there is no column 'b' for output"),
    ("another format", [ALPACA], {"wanted": "id"}, "a.jsonl:1: no answer can be read as id: there is no id"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "options", "expected"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES]
)
def test_a_file_that_cannot_be_used_is_told_with_its_place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Any],
    options: Mapping[str, Any],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, rows, "a.jsonl")
    with pytest.raises(InputError) as caught:
        matched(path, **options)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
