"""A server that nobody should trust: it echoes secrets, miscounts, never ends, and points elsewhere."""

from __future__ import annotations

import gzip
import json
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from scripted_chat import Answer, ScriptedChat, error, says, scripted_chat

from harness import StageError
from harness.chat import Account, ChatServer, RequestRejected
from harness.chat.purse import Purse
from harness.chat.replies import Tokens, tokens_used
from harness.chat.transport import LARGEST_REPLY
from harness.errors import BudgetExhausted, StoreError
from harness.ledger import Ledger

pytestmark = pytest.mark.usefixtures("environment")
LONG_KEY = "eyJ/" + "aB3dE5gH7jK9" * 20
PRICE = {"input": 1000.0, "output": 1000.0}


def server(chat: ScriptedChat, ledger: Ledger | None = None, **options: Any) -> ChatServer:
    made = ChatServer(chat.url, **{"timeout": 20.0, "max_retries": 0, "price": PRICE, **options})
    if ledger is not None:
        made.lend(Account(ledger, "suite", 5.0))
    return made


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "Well?"}], **more}


def failure(asking: ChatServer, request: dict[str, Any] | None = None) -> str:
    with pytest.raises(StageError) as caught:
        asking.complete(request or ask())
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Secrets


@pytest.mark.parametrize(
    "echo",
    [
        lambda key: f"{'x' * 60} {key} tail".encode(),
        lambda key: f"{'x' * 60} {key.upper()} tail".encode(),
        lambda key: json.dumps(f"{'x' * 20} {key}").encode(),
        lambda key: json.dumps(["x" * 20, key]).encode(),
        lambda key: json.dumps({"error": f"{'x' * 20} {key}"}).encode(),
        lambda key: json.dumps({"error": {"message": f"{'x' * 100} {key}"}}).encode(),
        lambda key: json.dumps([key]).replace("/", "\\/").encode(),
    ],
    ids=["text", "other case", "JSON text", "list", "error text", "error", "escaped"],
)
@pytest.mark.parametrize("status", [200, 400, 500])
def test_a_long_key_is_redacted_before_a_message_is_cut(
    monkeypatch: pytest.MonkeyPatch, chat: ScriptedChat, echo: Any, status: int
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", LONG_KEY)
    chat.plays(Answer(echo(LONG_KEY), status, {"content-type": "text/plain"}))
    shown = failure(server(chat)).casefold()
    assert "[openai_api_key" in shown
    assert "ab3de5" not in shown


@pytest.mark.parametrize("status", [200, 400])
def test_what_a_server_says_can_be_written_to_a_file(chat: ScriptedChat, status: int) -> None:
    chat.plays(Answer(b'{"error": {"message": "half \\ud800 a pair"}}', status))
    failure(server(chat)).encode()


# Counts of tokens


def body(usage: str) -> bytes:
    """A completion whose usage is this text."""
    reply = says("yes").body
    return json.dumps({**reply, "usage": "USAGE"}).replace('"USAGE"', usage).encode()


IMPOSSIBLE = [
    '{"prompt_tokens": -1000000, "completion_tokens": -5}',
    '{"prompt_tokens": 10, "completion_tokens": -1000000}',
    '{"prompt_tokens": 1e999, "completion_tokens": 5}',
    '{"prompt_tokens": 1e300, "completion_tokens": 5}',
    f'{{"prompt_tokens": {10**30}, "completion_tokens": 5}}',
    f'{{"prompt_tokens": 1{"0" * 5000}, "completion_tokens": 5}}',
    '{"prompt_tokens": NaN, "completion_tokens": 5}',
    '{"prompt_tokens": 1.5, "completion_tokens": 5}',
    '{"prompt_tokens": true, "completion_tokens": 5}',
    '{"prompt_tokens": "many", "completion_tokens": 5}',
    '{"prompt_tokens": [1], "completion_tokens": 5}',
    "[1]",
    '"much"',
]


@pytest.mark.parametrize("usage", IMPOSSIBLE, ids=lambda usage: usage[:40])
def test_a_usage_that_cannot_be_counts_as_none(chat: ScriptedChat, ledger: Ledger, usage: str) -> None:
    chat.plays(Answer(body(usage)))
    asking = server(chat, ledger)
    first = asking.complete(ask())
    again = server(chat, ledger).complete(ask())
    assert (first.text, again.text, len(chat.asked)) == ("yes", "yes", 1)
    assert (first.prompt_tokens, first.completion_tokens) == (0, 0)
    spent = ledger.spent("suite")
    assert spent.requests == 1
    assert 0 < spent.usd < 1
    assert first.cost_usd == again.cost_usd == spent.usd


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, Tokens(10, 5)),
        ({"prompt_tokens": 10.0, "completion_tokens": None}, Tokens(10, 0)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 4}}, Tokens(10, 0, 4)),
        ({"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": -(10**7)}}, Tokens(10, 0)),
        ({"prompt_tokens": 10, "prompt_tokens_details": [1]}, Tokens(10, 0)),
        ({"prompt_tokens": 0, "completion_tokens": 5}, None),
        ({}, None),
    ],
)
def test_the_usage_of_a_completion(usage: Any, tokens: Tokens | None) -> None:
    assert tokens_used({"usage": usage}) == tokens


