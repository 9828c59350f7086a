"""OpenAI's Batch API over real sockets: half the price, and a killed run goes on with the same batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from scripted_chat import KEY, Answer, Asked, ScriptedChat, error, says

from harness import StageError
from harness.chat import Account, BudgetExhausted, ChatServer
from harness.chat.batch import complete_batch
from harness.chat.replies import RequestRefused
from harness.ledger import Ledger, Spending
from harness.protocols import silent

pytestmark = pytest.mark.usefixtures("environment")
DOLLAR = {"input": 8000, "output": 10_000, "batch": 0.5}
SOON = {"retry_after_ms": "5"}


@pytest.fixture
def chat(chat: ScriptedChat) -> ScriptedChat:
    chat.script = lambda asked: says(said(asked))
    return chat


def server(chat: ScriptedChat, ledger: Ledger, budget: float | None = None, **options: Any) -> ChatServer:
    made = ChatServer(chat.url, **{"timeout": 20.0, "max_retries": 2, "price": DOLLAR, **options})
    made.lend(Account(ledger, "suite", budget))
    return made


def ask(text: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": str(text)}], "max_tokens": 20, **more}


def requests(count: int, **more: Any) -> list[tuple[dict[str, Any], int]]:
    return [(ask(n, **more), 0) for n in range(count)]


def said(asked: Asked) -> str:
    return str(asked.body["messages"][0]["content"])


def batch(asking: ChatServer, wanted: list[tuple[dict[str, Any], int]], progress: Any = silent) -> int:
    return complete_batch(asking, wanted, progress, wait=0.001)


def texts(asking: ChatServer, wanted: list[tuple[dict[str, Any], int]]) -> list[str]:
    return [asking.complete(request, sample=sample).text for request, sample in wanted]


def test_replies_of_a_batch_are_found_by_complete_at_their_lower_price(
    chat: ScriptedChat, ledger: Ledger
) -> None:
    wanted = [*requests(5), (ask(0), 1), (ask("another model", model="n"), 0)]
    told: list[tuple[int, int, str]] = []
    asking = server(chat, ledger)
    assert batch(asking, wanted, lambda *now: told.append(now)) == 0
    assert texts(asking, wanted) == ["0", "1", "2", "3", "4", "0", "another model"]
    assert chat.asked == []
    assert ledger.spent("suite") == Spending(7, 3.5, 0, 700, 140)
    assert asking.complete(ask(0)).cost_usd == 0.5
    lines = [json.loads(line) for line in chat.batches.files["file-0"].splitlines()]
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    assert [line["custom_id"] for line in lines] == [asking.reply_key(*each) for each in wanted[:6]]
    assert lines[0]["body"] == ask(0)
    made = list(chat.batches.made.values())
    assert len(made) == 2  # one for each model
    assert (made[0]["endpoint"], made[0]["completion_window"]) == ("/v1/chat/completions", "24h")
    assert told[0] == (0, 7, "batch validating")
    assert told[-1] == (7, 7, "batch completed")
    assert ledger.notes("batch|") == {}


def test_a_text_that_utf_8_cannot_hold_is_sent_without_it(chat: ScriptedChat, ledger: Ledger) -> None:
    wanted = [(ask("\ud800"), 0)]
    asking = server(chat, ledger)
    assert batch(asking, wanted) == 0
    assert texts(asking, wanted) == ["\ufffd"]


def test_only_what_is_missing_is_sent(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger)
    asking.complete(ask(0))
    assert batch(asking, requests(3)) == 0
    assert [said(asked) for asked in chat.batches.asked] == ["1", "2"]
    calls = len(chat.batches.calls)
    assert batch(asking, requests(3)) == 0
    assert len(chat.batches.calls) == calls


def test_what_a_batch_does_not_answer_is_asked_live(chat: ScriptedChat, ledger: Ledger) -> None:
    answers = {
        "0": error(400, "filtered", "content_filter"),
        "1": error(500, "no"),
        "2": Answer({"choices": []}),
        "3": Answer(None),
    }
    chat.script = lambda asked: answers.get(said(asked), says(said(asked)))
    asking = server(chat, ledger)
    assert batch(asking, requests(6)) == 4
    assert ledger.spent("suite").requests == 2
    with pytest.raises(RequestRefused):
        asking.complete(ask(0))
    chat.script = lambda asked: says("live")
    assert texts(asking, requests(6)[1:]) == ["live", "live", "live", "4", "5"]


@pytest.mark.parametrize("state", ["expired", "cancelled"])
def test_a_batch_that_ends_early_keeps_what_it_has_done(
    chat: ScriptedChat, ledger: Ledger, state: str
) -> None:
    chat.batches.states, chat.batches.answered = ["in_progress", state], 2
    asking = server(chat, ledger)
    assert batch(asking, requests(5)) == 3
    assert ledger.spent("suite").requests == 2
    assert len(chat.batches.made) == 1


def test_a_batch_that_fails_as_a_whole_says_why(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.batches.states = ["validating", "failed"]
    asking = server(chat, ledger)
    with pytest.raises(StageError, match=r"the batch batch_0 at .* failed: the file is no good"):
        batch(asking, requests(2))
    chat.batches.states = ["completed"]
    assert batch(asking, requests(2)) == 0


class Killed(BaseException):
    """What a kill would have done at this place."""


def kill(done: int, total: int, note: str) -> None:
    raise Killed


def test_a_run_that_was_killed_goes_on_with_its_batch(chat: ScriptedChat, ledger: Ledger) -> None:
    with pytest.raises(Killed):
        batch(server(chat, ledger), requests(4), kill)
    asking = server(chat, ledger)
    # One more, and one fewer than the first time.
    wanted = [*requests(4)[1:], (ask("new"), 0)]
    assert batch(asking, wanted) == 0
    assert [said(asked) for asked in chat.batches.asked] == ["0", "1", "2", "3", "new"]
    assert len(chat.batches.made) == 2
    assert ledger.spent("suite") == Spending(5, 2.5, 0, 500, 100)


def test_a_batch_whose_making_was_not_confirmed_is_found(chat: ScriptedChat, ledger: Ledger) -> None:
    with pytest.raises(Killed):
        batch(server(chat, ledger), requests(2), kill)
    ((key, text),) = ledger.notes("batch|").items()
    ledger.set_note(key, json.dumps({**json.loads(text), "id": ""}))
    assert batch(server(chat, ledger), requests(2)) == 0
    assert chat.batches.calls.count("POST /batches") == 1
    assert len(chat.batches.asked) == 2


def test_a_batch_that_the_server_has_forgotten_is_sent_anew(chat: ScriptedChat, ledger: Ledger) -> None:
    with pytest.raises(Killed):
        batch(server(chat, ledger), requests(2), kill)
    chat.batches.made.clear()
    asking = server(chat, ledger)
    assert batch(asking, requests(2)) == 0
    assert ledger.spent("suite").requests == 2


def test_a_file_that_the_server_has_forgotten_is_not_asked_for_for_ever(
    chat: ScriptedChat, ledger: Ledger
) -> None:
    chat.batches.troubles = [("POST /batches", error(400, "no such file"))]
    with pytest.raises(StageError, match="400 - no such file"):
        batch(server(chat, ledger), requests(2))
    assert batch(server(chat, ledger), requests(2)) == 0


def test_after_kill_9_the_batch_is_paid_for_once(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.batches.states = ["in_progress"]
    command = [sys.executable, "-c", PROCESS, chat.url, str(ledger.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "batch in_progress\n"
        os.kill(process.pid, signal.SIGKILL)
    chat.batches.states = ["completed"]
    assert batch(server(chat, ledger), requests(4)) == 0
    assert len(chat.batches.made) == 1
    assert len(chat.batches.asked) == ledger.spent("suite").requests == 4


PROCESS = """
import pathlib, sys
from harness.chat import Account, ChatServer
from harness.chat.batch import complete_batch
from harness.ledger import Ledger
server = ChatServer(sys.argv[1], timeout=20.0, max_retries=1, price={"input": 8000, "output": 10000})
server.lend(Account(Ledger(pathlib.Path(sys.argv[2])), "suite"))
asked = [
    ({"model": "m", "messages": [{"role": "user", "content": str(n)}], "max_tokens": 20}, 0) for n in range(4)
]
complete_batch(server, asked, lambda done, total, note: print(note, flush=True), wait=0.1)
"""


@pytest.mark.parametrize(
    "trouble",
    [
        ("POST /files", error(500, **SOON)),
        ("POST /files", Answer(b"<html>")),
        ("POST /batches", error(429, **SOON)),
        ("GET /batches", Answer(drop=True)),
        ("GET /batches/", error(503, **SOON)),
        ("GET /batches/", Answer({"no": "id"})),
        ("GET /files/", Answer(b"{" * 500, cut=20)),
        ("GET /files/", error(502, **SOON)),
    ],
)
def test_what_passes_is_waited_for(chat: ScriptedChat, ledger: Ledger, trouble: tuple[str, Answer]) -> None:
    chat.batches.troubles = [trouble]
    assert batch(server(chat, ledger), requests(3)) == 0
    assert chat.batches.troubles == []
    assert (len(chat.batches.made), len(chat.batches.asked)) == (1, 3)


def test_a_server_without_batches_says_so(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.batches.troubles = [("POST /files", error(404, f"no files {KEY}"))]
    with pytest.raises(StageError, match=r"404 - no files \[OPENAI_API_KEY\]"):
        batch(server(chat, ledger), requests(1))


def test_no_more_is_sent_than_can_be_paid_for(chat: ScriptedChat, ledger: Ledger) -> None:
    long = "x" * 400  # at least 100 tokens, so that each is guessed to cost half a dollar or a little more
    wanted = [(ask(f"{n} {long}"), 0) for n in range(10)]
    asking = server(chat, ledger, budget=2.2)
    # The money that the first batch did not take pays for no other request.
    assert batch(asking, wanted) == 6
    assert ledger.spent("suite").usd == 2.0
    broke = server(chat, ledger, budget=2.0)
    with pytest.raises(BudgetExhausted):
        batch(broke, wanted)
    assert batch(broke, wanted[:4]) == 0  # all there
    assert batch(server(chat, ledger, budget=100.0), wanted) == 0
    assert len(chat.batches.asked) == 10


def test_parameters_that_a_model_refuses_are_changed_for_all(chat: ScriptedChat, ledger: Ledger) -> None:
    def particular(asked: Asked) -> Answer:
        if "max_tokens" not in asked.body:
            return says(said(asked))
        fault = {"message": "no", "code": "unsupported_parameter", "param": "max_tokens"}
        return Answer({"error": fault}, 400)

    chat.script = particular
    asking = server(chat, ledger)
    assert batch(asking, requests(3)) == 0
    assert len(chat.batches.made) == 2
    assert texts(asking, requests(3)) == ["0", "1", "2"]
    assert chat.asked == []


def test_the_key_is_nowhere(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.script = lambda asked: says(f"Bearer {KEY}")
    asking = server(chat, ledger)
    assert batch(asking, requests(2)) == 0
    assert asking.complete(ask(0)).text == "Bearer [OPENAI_API_KEY]"
    files = [path for path in ledger.path.parent.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_batch_needs_a_ledger(chat: ScriptedChat) -> None:
    with pytest.raises(StageError, match="a batch needs a ledger"):
        batch(ChatServer(chat.url, timeout=5.0, max_retries=0), requests(1))
