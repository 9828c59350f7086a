"""Candidates that are not trained: answers from a file, the references, a constant, a served model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from answer_rows import ALPACA, EXAMPLES, OTHER, SUM, SYSTEM, TALK, USER, written
from commands import harness, results
from scripted_chat import Answer, Asked, ScriptedChat, calls, completion, error, says

from harness import registry
from harness.data.examples import make_example
from harness.errors import InputError, PluginError, StageError
from harness.json_files import read_json, read_jsonl, write_jsonl
from harness.ledger import Account, Ledger
from harness.protocols import Answerer, Decoding, Usage, silent
from harness.records import Example, Message, Prediction, Prompting, to_json
from harness.stages import predict
from harness.suite import load_suite

GREEDY = {"max_new_tokens": 32, "do_sample": False}


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def backend(spelled: str, folder: Path | None = None, **options: Any) -> Any:
    return registry.make_spec(registry.find("backend", spelled), options, folder)


def data_of(tmp_path: Path, examples: list[Example] = EXAMPLES) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(exist_ok=True)
    write_jsonl(folder / "eval.jsonl", examples)
    return folder


def params(spec: Any, generation: Mapping[str, Any] | None = None, **runtime: Any) -> dict[str, Any]:
    return {
        "backend": to_json(spec),
        "model": {"name_or_path": "none", "revision": None, "identity": ""},
        "prompting": to_json(Prompting()),
        "generation": dict(generation or {}),
        "seed": 7,
        "runtime": {"batch_size": 3, **runtime},
    }


def predicted(
    tmp_path: Path, given: dict[str, Any], name: str = "out", examples: list[Example] = EXAMPLES
) -> tuple[list[Prediction], dict[str, Any]]:
    out = tmp_path / name
    out.mkdir(exist_ok=True)
    predict.run(given, {"data": data_of(tmp_path, examples)}, out, silent)
    assert sorted(path.name for path in out.iterdir()) == ["predict.json", "predictions.jsonl"]
    return read_jsonl(out / "predictions.jsonl", Prediction), read_json(out / "predict.json")


def test_outputs_answer_in_the_order_of_the_eval_set_and_score_nothing(tmp_path: Path) -> None:
    rows = [{"instruction": "Which animal barks?", "output": "Dogs."}, ALPACA]
    spec = backend("outputs", tmp_path, path=str(written(tmp_path, rows)))
    found, told = predicted(tmp_path, params(spec))
    assert [(p.example, p.completion.text, p.sums) for p in found] == [
        (SUM, "7", None),
        (TALK, None, None),
        (OTHER, "Dogs.", None),
    ]
    assert (told["failed"], told["failures"], told["scores"]) == (1, {"missing": 1}, False)
    assert (told["tokenizer"], told["device"], told["scored_tokens"], told["cost_usd"]) == (
        None,
        None,
        0,
        None,
    )
    assert told["generated_tokens"] is None
    assert {p.completion.tokens for p in found} == {None}


def test_outputs_that_were_killed_midway_still_match(tmp_path: Path) -> None:
    """What is left to do must not look like a file that answers nothing."""
    spec = backend("outputs", tmp_path, path=str(written(tmp_path, [ALPACA])))
    left_to_right = list(registry.create(spec).answer(EXAMPLES, None))
    assert [completion.text for _, completion in left_to_right] == [None, None, "7"]
    by_id = {example.id: example for example in EXAMPLES}
    lines = [{"seconds": 0.0, "predictions": [Prediction(by_id[i], c)]} for i, c in left_to_right]
    for done in range(len(EXAMPLES)):
        out = tmp_path / f"out{done}"
        out.mkdir()
        write_jsonl(out / predict.PARTIAL, lines[:done])
        found, told = predicted(tmp_path, params(spec), out.name)
        assert [p.completion.text for p in found] == ["7", None, None]
        assert told["failures"] == {"missing": 2}


def test_the_path_of_outputs_counts_by_content_and_starts_at_the_suite(tmp_path: Path) -> None:
    path = written(tmp_path, [ALPACA])
    copy = written(tmp_path, [ALPACA], "copy.jsonl")
    keys = [registry.key_options(backend("outputs", tmp_path, path=p.name)) for p in (path, copy)]
    assert keys[0] == keys[1]
    assert registry.key_options(backend("outputs", tmp_path, path=str(path)))["path"] == keys[0]["path"]
    written(tmp_path, [{**ALPACA, "output": "8"}], "copy.jsonl")
    assert registry.key_options(backend("outputs", tmp_path, path=str(copy))) != keys[0]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("absent.jsonl", None, "there is no file absent.jsonl; check path:"),
        ("a.txt", "x", "a.txt: cannot tell what kind of file this is from '.txt'"),
        ("a.jsonl", "{", "a.jsonl:1: not JSON"),
        ("a.jsonl", '{"a": 1}\n', "a.jsonl: answers need one of"),
    ],
)
def test_a_file_is_looked_at_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError) as caught:
        registry.create(backend("outputs", tmp_path, path=name)).preflight()
    assert str(caught.value).startswith(expected)


def test_the_reference_and_a_constant_are_contestants(tmp_path: Path) -> None:
    found, told = predicted(tmp_path, params(backend("reference")))
    assert [p.completion.text for p in found] == [example.reference for example in EXAMPLES]
    assert (told["failed"], told["scores"]) == (0, False)
    found, _ = predicted(tmp_path, params(backend("constant")), "plain")
    assert len({p.completion.text for p in found}) == 1
    found, _ = predicted(tmp_path, params(backend("constant", text="42")), "own")
    assert {p.completion.text for p in found} == {"42"}


@pytest.mark.parametrize("name", ["outputs", "reference", "constant", "openai"])
def test_what_stands_in_for_a_model_is_an_answerer_that_says_whose_answers_they_are(
    tmp_path: Path, name: str
) -> None:
    options = {
        "outputs": {"path": str(written(tmp_path, [ALPACA]))},
        "openai": {"model": "gpt-3.5-turbo-0613"},
    }
    made = registry.create(backend(name, tmp_path, **options.get(name, {})))
    assert isinstance(made, Answerer)
    assert made.load(None, None, None) is made
    assert made.methods == made.training_keys == frozenset()
    told = {"outputs": "answers.jsonl", "openai": "gpt-3.5-turbo-0613", "constant": "a constant answer"}
    assert made.answers_of == told.get(name, "the reference answers")


SAMPLED = {"max_new_tokens": 256, "do_sample": True, "temperature": 0.6, "top_p": 0.9}
REQUESTS = [
    (GREEDY, {}, {"max_tokens": 32, "temperature": 0.0, "seed": 7}),
    (SAMPLED, {}, {"max_tokens": 256, "temperature": 0.6, "top_p": 0.9, "seed": 7}),
    ({"max_new_tokens": 8, "do_sample": True}, {}, {"max_tokens": 8, "temperature": 1.0, "seed": 7}),
    (
        GREEDY,
        {"request": {"max_tokens": None, "max_completion_tokens": 99, "seed": None, "stop": ["."]}},
        {"max_completion_tokens": 99, "temperature": 0.0, "stop": ["."]},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("generation", "options", "expected"), REQUESTS)
def test_generation_is_translated_into_a_request(
    tmp_path: Path,
    chat: ScriptedChat,
    generation: dict[str, Any],
    options: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    chat.plays(says("7"))
    spec = backend("openai", model="m", base_url=chat.url, **options)
    predicted(tmp_path, params(spec, generation), examples=[SUM])
    (asked,) = chat.asked
    messages = [{"role": "user", "content": USER.content}]
    assert asked.body == {"model": "m", "messages": messages, **expected}


CONVERSATIONS = [
    ([USER], None, [("user", USER.content)]),
    ([USER], "Be kind.", [("system", "Be kind."), ("user", USER.content)]),
    ([SYSTEM, USER], None, [("system", "Be brief."), ("user", USER.content)]),
    ([SYSTEM, USER], "Be kind.", [("system", "Be kind.\n\nBe brief."), ("user", USER.content)]),
    (
        [Message("user", "a"), Message("assistant", "b"), Message("tool", "c")],
        None,
        [("user", "a"), ("assistant", "b"), ("user", "c")],
    ),
]


@pytest.mark.parametrize(("prompt", "system", "expected"), CONVERSATIONS)
def test_the_whole_conversation_is_sent(
    tmp_path: Path, chat: ScriptedChat, prompt: list[Message], system: str | None, expected: list[Any]
) -> None:
    chat.plays(says("7"))
    spec = backend("openai", model="m", base_url=chat.url, system=system)
    predicted(tmp_path, params(spec, GREEDY), examples=[make_example(prompt, "7")])
    assert [(m["role"], m["content"]) for m in chat.asked[0].body["messages"]] == expected


REPLIES: list[tuple[str, Answer, str | None, str, str | None]] = [
    ("an answer", says("7"), "7", "stop", None),
    ("cut", says("7 is", "length"), "7 is", "length", None),
    ("cut before a word", says("", "length"), None, "length", "cut: the limit of tokens was reached"),
    ("empty", says(""), None, "stop", "empty: the server sent no text"),
    ("null", says(None), None, "stop", "empty: the server sent no text"),
    ("a call", calls({"a": 1}), None, "tool_calls", "empty: a function was called in place of an answer"),
    ("refused", completion({"content": None, "refusal": "I won't."}), None, "stop", "refused: I won't."),
    ("stopped", says("7 is", "content_filter"), None, "content_filter", "content filter: the server stopped"),
    ("filtered", error(400, "flagged", "content_filter"), None, "", "content filter: the server does"),
    ("too long", error(400, "4096 at most", "context_length_exceeded"), None, "", "too long: "),
]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "text", "reason", "fault"), [case[1:] for case in REPLIES], ids=[case[0] for case in REPLIES]
)
def test_why_there_is_no_answer_is_told_apart(
    tmp_path: Path, chat: ScriptedChat, answer: Answer, text: str | None, reason: str, fault: str | None
) -> None:
    chat.plays(answer)
    spec = backend("openai", model="m", base_url=chat.url)
    (found,), told = predicted(tmp_path, params(spec, GREEDY), examples=[SUM])
    assert (found.completion.text, found.completion.finish_reason) == (text, reason)
    assert (found.completion.error or "").startswith(fault or "")
    assert told["failures"] == ({fault.partition(":")[0]: 1} if fault else {})
    assert len(chat.asked) == 1


def test_tokens_and_cost_are_those_of_all_answers(tmp_path: Path, chat: ScriptedChat) -> None:
    chat.plays(says("7"))
    spec = backend("openai", model="m", base_url=chat.url, price={"input": 1.5, "output": 2.0})
    found, told = predicted(tmp_path, params(spec, GREEDY))
    cost = (100 * 1.5 + 20 * 2.0) / 1e6
    assert {(p.completion.prompt_tokens, p.completion.tokens) for p in found} == {(100, 20)}
    assert (told["prompt_tokens"], told["generated_tokens"]) == (300, 60)
    assert told["cost_usd"] == pytest.approx(3 * cost)


def test_a_price_that_is_not_known_is_no_zero(
    tmp_path: Path, chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.plays(says("7"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-nobody")
    # A server on a loopback address costs nothing; this address reaches it too, and is none.
    spec = backend("openai", model="m", base_url=chat.url.replace("127.0.0.1", "0.0.0.0"))
    _, told = predicted(tmp_path, params(spec, GREEDY))
    assert told["cost_usd"] is None


def money(tmp_path: Path, budget: float | None = None) -> dict[str, Any]:
    return {"ledger": str(tmp_path / "ledger.sqlite"), "account": "trial", "budget_usd": budget}


def text_of(asked: Asked) -> str:
    return str(asked.body["messages"][-1]["content"])


def test_a_failing_request_fails_the_stage_in_one_line_and_nothing_is_asked_twice(
    tmp_path: Path, chat: ScriptedChat
) -> None:
    broken = True
    chat.script = lambda asked: error(401, "bad key") if broken and text_of(asked) == "Bye" else says("ok")
    spec = backend("openai", model="m", base_url=chat.url, concurrency=1)
    given = params(spec, GREEDY, **money(tmp_path))
    with pytest.raises(StageError, match="bad key") as caught:
        predicted(tmp_path, given)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "predictions.jsonl").exists()
    before = [text_of(asked) for asked in chat.asked]
    broken = False
    found, told = predicted(tmp_path, given)
    after = [text_of(asked) for asked in chat.asked[len(before) :]]
    assert [p.completion.text for p in found] == ["ok", "ok", "ok"]
    assert sorted([*(set(before) - {"Bye"}), *after]) == sorted(e.prompt[-1].content for e in EXAMPLES)
    assert told["failed"] == 0


def test_answers_in_flight_are_kept_when_another_request_fails(tmp_path: Path, chat: ScriptedChat) -> None:
    """Without a ledger, as in a backend's own use: the partial file alone holds them."""
    failed = threading.Event()

    def script(asked: Asked) -> Answer:
        if text_of(asked) == "Bye":
            failed.set()
            return error(401, "bad key")
        failed.wait(30)
        return says("ok")

    chat.script = script
    spec = backend("openai", model="m", base_url=chat.url, concurrency=3)
    with pytest.raises(StageError, match="bad key"):
        predicted(tmp_path, params(spec, GREEDY))
    chat.plays(says("later"))
    found, _ = predicted(tmp_path, params(spec, GREEDY))
    assert [p.completion.text for p in found] == ["ok", "later", "ok"]
    assert len(chat.asked) == 1


