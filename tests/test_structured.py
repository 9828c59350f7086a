"""A small JSON object out of a chat model: forms, channels, the ladder of failures; prompt files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_chat import KEY, Answer, Asked, ScriptedChat, calls, completion, error, says

from harness import PluginError, StageError, Verdict
from harness.chat import ChatServer
from harness.chat.forms import CHANNELS, TEXT, Channel, Form, Unusable
from harness.chat.prompts import read_prompt
from harness.chat.structured import Outcome, ask, expected_usage, first_request, reread
from harness.ledger import Account, Ledger

pytestmark = pytest.mark.usefixtures("environment")
FORM = Form(
    "give_grade",
    "Grade it.",
    {"why": TEXT, "grade": {"type": "integer", "enum": [1, 2, 3]}},
)
RANGED = Form(
    "measure",
    "Measure it.",
    {
        "length": {"type": "number", "minimum": 0, "maximum": 9.5},
        "sure": {"type": "boolean"},
        "count": {"type": "integer", "minimum": 1},
    },
)
GOOD = {"why": "because", "grade": 2}
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "Grade this."}], "temperature": 0.0}


def server(chat: ScriptedChat, **options: Any) -> ChatServer:
    return ChatServer(chat.url, **{"timeout": 20.0, "max_retries": 0, **options})


def graded(**arguments: Any) -> Answer:
    return calls(arguments or GOOD, name="give_grade")


def as_text(value: Any) -> Answer:
    return says(value if isinstance(value, str) else json.dumps(value))


# Forms


def test_a_form_is_a_strict_schema_in_the_order_it_was_written() -> None:
    assert list(FORM.schema["properties"]) == ["why", "grade"]
    assert FORM.schema["required"] == ["why", "grade"]
    assert FORM.schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("form", "sketch"),
    [
        (FORM, '{"why": "...", "grade": 1 or 2 or 3}'),
        (
            RANGED,
            '{"length": <number from 0 to 9.5>, "sure": <boolean>, "count": <integer from 1>}',
        ),
    ],
)
def test_a_form_can_be_written_down(form: Form, sketch: str) -> None:
    assert form.sketch == sketch


@pytest.mark.parametrize(
    ("form", "text", "values"),
    [
        (FORM, '{"why": "", "grade": 1}', {"why": "", "grade": 1}),
        (FORM, ' {"grade": 3, "why": "a\\nb"}\n', {"why": "a\nb", "grade": 3}),
        (
            RANGED,
            '{"length": 0, "sure": false, "count": 12}',
            {"length": 0, "sure": False, "count": 12},
        ),
        (
            RANGED,
            '{"length": 9.5, "sure": true, "count": 1}',
            {"length": 9.5, "sure": True, "count": 1},
        ),
    ],
)
def test_valid_arguments_are_read(form: Form, text: str, values: dict[str, Any]) -> None:
    assert form.read(text) == values


@pytest.mark.parametrize(
    ("form", "text", "reason"),
    [
        (FORM, "", "no function call with JSON arguments"),
        (FORM, "3", "not exactly why and grade"),
        (FORM, "[]", "not exactly why and grade"),
        (FORM, '"grade 3"', "not exactly why and grade"),
        (FORM, '{"why": "x", "grade": 3', "no function call"),
        (FORM, '{"why": "x", "grade": 3} {}', "no function call"),
        (FORM, 'Sure! {"why": "x", "grade": 3}', "no function call"),
        (FORM, '{"why": "x", "grade": 3, "grade": 1}', "no function call"),
        (FORM, '{"why": "x", "grade": NaN}', "no function call"),
        (FORM, "[" * 100_000, "no function call"),
        (FORM, '{"why": "x", "grade": ' + "9" * 10_000 + "}", "no function call"),
        (FORM, '{"why": "x"}', "not exactly why and grade"),
        (FORM, '{"why": "x", "grade": 3, "note": ""}', "not exactly why and grade"),
        (FORM, '{"why": "x", "grade": 4}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": "x", "grade": "3"}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": "x", "grade": 3.0}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": "x", "grade": true}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": "x", "grade": null}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": "x", "grade": [3]}', "grade is not one of 1, 2, 3"),
        (FORM, '{"why": null, "grade": 3}', "why is not of type string"),
        (RANGED, '{"length": true, "sure": true, "count": 1}', "length is not of type number"),
        (RANGED, '{"length": 1, "sure": 1, "count": 1}', "sure is not of type boolean"),
        (RANGED, '{"length": 1, "sure": true, "count": 1.0}', "count is not of type integer"),
        (RANGED, '{"length": 10, "sure": true, "count": 1}', "length is not between 0 and 9.5"),
        (RANGED, '{"length": 1, "sure": true, "count": 0}', "count is not between 1 and inf"),
        (RANGED, '{"length": 1e999, "sure": true, "count": 1}', "length is not between"),
    ],
)
def test_nothing_else_is_read(form: Form, text: str, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        form.read(text)


def test_a_form_s_wording_tells_all_that_changes_what_a_model_is_told() -> None:
    other = [
        Form("give_mark", FORM.description, FORM.properties),
        Form(FORM.name, "Mark it.", FORM.properties),
        Form(FORM.name, FORM.description, dict(reversed(FORM.properties.items()))),
        Form(FORM.name, FORM.description, FORM.properties, strict=False),
    ]
    assert len({form.wording for form in [FORM, *other]}) == 5


# Channels


@pytest.mark.parametrize(
    ("channel", "sent", "told"),
    [
        ("tool", {"tools", "tool_choice"}, "Reply with one call of the function give_grade"),
        ("json_schema", {"response_format"}, 'no other text: {"why": "...", "grade": 1 or 2 or 3}'),
        ("text", set(), 'no other text: {"why": "...", "grade": 1 or 2 or 3}'),
    ],
)
def test_each_channel_asks_in_its_way(
    chat: ScriptedChat, channel: Channel, sent: set[str], told: str
) -> None:
    chat.plays(graded() if channel == "tool" else as_text(GOOD))
    assert ask(server(chat), FORM, REQUEST, channel=channel).values == GOOD
    body = chat.asked[0].body
    assert set(body) == {"model", "messages", "temperature", *sent}
    assert body["messages"][0]["content"].startswith("Grade this.\n\n")
    assert told in body["messages"][0]["content"]


def test_a_tool_is_forced_and_a_schema_is_strict(chat: ScriptedChat) -> None:
    chat.plays(graded())
    ask(server(chat), FORM, REQUEST, channel="tool")
    body = chat.asked[0].body
    assert body["tool_choice"] == {"type": "function", "function": {"name": "give_grade"}}
    (tool,) = body["tools"]
    assert (tool["function"]["strict"], tool["function"]["parameters"]) == (True, FORM.schema)
    ask(server(chat), FORM, REQUEST, channel="json_schema")
    sent = chat.asked[-1].body["response_format"]["json_schema"]
    assert sent == {"name": "give_grade", "strict": True, "schema": FORM.schema}


def knows(*channels: Channel, status: int = 400) -> Any:
    """The script of a server that rejects all but these channels, naming what it does not know."""

    def script(asked: Asked) -> Answer:
        if "tools" in asked.body and "tool" not in channels:
            return error(status, "this model does not support tools")
        if "response_format" in asked.body and "json_schema" not in channels:
            return error(status, "Unknown parameter: 'response_format'")
        return graded() if "tools" in asked.body else as_text(GOOD)

    return script


@pytest.mark.parametrize("status", [400, 404, 422, 501])
@pytest.mark.parametrize(
    ("channels", "found", "requests"),
    [
        (("tool",), "tool", 1),
        (("json_schema",), "json_schema", 2),
        ((), "text", 3),
    ],
)
def test_a_server_is_asked_by_the_first_channel_it_takes_and_that_is_remembered(
    chat: ScriptedChat, channels: tuple[Channel, ...], found: str, requests: int, status: int
) -> None:
    chat.plays(graded())
    chat.script = knows(*channels, status=status)
    asked = server(chat)
    outcome = ask(asked, FORM, REQUEST)
    assert outcome.values == GOOD
    assert json.loads(outcome.raw)[0]["channel"] == found
    assert len(chat.asked) == requests
    ask(asked, FORM, {**REQUEST, "seed": 1})
    assert len(chat.asked) == requests + 1
    with_schema = "response_format" in first_request(asked, FORM, REQUEST, "auto")
    assert with_schema is (found == "json_schema")


def test_what_a_server_takes_is_remembered_by_the_ledger_for_each_model(
    chat: ScriptedChat, tmp_path: Path
) -> None:
    chat.plays(graded())
    chat.script = knows()
    for model, requests in (("m", 3), ("m", 1), ("other", 3)):
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            asked = server(chat)
            asked.lend(Account(ledger, "test", None))
            chat.asked.clear()
            ask(asked, FORM, {**REQUEST, "model": model, "seed": requests})
        assert len(chat.asked) == requests


@pytest.mark.parametrize("channel", ["tool", "json_schema"])
def test_a_channel_that_was_chosen_is_not_left(chat: ScriptedChat, channel: Channel) -> None:
    chat.plays(graded())
    chat.script = knows()
    with pytest.raises(StageError, match=r"not support tools|response_format"):
        ask(server(chat), FORM, REQUEST, channel=channel)
    assert len(chat.asked) == 1


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        (error(400, "roles must alternate"), "roles must alternate"),
        (error(404, "no such model"), "no such model"),
        (error(401, "who are you"), "who are you"),
    ],
)
def test_a_fault_that_has_nothing_to_do_with_the_channel_is_told(
    chat: ScriptedChat, trouble: Answer, text: str
) -> None:
    chat.plays(trouble)
    with pytest.raises(StageError, match=text):
        ask(server(chat), FORM, REQUEST)
    assert len(chat.asked) == 1


# The ladder


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize(
    "reply",
    [
        graded(),
        as_text(GOOD),
        as_text(f"\n{json.dumps(GOOD)}\n"),
        as_text(f"```json\n{json.dumps(GOOD)}\n```"),
        as_text(f"```\n{json.dumps(GOOD)}\n```\n"),
        completion({"content": "", "tool_calls": graded().body["choices"][0]["message"]["tool_calls"]}),
    ],
)
def test_a_valid_reply_is_taken_whatever_it_came_as(
    chat: ScriptedChat, channel: Channel, reply: Answer
) -> None:
    chat.plays(reply)
    outcome = ask(server(chat), FORM, REQUEST, channel=channel)
    assert (outcome.values, outcome.fault, outcome.reason) == (GOOD, "", "")
    assert len(chat.asked) == 1


FAULTY = [
    (as_text("I would give it a 3."), "invalid", "no function call"),
    (as_text(f"Here it is: {json.dumps(GOOD)}"), "invalid", "no function call"),
    (as_text(f"```json\n{json.dumps(GOOD)}\n```\nor\n```json\n{json.dumps(GOOD)}\n```"), "invalid", "no fun"),
    (as_text("``````"), "invalid", "no function call"),
    (as_text("```"), "invalid", "no function call"),
    (calls('{"why": "because", "gra', name="give_grade"), "invalid", "no function call"),
    (graded(grade=3), "invalid", "not exactly why and grade"),
    (graded(why="x", grade=7), "invalid", "grade is not one of"),
    (calls(GOOD, name="other"), "invalid", "not one call of give_grade"),
    (calls(GOOD, GOOD, name="give_grade"), "invalid", "not one call of give_grade"),
    (says(""), "empty", "the reply is empty"),
    (says(None), "empty", "the reply is empty"),
    (says(" \n"), "empty", "the reply is empty"),
    (says("", "length"), "cut", "cut off at max_tokens"),
    (says('{"why": "bec', "length"), "cut", "cut off at max_tokens"),
    (calls('{"why": "bec', name="give_grade", finish_reason="length"), "cut", "cut off"),
]


@pytest.mark.parametrize(("reply", "fault", "reason"), FAULTY)
def test_a_reply_that_is_not_the_form_is_asked_for_once_more_and_kept(
    chat: ScriptedChat, reply: Answer, fault: str, reason: str
) -> None:
    chat.plays(reply)
    outcome = ask(server(chat, price={"input": 1, "output": 2}), FORM, REQUEST)
    assert (outcome.values, outcome.fault) == (None, fault)
    assert reason in outcome.reason
    assert (len(chat.asked), len(json.loads(outcome.raw))) == (2, 2)
    assert (outcome.prompt_tokens, outcome.completion_tokens) == (200, 40)
    assert outcome.cost_usd == pytest.approx(280e-6)


@pytest.mark.parametrize(("reply", "fault", "reason"), FAULTY)
@pytest.mark.parametrize("channel", CHANNELS)
def test_a_repair_that_succeeds_is_taken(
    chat: ScriptedChat, channel: Channel, reply: Answer, fault: str, reason: str
) -> None:
    chat.plays(reply, as_text(GOOD))
    outcome = ask(server(chat), FORM, REQUEST, channel=channel)
    assert (outcome.values, outcome.fault) == (GOOD, "")
    first, second = (asked.body["messages"] for asked in chat.asked)
    assert second[: len(first)] == first
    assistant, user = second[len(first) :]
    assert (assistant["role"], user["role"]) == ("assistant", "user")
    assert assistant["content"]
    assert reason in user["content"]
    assert user["content"].startswith("That reply cannot be used: ")
    assert user["content"].endswith('{"why": "...", "grade": 1 or 2 or 3}')


@pytest.mark.parametrize(
    ("reply", "fault", "reason"),
    [
        (completion({"content": None, "refusal": "I will not."}), "refused", "refused: I will not."),
        (says("", "content_filter"), "refused", "stopped by a content filter"),
        (error(400, "filtered", "content_filter"), "refused", "content filter"),
        (error(400, "too many tokens", "context_length_exceeded"), "too_long", "context"),
    ],
)
def test_what_is_refused_is_not_asked_again(
    chat: ScriptedChat, reply: Answer, fault: str, reason: str
) -> None:
    chat.plays(reply)
    outcome = ask(server(chat), FORM, REQUEST)
    assert (outcome.values, outcome.fault, len(chat.asked)) == (None, fault, 1)
    assert reason in outcome.reason


def test_a_repair_that_is_too_long_is_told_as_such(chat: ScriptedChat) -> None:
    chat.plays(as_text("prose"), error(400, "too many tokens", "context_length_exceeded"))
    outcome = ask(server(chat), FORM, REQUEST)
    assert (outcome.fault, outcome.prompt_tokens) == ("too_long", 100)
    assert json.loads(outcome.raw)[0]["text"] == "prose"


def test_a_server_that_fails_in_the_middle_is_no_outcome(chat: ScriptedChat) -> None:
    chat.plays(as_text("prose"), error(401, "no"))
    with pytest.raises(StageError):
        ask(server(chat), FORM, REQUEST)


@pytest.mark.parametrize(
    ("reply", "kept"),
    [
        (as_text(f"{KEY} is your key"), "[OPENAI_API_KEY] is your key"),
        (says("\ud800x"), "x"),
        (completion({"content": None, "refusal": f"no, {KEY}"}), "no, [OPENAI_API_KEY]"),
        (calls(f'{{"why": "{KEY}"', name="give_grade"), '{"why": "[OPENAI_API_KEY]"'),
    ],
)
def test_raw_holds_what_was_said_without_the_key(chat: ScriptedChat, reply: Answer, kept: str) -> None:
    chat.plays(reply)
    outcome = ask(server(chat), FORM, REQUEST)
    assert kept in outcome.raw.replace("\\", "") or kept in json.dumps(json.loads(outcome.raw))
    assert KEY not in outcome.raw
    assert KEY not in outcome.reason
    outcome.raw.encode("utf-8")
    assert all(KEY not in json.dumps(asked.body) for asked in chat.asked)


def test_a_sample_is_asked_for_itself_and_nothing_is_asked_twice(chat: ScriptedChat, tmp_path: Path) -> None:
    chat.plays(as_text("prose"), graded(), graded(why="again", grade=3))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        asked = server(chat)
        asked.lend(Account(ledger, "test", None))
        outcomes = [ask(asked, FORM, REQUEST, sample=sample) for sample in (0, 0, 1)]
    assert [outcome.values for outcome in outcomes] == [GOOD, GOOD, {"why": "again", "grade": 3}]
    assert outcomes[0].raw == outcomes[1].raw
    assert len(chat.asked) == 3


# Reading again


@pytest.mark.parametrize("reply", [graded(), *(reply for reply, _, _ in FAULTY)])
def test_what_was_kept_is_read_again_to_the_same_end(chat: ScriptedChat, reply: Answer) -> None:
    chat.plays(reply)
    before = ask(server(chat), FORM, REQUEST)
    again = reread(FORM, before.raw)
    assert again == Outcome(before.values, before.raw, before.fault, before.reason)


def test_a_better_form_reads_what_an_earlier_one_could_not() -> None:
    raw = json.dumps([{"text": "sorry"}, {"calls": [["give_grade", json.dumps({"why": "", "grade": 4})]]}])
    assert reread(FORM, raw).fault == "invalid"
    wider = Form(FORM.name, FORM.description, {"why": TEXT, "grade": {"type": "integer"}})
    assert reread(wider, raw).values == {"why": "", "grade": 4}


@pytest.mark.parametrize(
    ("raw", "values", "fault"),
    [
        ("", None, "empty"),
        ("[]", None, "empty"),
        ("I say 3", None, "invalid"),
        ('{"a": 1}', None, "invalid"),
        ("[1]", None, "invalid"),
        ('[{"unknown": 1}]', None, "invalid"),
        (json.dumps(GOOD), GOOD, ""),
    ],
)
def test_any_text_can_be_read_again(raw: str, values: Any, fault: str) -> None:
    outcome = reread(FORM, raw)
    assert (outcome.values, outcome.fault) == (values, fault)


def test_an_outcome_becomes_a_verdict() -> None:
    choices = {1: "first", 2: "tie", 3: "second"}
    found = Outcome(GOOD, "raw", "", "", 5, 6, 0.5)
    assert found.verdict(choices, choice="grade", explanation="why") == Verdict(
        "tie", "because", "raw", 5, 6, 0.5
    )
    lost = Outcome(None, "raw", "cut", "the reply was cut off", 5, 6, None)
    assert lost.verdict(choices, choice="grade", explanation="why") == Verdict(
        "unparsed", "the reply was cut off", "raw", 5, 6, None, fault="cut"
    )


def test_what_requests_will_take_is_guessed_from_their_length(chat: ScriptedChat) -> None:
    asked = server(chat, price={"input": 2.0, "output": 10.0})
    short = expected_usage(asked, FORM, [REQUEST])
    longer = {**REQUEST, "messages": [{"role": "user", "content": "x" * 4000}], "max_tokens": 50}
    more = expected_usage(asked, FORM, [REQUEST, longer])
    assert 900 < more.prompt_tokens - 2 * short.prompt_tokens < 1100
    assert (short.completion_tokens, more.completion_tokens) == (150, 200)
    assert more.cost_usd == pytest.approx((2 * more.prompt_tokens + 10 * more.completion_tokens) / 1e6)


# Prompt files

PROMPT = """\
[system]
Judge by {criteria}.

