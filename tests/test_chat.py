"""A chat server over real sockets: its faults, its limits, and the key that nobody may see."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from scripted_chat import KEY, Answer, Asked, ScriptedChat, completion, error, says

from harness import PluginError, StageError
from harness.chat import Account, ChatServer, RequestRefused, RequestRejected
from harness.chat.throttle import LONGEST_DELAY, Throttle, backoff, retry_after
from harness.ledger import Ledger

pytestmark = pytest.mark.usefixtures("environment")
SOON = {"retry_after_ms": "5"}
HTML = Answer(b"<html>502 Bad gateway</html>", headers={"content-type": "text/html"})


@pytest.fixture
def chat(chat: ScriptedChat) -> ScriptedChat:
    chat.plays(says("yes"))
    return chat


def server(chat: ScriptedChat, ledger: Ledger | None = None, **options: Any) -> ChatServer:
    made = ChatServer(chat.url, **{"timeout": 20.0, "max_retries": 1, **options})
    if ledger is not None:
        made.lend(Account(ledger, "suite"))
    return made


def ask(text: Any = "Well?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": str(text)}], **more}


def said(asked: Asked) -> str:
    return str(asked.body["messages"][0]["content"])


# Faults


@pytest.mark.parametrize(
    ("trouble", "text", "requests"),
    [
        (error(401, f"wrong key {KEY}"), r"401 - wrong key \[OPENAI_API_KEY\]; check OPENAI_API_KEY$", 1),
        (error(401, "wrong key sk-pr**********1f7"), r"wrong key \[OPENAI_API_KEY\]; check", 1),
        (error(403, "not for you"), "403 - not for you; check OPENAI_API_KEY$", 1),
        (error(404, "no such model"), "404 - no such model$", 1),
        (error(400, "no tools here"), "400 - no tools here$", 1),
        (error(429, "no money", "insufficient_quota", **SOON), "gave no answer: .*429 - no money$", 1),
        (error(429, "tomorrow", retry_after="86400"), "it asks to wait 86,400 s, longer than a run waits", 1),
        (error(501, "no tools"), "501 - no tools$", 1),
        (error(429, "slow down", **SOON), "after 1 retries: Error code: 429 - slow down", 2),
        (error(408, **SOON), "after 1 retries: Error code: 408", 2),
        (error(409, **SOON), "after 1 retries: Error code: 409", 2),
        (error(500, **SOON), "after 1 retries: Error code: 500", 2),
        (error(529, **SOON), "after 1 retries: Error code: 529", 2),
        (Answer(HTML.body, 502, {**HTML.headers, "retry-after-ms": "5"}), "502.*Bad gateway", 2),
        (Answer(drop=True), "after 1 retries: Connection error", 2),
        (Answer(says("yes").body, cut=20), "after 1 retries: Connection error", 2),
        (Answer(b"", delay=0.8), "after 1 retries: Request timed out", 2),
        (HTML, "sent no chat completion but '<html>502", 2),
        (Answer(b""), "sent no chat completion but ''", 2),
        (Answer(b'{"choices": ['), "sent no chat completion but", 2),
        (Answer({"choices": []}), "sent no chat completion but", 2),
        (Answer([1]), "sent no chat completion but", 2),
        (Answer({"error": {"message": f"busy {KEY}"}}), r"busy \[OPENAI_API_KEY\]", 2),
    ],
)
def test_a_fault_is_one_line_without_the_key(
    chat: ScriptedChat, ledger: Ledger, trouble: Answer, text: str, requests: int
) -> None:
    chat.plays(trouble)
    asking = server(chat, ledger, timeout=0.4 if trouble.delay else 20.0)
    with pytest.raises(StageError, match=text) as caught:
        asking.complete(ask())
    assert len(chat.asked) == requests
    assert "\n" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert ledger.spent("suite").requests == 0


@pytest.mark.parametrize(
    "trouble",
    [
        error(429, **SOON),
        error(500, **SOON),
        error(503, **SOON),
        Answer(drop=True),
        Answer(says("yes").body, cut=20),
        HTML,
        Answer(b'{"choices": ['),
    ],
    ids=["429", "500", "503", "dropped", "cut", "HTML", "truncated"],
)
def test_what_passes_is_waited_for(chat: ScriptedChat, ledger: Ledger, trouble: Answer) -> None:
    chat.plays(trouble, says("yes"))
    assert server(chat, ledger).complete(ask()).text == "yes"
    assert len(chat.asked) == 2
    assert ledger.spent("suite").requests == 1


@pytest.mark.parametrize(
    ("trouble", "fault"),
    [
        (error(400, "filtered", "content_filter"), "refused"),
        (error(400, "flagged", "invalid_prompt"), "refused"),
        (error(400, "too many", "context_length_exceeded"), "too_long"),
        (error(400, "This model's maximum context length is 4096 tokens."), "too_long"),
        (error(413, "large"), "too_long"),
        (error(429, "Request too large for m on tokens per min", "rate_limit_exceeded"), "too_long"),
    ],
)
def test_a_request_that_is_refused_for_what_it_holds(chat: ScriptedChat, trouble: Answer, fault: str) -> None:
    chat.plays(trouble)
    with pytest.raises(RequestRefused) as caught:
        server(chat).complete(ask())
    assert (caught.value.fault, len(chat.asked)) == (fault, 1)


def test_a_rejection_names_what_it_rejects(chat: ScriptedChat) -> None:
    body = {"error": {"message": "no tools", "code": "unsupported_parameter", "param": "tools"}}
    chat.plays(Answer(body, 400))
    with pytest.raises(RequestRejected) as caught:
        server(chat).complete(ask(tools=[]))
    found = (caught.value.status, caught.value.code, caught.value.parameter)
    assert found == (400, "unsupported_parameter", "tools")


def test_a_text_that_utf_8_cannot_hold_is_sent_without_it(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.plays(says("\ud800 yes"))
    assert server(chat, ledger).complete(ask("what \ud800?")).text == "\ufffd yes"
    assert said(chat.asked[0]) == "what \ufffd?"


def test_reach_asks_for_no_words(chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch) -> None:
    server(chat).reach()
    chat.batches.troubles = [("GET /models", error(404))]
    server(chat).reach()
    chat.batches.troubles = [("GET /models", error(401, KEY))]
    with pytest.raises(StageError, match=r"401 - \[OPENAI_API_KEY\]; check"):
        server(chat).reach()
    assert chat.asked == []
    with pytest.raises(StageError, match=r"http://127\.0\.0\.1:9/v1 gave no answer: Connection error"):
        ChatServer("http://127.0.0.1:9/v1", timeout=5.0, max_retries=3).reach()


@pytest.mark.parametrize("key", ["sk-curly\u201d", "sk-two\nlines"])
def test_a_key_that_can_be_none_is_not_sent(
    chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(PluginError, match="OPENAI_API_KEY holds characters that a key cannot have") as caught:
        server(chat).complete(ask())
    assert key not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"timeout": 0.0}, "timeout and concurrency must be positive"),
        ({"concurrency": 0}, "timeout and concurrency must be positive"),
        ({"max_retries": -1}, "not negative"),
        ({"requests_per_minute": 0}, "requests_per_minute and tokens_per_minute must be positive"),
        ({"tokens_per_minute": -5}, "requests_per_minute and tokens_per_minute must be positive"),
        ({"price": {"input": 1.0}}, "price has exactly the keys input and output"),
        ({"price": {"input": 1.0, "output": float("nan")}}, "price.output is nan"),
        ({"price": {"input": True, "output": 1}}, "price.input is True"),
        ({"price": {"input": 1, "output": -1}}, "price.output is -1"),
    ],
)
def test_options_without_sense_are_refused(chat: ScriptedChat, options: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        server(chat, **options)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "http://[::1/v1", "http://h:port/v1", "https:///v1", " "]
)
def test_an_address_that_can_be_none_is_refused(url: str) -> None:
    asking = ChatServer(url, timeout=1.0, max_retries=0)
    with pytest.raises(PluginError, match=f"no chat server at '{re.escape(url)}'; an address begins with"):
        asking.preflight()
    assert asking.price_of("m") is None


# What a model refuses to be told

MAX_TOKENS = {
    "message": "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead.",
    "code": "unsupported_parameter",
    "param": "max_tokens",
}
TEMPERATURE = {
    "message": "Unsupported value: 'temperature' does not support 0 with this model.",
    "code": "unsupported_value",
    "param": "temperature",
}


def test_parameters_that_a_model_refuses_are_changed_once_and_remembered(
    chat: ScriptedChat, ledger: Ledger
) -> None:
    def particular(asked: Asked) -> Answer:
        for name, fault in (("max_tokens", MAX_TOKENS), ("temperature", TEMPERATURE)):
            if name in asked.body:
                return Answer({"error": fault}, 400)
        return says("yes")

    chat.script = particular
    first = server(chat, ledger)
    request = ask(max_tokens=5, temperature=0.0, seed=1)
    assert first.complete(request).text == "yes"
    assert [sorted(asked.body) for asked in chat.asked] == [
        ["max_tokens", "messages", "model", "seed", "temperature"],
        ["max_completion_tokens", "messages", "model", "seed", "temperature"],
        ["max_completion_tokens", "messages", "model", "seed"],
    ]
    assert first.notes.adjustments("m") == {"max_tokens": "max_completion_tokens", "temperature": None}
    assert ledger.reply(first.reply_key(request)) is not None
    server(chat, ledger).complete(ask("And?", max_tokens=5, temperature=0.0))
    assert len(chat.asked) == 4
    assert first.notes.adjustments("another model") == {}


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        ("Extra inputs are not permitted: max_tokens", 2),
        ("max_tokens is too large: 5. This model supports at most 4", 1),
        ("Unrecognized request argument supplied: tools", 1),
    ],
)
def test_only_a_parameter_that_is_unknown_is_changed(chat: ScriptedChat, fault: str, requests: int) -> None:
    chat.plays(error(400, fault))
    with pytest.raises(RequestRejected):
        server(chat).complete(ask(max_tokens=5))
    assert len(chat.asked) == requests


def test_a_capability_is_remembered_by_server_and_model(chat: ScriptedChat, ledger: Ledger) -> None:
    first = server(chat, ledger)
    assert first.notes.channel("m") is None
    first.notes.set_channel("m", "text")
    assert server(chat, ledger).notes.channel("m") == "text"
    assert server(chat, ledger).notes.channel("n") is None
    assert ChatServer("http://127.0.0.1:9", timeout=1, max_retries=0).notes.channel("m") is None
    alone = server(chat)
    alone.notes.set_channel("m", "tool")
    assert alone.notes.channel("m") == "tool"


# Limits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "3", "retry-after-ms": "40"}, 0.04),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 99 Oct 2015"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_retry_after_may_be_a_date_to_come() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(100, abs=20)


def test_waits_double_and_spread() -> None:
    waits = [[backoff(tries) for _ in range(50)] for tries in range(1, 12)]
    for n, each in enumerate(waits):
        assert all(
            0.75 * min(0.5 * 2**n, LONGEST_DELAY) <= wait <= min(0.5 * 2**n, LONGEST_DELAY) for wait in each
        )
        assert len(set(each)) > 40


def test_the_limit_halves_once_for_each_round_trip_and_grows_back() -> None:
    throttle = Throttle(8)
    tickets = [throttle.enter(1) for _ in range(8)]
    for ticket in tickets:
        throttle.overloaded(ticket, 0.0)
        throttle.leave(ticket)
    assert throttle.limit == 4
    late = throttle.enter(1)
    throttle.overloaded(late, 0.0)
    throttle.leave(late)
    assert throttle.limit == 2
    rounds = 0
    while throttle.limit < 8:
        throttle.succeeded()
        rounds += 1
    assert 25 <= rounds <= 40
    for _ in range(100):
        throttle.succeeded()
    assert throttle.limit == 8


def test_the_limit_never_falls_below_one() -> None:
    throttle = Throttle(2)
    for _ in range(5):
        ticket = throttle.enter(1)
        throttle.overloaded(ticket, 0.0)
        throttle.leave(ticket)
    assert throttle.limit == 1


def test_no_more_requests_in_a_window_than_allowed() -> None:
    throttle = Throttle(8, requests_per_minute=3, window=0.3)
    since = []
    for _ in range(8):
        ticket = throttle.enter(10)
        since.append(ticket.since)
        throttle.leave(ticket, used=10)
    assert all(later - earlier >= 0.3 for earlier, later in zip(since, since[3:], strict=False))


def test_tokens_in_a_window_are_those_used_not_those_guessed() -> None:
    throttle = Throttle(8, tokens_per_minute=100, window=1000.0)
    throttle.leave(throttle.enter(90), used=30)
    with ThreadPoolExecutor(1) as pool:  # a guess of 90 would have left 10
        pool.submit(throttle.enter, 70).result(timeout=30)


def test_a_request_larger_than_the_limit_goes_when_nothing_else_is_counted() -> None:
    throttle = Throttle(8, tokens_per_minute=100, window=0.3)
    first = throttle.enter(1000)
    second = throttle.enter(1000)
    assert second.since - first.since >= 0.3


class Traffic:
    """A script that counts requests in flight at each arrival, and answers after `seconds`."""

    def __init__(self, seconds: float = 0.01) -> None:
        self.seconds = seconds
        self.lock = threading.Lock()
        self.now = 0
        self.in_flight: list[int] = []
        self.at: list[float] = []

    def __call__(self, asked: Asked) -> Answer:
        with self.lock:
            self.now += 1
            self.in_flight.append(self.now)
            self.at.append(time.monotonic())
            number = len(self.at)
        answer = self.answer(number, asked)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return answer

    def answer(self, number: int, asked: Asked) -> Answer:
        return says(said(asked))


def everything(asking: ChatServer, count: int, workers: int) -> list[str]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda n: asking.complete(ask(n)).text, range(count)))


def test_after_a_429_half_as_many_are_in_flight_and_then_all_again(chat: ScriptedChat) -> None:
    first, last = threading.Barrier(8, timeout=60), threading.Barrier(8, timeout=60)

    class Limited(Traffic):
        def answer(self, number: int, asked: Asked) -> Answer:
            if number <= 8:
                first.wait()
                return error(429, **SOON)
            if 80 < number <= 88:
                last.wait()  # passes when eight are in flight at once
            return super().answer(number, asked)

    chat.script = traffic = Limited()
    assert everything(server(chat, concurrency=8, max_retries=3), 80, 8) == [str(n) for n in range(80)]
    assert len(chat.asked) == 88
    assert max(traffic.in_flight[8:12]) <= 4
    assert max(traffic.in_flight[8:16]) <= 5
    assert max(traffic.in_flight) == 8


def test_a_429_pauses_all_threads_for_as_long_as_it_says(chat: ScriptedChat) -> None:
    class Paused(Traffic):
        def answer(self, number: int, asked: Asked) -> Answer:
            return error(429, retry_after="0.6") if number == 4 else super().answer(number, asked)

    chat.script = traffic = Paused(0.05)
    assert len(everything(server(chat, concurrency=4), 24, 4)) == 24
    assert len(chat.asked) == 25
    during = [at for at in traffic.at if 0 < at - traffic.at[3] < 0.6]
    assert len(during) <= 12  # what was sent before the 429 came; without a pause it would be all


def test_no_more_are_in_flight_than_concurrency(chat: ScriptedChat) -> None:
    chat.script = traffic = Traffic()
    everything(server(chat, concurrency=3), 30, 10)
    assert max(traffic.in_flight) == 3


def test_a_request_that_has_bad_luck_is_not_given_up_while_others_are_answered(chat: ScriptedChat) -> None:
    others = threading.Semaphore(0)
    refusals: list[int] = []

    def script(asked: Asked) -> Answer:
        if said(asked) != "unlucky":
            others.release()
            return says("yes")
        if len(refusals) < 4:
            assert others.acquire(timeout=30)
            refusals.append(1)
            return error(429, **SOON)
        return says("at last")

    chat.script = script
    asking = server(chat, max_retries=1, concurrency=2)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asking.complete, ask("unlucky"))
        n = 0
        while not found.done():
            asking.complete(ask(n := n + 1))
    assert found.result().text == "at last"


# Keys


def chain(error_: BaseException | None) -> Iterator[BaseException]:
    while error_ is not None:
        yield error_
        yield from chain(error_.__cause__)
        error_ = error_.__context__


def test_the_key_is_nowhere(
    chat: ScriptedChat, ledger: Ledger, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = json.dumps(says(f"Bearer {KEY}").body).replace("sentinel", "\\u0073entinel").encode()
    found: list[str] = []
    asking = server(chat, ledger, max_retries=0)
    troubles = [error(status, f"{status} {KEY}", KEY) for status in (400, 401, 404, 429, 500)]
    for n, answer in enumerate([*troubles, Answer(f"<p>{KEY}</p>".encode()), Answer(echo), says(KEY)]):
        chat.plays(answer)
        try:
            found.append(repr(asking.complete(ask(n))))
        except StageError as error_:
            found += [repr(vars(each)) + str(each) for each in chain(error_)]
            found += traceback.format_exception(error_)
    assert all(asked.headers["authorization"] == f"Bearer {KEY}" for asked in chat.asked)
    assert len(found) > 8
    assert not [text for text in found if KEY in text]
    assert sum("[OPENAI_API_KEY]" in text for text in found) >= 5
    assert KEY not in caplog.text
    files = [path for path in ledger.path.parent.rglob("*") if path.is_file()]
    assert {"ledger.sqlite", "ledger.sqlite-wal"} <= {path.name for path in files}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_password_in_the_address_is_not_shown(chat: ScriptedChat) -> None:
    url = chat.url.replace("http://", "http://me:hidden-word@")
    asking = ChatServer(url, timeout=5.0, max_retries=0)
    assert asking.name == chat.url
    chat.plays(error(500, "me:hidden-word"))
    with pytest.raises(StageError) as caught:
        asking.complete(ask())
    assert "hidden" not in str(caught.value)


def test_a_word_for_a_key_is_left_in_texts(chat: ScriptedChat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    chat.plays(says("EMPTY is a word"))
    assert server(chat).complete(ask()).text == "EMPTY is a word"


def test_a_server_is_not_used_across_a_fork(chat: ScriptedChat) -> None:
    command = [sys.executable, "-c", FORKED, chat.url]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == f"the connections to {chat.url} were opened before a fork"


FORKED = """
import os, sys
from harness.chat import ChatServer
server = ChatServer(sys.argv[1], timeout=20.0, max_retries=0)
request = {"model": "m", "messages": [{"role": "user", "content": "Well?"}]}
server.complete(request)
if os.fork() == 0:
    try:
        server.complete(request)
    except Exception as error:
        print(error, flush=True)
    os._exit(0)
os.wait()
"""


def test_content_in_other_shapes_is_text(chat: ScriptedChat) -> None:
    function = {"name": "f", "arguments": {"a": 1}}
    chat.plays(completion({"content": [{"text": "x"}], "tool_calls": [{"function": function}]}))
    found = server(chat).complete(ask())
    assert (found.text, found.calls) == ('[{"text": "x"}]', (("f", '{"a": 1}'),))