def test_another_stage_with_the_same_ledger_pays_nothing_and_has_the_same_costs(
    tmp_path: Path, chat: ScriptedChat
) -> None:
    chat.plays(says("7"))
    spec = backend("openai", model="m", base_url=chat.url, price={"input": 1.5, "output": 2.0})
    first = predicted(tmp_path, params(spec, GREEDY, **money(tmp_path)), "first")
    second = predicted(tmp_path, params(spec, GREEDY, **money(tmp_path)), "second")
    assert len(chat.asked) == len(EXAMPLES)
    assert first[0] == second[0]
    assert first[1]["cost_usd"] == second[1]["cost_usd"] > 0


def test_a_budget_stops_the_stage_and_raised_lets_it_go_on(tmp_path: Path, chat: ScriptedChat) -> None:
    chat.plays(says("7"))
    price = {"input": 1e4, "output": 0.0}  # each answer costs a dollar
    spec = backend("openai", model="m", base_url=chat.url, price=price, concurrency=1)
    with pytest.raises(StageError, match=r"the budget of \$1.50 is spent"):
        predicted(tmp_path, params(spec, GREEDY, **money(tmp_path, 1.5)))
    assert len(chat.asked) == 2
    _, told = predicted(tmp_path, params(spec, GREEDY, **money(tmp_path, 5.0)))
    assert len(chat.asked) == 3
    assert told["cost_usd"] == pytest.approx(3.0)


