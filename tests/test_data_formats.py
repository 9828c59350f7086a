"""Recognising columns, and turning rows into Examples."""

from __future__ import annotations

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.conversion import Unusable, load, to_example
from harness.data.examples import make_example, prompt_key, unique_ids
from harness.data.formats import COLUMNS, FORMATS, MEANINGFUL, Layout, detect
from harness.data.sources import SourceSpec
from harness.errors import DataError
from harness.records import Message

RECOGNISED = [
    ("instruction input output", {}, "alpaca", {"input": "input"}),
    ("instruction output text id", {}, "alpaca", {"output": "output"}),
    ("instruction context response category", {}, "alpaca", {"input": "context", "output": "response"}),
    ("instruction response", {}, "alpaca", {"output": "response"}),
    ("instruction input output response", {}, "alpaca", {"output": "output"}),
    ("prompt completion", {}, "prompt_completion", {"prompt": "prompt"}),
    ("question answer", {}, "prompt_completion", {"prompt": "question", "completion": "answer"}),
    ("input output", {}, "prompt_completion", {"prompt": "input", "completion": "output"}),
    ("query response system", {}, "prompt_completion", {"prompt": "query", "system": "system"}),
    ("prompt prompt_id messages", {}, "messages", {"messages": "messages"}),
    ("conversations tools system", {}, "conversations", {"tools": "tools", "system": "system"}),
    ("q a", {"prompt": "q", "completion": "a"}, "prompt_completion", {"prompt": "q", "completion": "a"}),
    ("q a", {"instruction": "q", "output": "a"}, "alpaca", {"instruction": "q", "output": "a"}),
    ("q output", {"instruction": "q"}, "alpaca", {"instruction": "q", "output": "output"}),
    ("dialogue", {"messages": "dialogue"}, "messages", {"messages": "dialogue"}),
    ("instruction output chat", {"messages": "chat"}, "messages", {"messages": "chat"}),
    ("instruction output q a", {"prompt": "q", "completion": "a"}, "prompt_completion", {"prompt": "q"}),
    ("output input", {"instruction": "output", "output": "input"}, "alpaca", {"instruction": "output"}),
]


@pytest.mark.parametrize(("columns", "mapping", "format_", "read"), RECOGNISED)
def test_recognised(columns: str, mapping: dict[str, str], format_: str, read: dict[str, str]) -> None:
    layouts = [detect(order, mapping=mapping) for order in permutations(columns.split())]
    assert {layout.format for layout in layouts} == {format_}
    for layout in layouts:
        assert read.items() <= layout.columns.items()
        assert len(set(layout.columns.values())) == len(layout.columns)
        assert layout.columns == layouts[0].columns


REFUSED = [
    (
        "text label",
        "auto",
        {},
        r"columns not recognised: the columns are text, label; recognised are alpaca: ",
    ),
    ("", "auto", {}, r"the columns are \(none\)"),
    (
        "question context answer",
        "auto",
        {},
        r"map yours with columns: \{prompt: question, completion: answer\}",
    ),
    ("prompt chosen rejected", "auto", {}, r"columns: \{prompt: prompt, completion: \.\.\.\}"),
    ("question answer response", "auto", {}, "columns not recognised"),
    (
        "prompt completion messages",
        "auto",
        {},
        "could be prompt_completion and messages; choose with format:",
    ),
    ("instruction output", "messages", {}, r"columns do not make format messages: .*\{messages: \.\.\.\}"),
    ("instruction output", "sharegpt", {}, "unknown format 'sharegpt'; known are auto, alpaca"),
    (
        "instruction answer",
        "auto",
        {"output": "anser"},
        "no column 'anser' for output; did you mean 'answer'",
    ),
    ("x y", "auto", {"output": "answer"}, "no column 'answer' for output; it has x, y"),
    ("x y", "auto", {"instruction": "x", "output": "x"}, "columns: 'x' is mapped twice"),
    ("x y", "auto", {"response": "y"}, "columns: unknown name 'response'; known are instruction"),
    ("instruction x y", "auto", {"messages": "x", "prompt": "y"}, "columns not recognised"),
]