[user]
Q: {question}

The reference:
{reference}

A: {answer}
"""


def prompt_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "prompt.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_prompt_file_is_turns_with_places(tmp_path: Path) -> None:
    prompt = read_prompt(
        prompt_file(tmp_path, PROMPT), once=("criteria", "question", "answer"), optional=["reference"]
    )
    values = {
        "criteria": "{answer}",
        "question": "one\n\ntwo {criteria}",
        "answer": "[user]\n",
        "reference": "R",
    }
    system, user = prompt.messages(values)
    assert system == {"role": "system", "content": "Judge by {answer}."}
    assert user["content"] == "Q: one\n\ntwo {criteria}\n\nThe reference:\nR\n\nA: [user]\n"
    without = prompt.messages({**values, "reference": None})[1]["content"]
    assert without == "Q: one\n\ntwo {criteria}\n\nA: [user]\n"


def test_a_prompt_s_digest_is_that_of_its_turns(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return read_prompt(prompt_file(tmp_path, text), once=["a"]).digest

    assert digest("[user]\n{a}") == digest("\n[user]\n\n{a}\n\n") != digest("[user]\nOr {a}")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff", "the prompt cannot be read: it is not UTF-8"),
        ("{a} {b}", r":1: the prompt begins with no turn; open each turn with a line \[system\]"),
        ("Hello\n[user]\n{a} {b}", ":1: the prompt begins with no turn"),
        ("", ":1: the prompt begins with no turn"),
        ("[user]\n{a} {b}\n[assistant]\nyes", "ends in a turn of the assistant"),
        ("[user]\n{a}", r"no place \{b\}; it needs \{a\}, \{b\}"),
        ("[user]\n{a} {b}\n{a}", r":3: \{a\} occurs twice"),
        ("[user]\n\n{a} {b} {extr}", r":3: unknown place \{extr\}; did you mean 'extra'"),
    ],
)
def test_a_prompt_file_that_cannot_be_used_says_why(tmp_path: Path, text: str | bytes, fault: str) -> None:
    with pytest.raises(PluginError, match=fault) as caught:
        read_prompt(prompt_file(tmp_path, text), once=("a", "b"), optional=("extra",))
    assert "\n" not in str(caught.value)


def test_a_prompt_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"none\.txt: the prompt cannot be read: No such file"):
        read_prompt(tmp_path / "none.txt", once=())