STAGE = """
import json, sys
from pathlib import Path
from harness.stages import predict
given = json.loads(sys.argv[1])
inputs = {name: Path(folder) for name, folder in given["inputs"].items()}
predict.run(given["params"], inputs, Path(given["out"]), lambda done, total, note="": print(done, flush=True))
"""


@pytest.mark.slow
def test_a_killed_stage_asks_again_for_no_more_than_was_in_flight(
    tmp_path: Path, chat: ScriptedChat, repo: Path
) -> None:
    examples = [make_example([Message("user", f"Say {n}.")], str(n)) for n in range(12)]
    chat.script = lambda asked: Answer(says(f"It is {text_of(asked)}").body, delay=0.3)
    spec = backend("openai", model="m", base_url=chat.url, concurrency=2)
    given = params(spec, GREEDY, **money(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    told = {"params": given, "inputs": {"data": str(data_of(tmp_path, examples))}, "out": str(out)}
    with subprocess.Popen(
        [sys.executable, "-c", STAGE, json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(repo)},
    ) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if int(line) >= 4:
                break
        first.send_signal(signal.SIGKILL)
    chat.script = lambda asked: says(f"It is {text_of(asked)}")
    found, _ = predicted(tmp_path, given, examples=examples)
    assert [p.completion.text for p in found] == [f"It is Say {n}." for n in range(12)]
    assert len(examples) <= len(chat.asked) <= len(examples) + 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"concurrency": 0}, "timeout and concurrency must be positive"),
        ({"requests_per_minute": 0}, "requests_per_minute and tokens_per_minute must be positive"),
        ({"request": {"messages": [], "n": 2}}, "request cannot set messages, n"),
        ({"price": {"input": 1.0}}, "price has exactly the keys input and output"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(PluginError, match=expected):
        backend("openai", model="m", **options)


def test_a_key_is_asked_for_before_any_work() -> None:
    made = registry.create(backend("openai", model="m"))
    with pytest.raises(PluginError, match="OPENAI_API_KEY is not set"):
        made.server.preflight()


def test_answers_depend_on_the_server_and_not_on_haste(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    haste = {"concurrency": 2, "timeout": 1.0, "max_retries": 0, "requests_per_minute": 9}
    spec = backend("openai", model="m", price={"input": 1.0, "output": 2.0}, **haste)
    patient = backend("openai", model="m")
    assert registry.key_options(spec) == registry.key_options(patient)
    assert registry.create(patient).identity() == "server:https://api.openai.com/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:1/v1")
    assert registry.create(patient).identity() == "server:http://localhost:1/v1"


def test_a_setting_that_the_model_refuses_is_an_error_and_not_left_out(
    tmp_path: Path, chat: ScriptedChat
) -> None:
    refusal = Answer(
        {
            "error": {
                "message": "Unsupported value: 'temperature' does not support 0.0 with this model.",
                "type": "invalid_request_error",
                "param": "temperature",
                "code": "unsupported_value",
            }
        },
        400,
    )
    chat.script = lambda asked: refusal if "temperature" in asked.body else says("7")
    spec = backend("openai", model="o", base_url=chat.url)
    with pytest.raises(StageError, match=r"o takes no temperature.* request: \{temperature: null\}"):
        predicted(tmp_path, params(spec, GREEDY))
    without = backend("openai", model="o", base_url=chat.url, request={"temperature": None})
    _, told = predicted(tmp_path, params(without, GREEDY), "without")
    assert told["failed"] == 0


def test_a_server_is_asked_whether_it_would_answer(chat: ScriptedChat) -> None:
    registry.create(backend("openai", model="m", base_url=chat.url)).server.reach()
    with pytest.raises(StageError, match="gave no answer"):
        registry.create(backend("openai", model="m", base_url="http://127.0.0.1:9/v1")).server.reach()


SUITE = """\
model: {model}
data: {{train: data.json, eval: 6}}
candidates:
  gpt: {candidate}
{more}
"""
GPT = "{backend: {openai: {model: gpt-3.5-turbo-0613}}}"


def loaded(
    folder: Path, model: Path, rows: list[dict[str, str]], candidate: str, more: str = ""
) -> dict[str, Any]:
    (folder / "data.json").write_text(json.dumps(rows))
    (folder / "suite.yaml").write_text(SUITE.format(model=model, candidate=candidate, more=more))
    return {candidate.name: candidate for candidate in load_suite(folder / "suite.yaml").candidates}


def test_a_candidate_has_the_generation_that_its_backend_honours(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]]
) -> None:
    more = "generation: {max_new_tokens: 9, num_beams: 2}"
    unset = "{backend: {openai: {model: m}}, generation: {num_beams: null}}"
    found = loaded(tmp_path, tiny_llama, rows, unset, more)
    assert found["base"].generation == {"max_new_tokens": 9, "do_sample": False, "num_beams": 2}
    assert found["gpt"].generation == {"max_new_tokens": 9, "do_sample": False}
    assert loaded(tmp_path, tiny_llama, rows, "{backend: constant}", more)["gpt"].generation == {}