def test_an_impossible_cost_in_an_old_ledger_is_computed_anew(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger)
    old = json.loads(body('{"prompt_tokens": -8000, "completion_tokens": 0}'))
    ledger.add_reply(asking.reply_key(ask()), {"completion": old, "cost_usd": -8.0})
    cost = asking.complete(ask()).cost_usd
    assert cost is not None
    assert cost > 0
    assert chat.asked == []


# A ledger that somebody has written into


@pytest.mark.parametrize("entry", [{}, {"completion": 1, "cost_usd": 0}, {"completion": {}, "cost_usd": 0}])
def test_a_kept_reply_that_is_none_names_the_ledger(chat: ScriptedChat, ledger: Ledger, entry: Any) -> None:
    asking = server(chat, ledger)
    ledger.add_reply(asking.reply_key(ask()), entry)
    with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used: the entry .* is no chat"):
        asking.complete(ask())


@pytest.mark.parametrize("note", ["{", "[1]", "[" * 100_000])
def test_a_broken_note_names_the_ledger(chat: ScriptedChat, ledger: Ledger, note: str) -> None:
    asking = server(chat, ledger)
    with closing(sqlite3.connect(ledger.path)) as connection, connection:
        connection.execute("INSERT INTO notes VALUES (?, ?)", (f"parameters|{asking.name}|m", note))
    with pytest.raises(StoreError, match=r"ledger\.sqlite cannot be used: the note parameters\|"):
        asking.complete(ask())


# Replies without end


def test_the_timeout_holds_for_the_whole_reply(chat: ScriptedChat) -> None:
    chat.plays(Answer(b" " * 1000, drip=0.1))
    started = time.monotonic()
    assert failure(server(chat, timeout=0.5)).endswith("Request timed out. the reply takes too long")
    assert time.monotonic() - started < 30


def test_a_late_reply_that_is_whole_is_taken(chat: ScriptedChat) -> None:
    chat.plays(Answer(says("yes").body, delay=0.3))
    assert server(chat, timeout=20.0).complete(ask()).text == "yes"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_no_more_of_a_reply_is_read_than_any_completion_has(chat: ScriptedChat, packed: bool) -> None:
    content = b" " * (4 * LARGEST_REPLY)
    headers = {"content-encoding": "gzip"} if packed else {}
    chat.plays(Answer(gzip.compress(content) if packed else content, headers=headers))
    shown = failure(server(chat, max_retries=1))
    assert shown.endswith("after 1 retries: Connection error. the reply is longer than 8 MB")
    assert len(chat.asked) == 2


def test_a_packed_reply_is_unpacked(chat: ScriptedChat) -> None:
    packed = gzip.compress(json.dumps(says("yes").body).encode())
    chat.plays(Answer(packed, headers={"content-encoding": "gzip"}))
    assert server(chat).complete(ask()).text == "yes"


# Elsewhere


def test_a_redirect_is_named_and_not_followed(chat: ScriptedChat) -> None:
    with scripted_chat() as other:
        place = other.url.replace("http://", "http://me:secret@") + "/chat/completions?key=secret"
        chat.plays(Answer(b"", 307, {"location": place}))
        shown = failure(server(chat))
        assert f"it redirects to {other.url}/chat/completions, which is not followed" in shown
        assert "secret" not in shown
        assert (len(chat.asked), other.asked) == (1, [])


# What is to be done


def test_a_limit_that_goes_by_neither_name_is_to_be_left_out(chat: ScriptedChat) -> None:
    refused = [
        error(400, f"Unsupported parameter: '{name}'") for name in ("max_tokens", "max_completion_tokens")
    ]
    chat.plays(*refused)
    with pytest.raises(RequestRejected, match="neither max_tokens nor max_completion_tokens: set max_tok"):
        server(chat).complete(ask(max_tokens=9))


@pytest.mark.parametrize("wait", ["inf", "99999999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_a_wait_without_end_is_told_in_words(chat: ScriptedChat, wait: str) -> None:
    chat.plays(error(429, "later", retry_after=wait))
    assert failure(server(chat)).endswith("it asks to wait more than a day, longer than a run waits")


@pytest.mark.parametrize(
    ("budget", "shown"),
    [(5.0, r"\$5\.00"), (0.0, r"\$0\.00"), (0.0012, r"\$0\.0012"), (1e-6, r"\$0\.0000010")],
)
def test_a_small_budget_is_told_in_digits(ledger: Ledger, budget: float, shown: str) -> None:
    ledger.spend("suite", "k", usd=5.0, prompt_tokens=1, completion_tokens=1)
    with pytest.raises(BudgetExhausted, match=f"the budget of {shown} is spent"):
        Purse(Account(ledger, "suite", budget)).left()