@pytest.mark.parametrize(("columns", "wanted", "mapping", "message"), REFUSED)
def test_refused(columns: str, wanted: str, mapping: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        detect(columns.split(), wanted=wanted, mapping=mapping, where="d.csv")
    assert str(caught.value).startswith("d.csv: ")
    assert "\n" not in str(caught.value)


OTHERS = st.lists(st.text(max_size=8).filter(lambda name: name not in MEANINGFUL.union(COLUMNS)), unique=True)


@given(st.sampled_from(sorted(FORMATS)), OTHERS, st.data())
def test_columns_that_mean_nothing_do_not_matter(name: str, others: list[str], data: st.DataObject) -> None:
    columns = data.draw(st.permutations([*FORMATS[name].required, *others]))
    assert detect(columns) == Layout(name, {ours: ours for ours in FORMATS[name].required})


@given(st.sampled_from(sorted(FORMATS)), st.lists(st.text(), min_size=4, max_size=9, unique=True), st.data())
def test_a_mapping_finds_any_column(name: str, columns: list[str], data: st.DataObject) -> None:
    theirs = data.draw(st.permutations(columns))
    mapping = dict(zip(FORMATS[name].required, theirs, strict=False))
    layout = detect(columns, wanted=name, mapping=mapping)
    assert mapping.items() <= layout.columns.items()


USER, ANSWER, SYSTEM = Message("user", "Hi"), Message("assistant", "Hello"), Message("system", "Be kind.")
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello"}
KIND = {"role": "system", "content": "Be kind."}
SAID = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
CALL = [
    {"from": "human", "value": "Age?"},
    {"from": "function_call", "value": '{"name": "age"}'},
    {"from": "observation", "value": "31"},
    {"from": "gpt", "value": "You are 31."},
]
CONVERTED: dict[str, tuple[str, dict[str, Any], list[Message]]] = {
    "alpaca": ("alpaca", {"instruction": "Hi", "output": "Hello"}, [USER]),
    "empty input": ("alpaca", {"instruction": "Hi", "input": " ", "output": "Hello"}, [USER]),
    "null input": ("alpaca", {"instruction": "Hi", "input": None, "output": "Hello"}, [USER]),
    "input": (
        "alpaca",
        {"instruction": "Add.", "input": "1, 2", "output": "Hello"},
        [Message("user", "Add.\n\n1, 2")],
    ),
    "system column": (
        "alpaca",
        {"instruction": "Hi", "output": "Hello", "system": "Be kind."},
        [SYSTEM, USER],
    ),
    "texts": ("prompt_completion", {"prompt": "Hi", "completion": "Hello"}, [USER]),
    "message lists": ("prompt_completion", {"prompt": [KIND, HI], "completion": [HELLO]}, [SYSTEM, USER]),
    "list and text": ("prompt_completion", {"prompt": [KIND, HI], "completion": "Hello"}, [SYSTEM, USER]),
    "messages": ("messages", {"messages": [HI, HELLO]}, [USER]),
    "as JSON text": ("messages", {"messages": json.dumps([HI, HELLO])}, [USER]),
    "turns after the answer": ("messages", {"messages": [HI, HELLO, HI, KIND]}, [USER]),
    "several turns": ("messages", {"messages": [HI, HELLO, HI, HELLO]}, [USER, ANSWER, USER]),
    "developer": ("messages", {"messages": [KIND | {"role": "developer"}, HI, HELLO]}, [SYSTEM, USER]),
    "other keys": ("messages", {"messages": [HI | {"weight": 1}, HELLO | {"from": None}]}, [USER]),
    "conversations": ("conversations", {"conversations": SAID}, [USER]),
    "roles of messages in conversations": ("conversations", {"conversations": [HI, HELLO]}, [USER]),
    "two system texts": (
        "messages",
        {"messages": [KIND, HI, HELLO], "system": "Be brief."},
        [Message("system", "Be brief.\n\nBe kind."), USER],
    ),
    "tools": (
        "conversations",
        {"conversations": SAID, "system": "Be kind.", "tools": '[{"name": "age"}]'},
        [Message("system", 'Be kind.\n\nTools:\n[{"name": "age"}]'), USER],
    ),
    "tools as values": (
        "messages",
        {"messages": [HI, HELLO], "tools": [{"name": "âge"}]},
        [Message("system", 'Tools:\n[{"name": "âge"}]'), USER],
    ),
    "no tools": ("conversations", {"conversations": SAID, "system": None, "tools": "[]"}, [USER]),
}


@pytest.mark.parametrize(("name", "row", "prompt"), CONVERTED.values(), ids=CONVERTED)
def test_converted(name: str, row: dict[str, Any], prompt: list[Message]) -> None:
    example = to_example(row, detect(list(row), wanted=name))
    assert list(example.prompt) == prompt
    assert example.reference == "Hello"
    assert example == make_example(prompt, "Hello")


def test_function_calls_are_turns() -> None:
    example = to_example({"conversations": CALL}, detect(["conversations"]))
    assert [turn.role for turn in example.prompt] == ["user", "assistant", "tool"]
    assert example.reference == "You are 31."


UNUSABLE: list[tuple[str, dict[str, Any], str]] = [
    ("alpaca", {"instruction": "Hi", "output": ""}, "empty answer"),
    ("alpaca", {"instruction": "Hi", "output": " \n"}, "empty answer"),
    ("alpaca", {"instruction": "Hi", "output": None}, "output is missing"),
    ("alpaca", {"instruction": "Hi", "output": 42}, "output is not a string"),
    ("alpaca", {"instruction": ["Hi"], "output": "x"}, "instruction is not a string"),
    ("alpaca", {"instruction": "Hi", "input": 3, "output": "x"}, "input is not a string"),
    ("alpaca", {"instruction": " ", "output": "x"}, "empty prompt"),
    ("alpaca", {"instruction": "\ud800", "output": "x"}, "text with a lone surrogate"),
    ("prompt_completion", {"prompt": {"a": 1}, "completion": "x"}, "prompt is not a string"),
    ("prompt_completion", {"prompt": [KIND], "completion": "x"}, "empty prompt"),
    ("prompt_completion", {"prompt": [HI], "completion": []}, "no assistant turn"),
    ("messages", {"messages": []}, "no assistant turn"),
    ("messages", {"messages": [HI]}, "no assistant turn"),
    ("messages", {"messages": [HELLO]}, "empty prompt"),
    ("messages", {"messages": None}, "messages is not a list of turns"),
    ("messages", {"messages": "Hi there"}, "messages is not a list of turns"),
    ("messages", {"messages": ["Hi", "Hello"]}, "messages is not a list of turns"),
    (
        "messages",
        {"messages": [HI, {"role": "assistant", "content": None}]},
        "messages: content is not a string",
    ),
    ("messages", {"messages": [HI, {"role": "bot", "content": "x"}]}, "messages: unknown role 'bot'"),
    ("messages", {"messages": [HI, {"content": "x"}]}, "messages: unknown role 'None'"),
    ("conversations", {"conversations": [*SAID, {"from": "gpt"}]}, "conversations: value is not a string"),
]


@pytest.mark.parametrize(("name", "row", "reason"), UNUSABLE)
def test_unusable(name: str, row: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        to_example(row, detect(list(row), wanted=name))
    assert str(caught.value) == reason


def test_unusable_rows_are_counted_with_their_first_place(tmp_path: Path) -> None:
    rows = [("Hi", "Hello"), ("Hi", ""), ("Hi", 3), ("Ho", "Hello"), ("Hi", "")]
    path = tmp_path / "d.jsonl"
    path.write_text("".join(json.dumps({"prompt": a, "completion": b}) + "\n" for a, b in rows))
    loaded = load(SourceSpec(str(path)))
    assert len(loaded.examples) == 2
    assert loaded.summary() == {
        "path": "d.jsonl",
        "format": "prompt_completion",
        "columns": {"prompt": "prompt", "completion": "completion"},
        "rows": 5,
        "unusable": 3,
        "reasons": {
            "empty answer": {"rows": 2, "first": "d.jsonl:2"},
            "completion is not a string": {"rows": 1, "first": "d.jsonl:3"},
        },
    }


def test_no_usable_row(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("prompt,completion\na,\nb\n")
    with pytest.raises(DataError) as caught:
        load(SourceSpec(str(path)))
    assert str(caught.value).endswith(
        "d.csv: none of the 2 rows is usable as prompt_completion: empty answer (1, first d.csv:2), "
        "completion is missing (1, first d.csv:3); mend the rows or map other columns with columns:"
    )


def test_places_in_a_folder_hold_no_path_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.csv").write_text("prompt,completion\nHi,Hello\n")
    (folder / "b.csv").write_text("prompt,completion\nHi,Hello\nHi,\n")
    summary = load(SourceSpec(str(folder))).summary()
    assert summary["path"] == "mine"
    assert summary["reasons"] == {"empty answer": {"rows": 1, "first": "mine/b.csv:3"}}


def test_ids_come_from_content() -> None:
    one, other = make_example([USER], "Hello"), make_example([USER], "Hello!")
    assert one.id != other.id
    assert one.id == make_example([Message("user", "Hi")], "Hello").id
    # Pinned: a changed id would break every cache and every comparison with an older run.
    assert one.id == "bf1007ff50d0"
    assert [e.id for e in unique_ids([one, other, one, one])] == [
        one.id,
        other.id,
        f"{one.id}-2",
        f"{one.id}-3",
    ]


SAME = [
    ("What is AI?", "what is  ai"),
    ("“Hello,” she said…", '"hello" she said'),
    ("It's a well-known fact", "its a wellknown fact"),
    ("ＡＢＣ １２", "abc 12"),
    ("STRASSE", "straße"),
    ("snake_case", "snake case"),
]
DIFFERENT = [
    ("3 + 4", "3 * 4"),
    ("-5", "5"),
    ("3.5", "3 5"),
    ("1,000", "1 000"),
    ("Write C code", "Write C++ code"),
    ("👍", "👎"),
    ("你好吗", "你好"),
    ("???", "!!!"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_same_prompts(one: str, other: str) -> None:
    assert prompt_key((Message("user", one),)) == prompt_key((SYSTEM, Message("user", other)))


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_prompts(one: str, other: str) -> None:
    assert prompt_key((Message("user", one),)) != prompt_key((Message("user", other),))


@pytest.mark.parametrize(
    ("name", "turns"),
    [
        ("alpaca_gpt4_999.json", {"user"}),
        ("gsm8k_1000.jsonl", {"user"}),
        ("conversations_300.json", {"system", "user", "assistant", "tool"}),
        ("self_instruct_252.jsonl", {"user"}),
    ],
)
def test_real_files(shared: Path, name: str, turns: set[str]) -> None:
    loaded = load(SourceSpec(str(shared / "data" / name)))
    assert len(loaded.examples) == loaded.rows
    assert {turn.role for example in loaded.examples for turn in example.prompt} == turns
    assert all(example.prompt[-1].role in {"user", "tool"} for example in loaded.examples)