GENERATION_MISTAKES = [
    (
        GPT,
        "generation: {num_beams: 2}",
        "suite.yaml:5:14: generation.num_beams: backend 'openai' does not honour 'num_beams'; it honours "
        "do_sample, max_new_tokens, temperature, top_p; unset it there by num_beams: null",
    ),
    (
        "{backend: {openai: {model: m}}, generation: {do_sample: true, top_k: 5}}",
        "",
        "candidates.gpt.generation.top_k: backend 'openai' does not honour 'top_k'",
    ),
    (
        "{backend: {openai: {model: m}}, generation: {repetition_penalty: 1.2}}",
        "",
        "candidates.gpt.generation.repetition_penalty: backend 'openai' does not honour 'repetition_penalty'",
    ),
    (
        "{backend: constant, generation: {max_new_tokens: 5}}",
        "",
        "candidates.gpt.generation.max_new_tokens: backend 'constant' generates nothing; leave it out",
    ),
    ("{backend: openai}", "", "candidates.gpt.backend.model: missing, needs text"),
]


@pytest.mark.parametrize(("candidate", "more", "expected"), GENERATION_MISTAKES)
def test_generation_that_a_backend_cannot_hand_on_is_refused(
    tmp_path: Path,
    tiny_llama: Path,
    rows: list[dict[str, str]],
    candidate: str,
    more: str,
    expected: str,
) -> None:
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, tiny_llama, rows, candidate, more)
    assert expected in str(caught.value)


def test_what_answers_will_take_is_told_beforehand(tmp_path: Path, chat: ScriptedChat) -> None:
    made = registry.create(
        backend("openai", model="m", base_url=chat.url, price={"input": 1e6, "output": 1e6})
    )
    usage = made.expect(SUM, Decoding(GREEDY))
    assert (usage.requests, usage.completion_tokens) == (1, len(SUM.reference) // 4 + 1)
    assert usage.cost_usd == pytest.approx(usage.prompt_tokens + usage.completion_tokens)
    chat.plays(says("7"))
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        made.server.lend(Account(ledger, "trial", None))
        list(made.answer([SUM], Decoding(GREEDY)))
        assert made.expect(SUM, Decoding(GREEDY)) == Usage(0, 0, 0.0, requests=0)


@pytest.mark.parametrize("name", ["openai", "outputs", "constant"])
def test_every_option_is_documented(repo: Path, name: str) -> None:
    text = (repo / "suites" / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", section, re.MULTILINE))
    options = registry.describe(registry.find("backend", name).cls).options
    if name == "constant":
        assert re.search(r"^\| `constant` \|[^|]*\| `text` \|$", text, re.MULTILINE)
        return
    defaults = {o.name: "" if o.required else f"`{json.dumps(o.default)}`" for o in options}
    assert {key: told[key] for key in defaults} == defaults


BOARD = """\
name: untrained
model: {model}
data: {{train: data.json, eval: 6, validation: 4}}
training: {{max_steps: 1, validation_samples: 0}}
generation: {{max_new_tokens: 8}}
evaluators: [perplexity, chrf]
judges: [{{reference: {{against: reference}}}}]
candidates:
  canary: {{backend: {{constant: {{text: No.}}}}}}
  gpt: {{backend: {{openai: {{model: gpt, base_url: "{url}", price: {{input: 1000, output: 0}}}}}}}}
  reference: {{backend: reference}}
  lora: {{method: lora}}
"""
NO_LIKELIHOODS = {"canary": "constant", "gpt": "openai", "reference": "reference"}


@pytest.mark.slow
def test_on_the_board_what_cannot_be_scored_is_missing_and_unranked(
    tmp_path: Path, tiny_llama: Path, rows: list[dict[str, str]], chat: ScriptedChat
) -> None:
    chat.script = lambda asked: says(None if "barks" in text_of(asked) else "The answer.")
    (tmp_path / "data.json").write_text(json.dumps(rows))
    (tmp_path / "suite.yaml").write_text(BOARD.format(model=tiny_llama, url=chat.url))
    said = harness("run", "suite.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    base, first, *others = results(tmp_path, "untrained")["candidates"]
    assert (base["name"], first["name"], first["rank"]) == ("base", "lora", [1, 1])
    assert [row["rank"] for row in others] == [None, None, None]
    for row in others:
        missing = {"missing": f"backend {NO_LIKELIHOODS[row['name']]} has no likelihoods"}
        assert row["scores"]["perplexity"] == missing
        assert row["scores"]["chrf"]["n"] > 0
        assert not any("counted in tokens" in warning for warning in row["warnings"])
    board = {row["name"]: row for row in others}
    assert board["reference"]["scores"]["chrf"]["value"] == 100
    assert board["gpt"]["model"] == "gpt"
    assert board["gpt"]["costs"]["predict_cost_usd"] == pytest.approx(6 * 0.1)
    assert board["canary"]["costs"]["predict_cost_usd"] is None
    answered = sum("barks" not in text_of(asked) for asked in chat.asked)
    assert board["gpt"]["answers"]["missing"] == 6 - answered
    assert board["gpt"]["win_rates"]["reference"]["n"] == answered
    assert len(chat.asked) == 6
