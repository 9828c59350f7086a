"""What a chat server is paid: once for each request, by whomever, in whatever process, and up to a budget."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from scripted_chat import Answer, Asked, ScriptedChat, error, says

from harness import PluginError, StageError
from harness.chat import Account, BudgetExhausted, ChatServer, Price
from harness.chat.replies import Tokens, tokens_expected
from harness.ledger import Ledger, Spending

pytestmark = pytest.mark.usefixtures("environment")
DOLLAR = {"input": 8000, "output": 10_000}
"""Prices at which a scripted reply of 100 and 20 tokens costs one dollar."""


@pytest.fixture
def chat(chat: ScriptedChat) -> ScriptedChat:
    chat.plays(says("yes"))
    return chat


def server(
    chat: ScriptedChat, ledger: Ledger, account: str = "suite", budget: float | None = None, **options: Any
) -> ChatServer:
    made = ChatServer(chat.url, **{"timeout": 20.0, "max_retries": 1, "price": DOLLAR, **options})
    made.lend(Account(ledger, account, budget))
    return made


def ask(text: Any = "Well?", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": str(text)}], **more}


def said(asked: Asked) -> str:
    return str(asked.body["messages"][0]["content"])


# Once


def test_a_reply_that_was_paid_for_is_never_asked_again(chat: ScriptedChat, ledger: Ledger) -> None:
    first = server(chat, ledger).complete(ask())
    again = server(chat, ledger).complete(ask())
    another = server(chat, ledger, "another suite", price=None).complete(ask())
    assert (first.from_ledger, again.from_ledger, another.from_ledger) == (False, True, True)
    assert {(reply.text, reply.cost_usd) for reply in (first, again, another)} == {("yes", 1.0)}
    assert len(chat.asked) == 1
    assert ledger.spent("suite") == Spending(1, 1.0, 0, 100, 20)
    assert ledger.spent("another suite") == Spending()


def test_what_a_reply_depends_on_is_in_its_key(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger)
    for request in (ask(), ask(), ask("And?"), ask(seed=1)):
        asking.complete(request)
    asking.complete(ask(), sample=1)
    asking.complete(ask(), sample=1)
    assert len(chat.asked) == 4
    url = chat.url.replace("127.0.0.1", "localhost")
    elsewhere = ChatServer(url, timeout=20.0, max_retries=0)
    assert elsewhere.reply_key(ask()) != asking.reply_key(ask())


def test_without_a_ledger_each_is_asked(chat: ScriptedChat) -> None:
    asking = ChatServer(chat.url, timeout=20.0, max_retries=0, price=DOLLAR)
    assert [asking.complete(ask()).cost_usd for _ in range(2)] == [1.0, 1.0]
    assert len(chat.asked) == 2


def test_threads_that_ask_the_same_at_the_same_time_send_one_request(
    chat: ScriptedChat, ledger: Ledger
) -> None:
    chat.plays(Answer(says("yes").body, delay=0.1))
    asking = server(chat, ledger)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: asking.complete(ask(n % 2)), range(8)))
    assert [reply.text for reply in found] == ["yes"] * 8
    assert len(chat.asked) == 2
    assert sum(not reply.from_ledger for reply in found) == 2


def test_a_failed_request_is_asked_again_by_who_waited_for_it(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.plays(Answer(error(401).body, 401, delay=0.1), says("yes"))
    asking = server(chat, ledger)
    with ThreadPoolExecutor(2) as pool:
        outcomes = [pool.submit(asking.complete, ask()) for _ in range(2)]
        faults = [outcome.exception() for outcome in outcomes]
    assert sum(isinstance(fault, StageError) for fault in faults) == 1
    assert len(chat.asked) == 2


PROCESS = """
import json, pathlib, sys
from concurrent.futures import ThreadPoolExecutor
from harness.chat import Account, ChatServer
from harness.ledger import Ledger
url, path, account, count = sys.argv[1:]
server = ChatServer(url, timeout=60.0, max_retries=1, price={"input": 8000, "output": 10000})
def ask(n):
    return server.complete({"model": "m", "messages": [{"role": "user", "content": str(n)}]})
with Ledger(pathlib.Path(path)) as ledger, ThreadPoolExecutor(4) as pool:
    server.lend(Account(ledger, account))
    replies = list(pool.map(ask, range(int(count))))
print(json.dumps([len(replies), sum(reply.from_ledger for reply in replies)]))
"""


def process(chat: ScriptedChat, ledger: Ledger, account: str, count: int) -> subprocess.Popen[str]:
    """A process with four workers that asks `count` requests."""
    arguments = [chat.url, str(ledger.path), account, str(count)]
    return subprocess.Popen([sys.executable, "-c", PROCESS, *arguments], stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="claims hold between processes on Linux alone"
)
def test_processes_that_ask_the_same_pay_once(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.script = lambda asked: Answer(says(said(asked)).body, delay=0.02)
    both = [process(chat, ledger, account, 40) for account in ("one", "other")]
    counts = [json.loads(each.communicate(timeout=60)[0]) for each in both]
    assert [count for count, _ in counts] == [40, 40]
    assert sum(known for _, known in counts) == 40
    assert Counter(map(said, chat.asked)) == {str(n): 1 for n in range(40)}
    assert ledger.spent("one").requests + ledger.spent("other").requests == 40


def test_after_kill_9_at_most_the_requests_in_flight_are_repeated(chat: ScriptedChat, ledger: Ledger) -> None:
    stuck, killed = threading.Semaphore(0), threading.Event()

    def script(asked: Asked) -> Answer:
        if len(chat.asked) > 20 and not killed.is_set():
            stuck.release()
            killed.wait(30)
        return says(said(asked))

    chat.script = script
    working = process(chat, ledger, "suite", 50)
    try:
        for _ in range(4):  # all workers hang in a request: all that came before is in the ledger
            assert stuck.acquire(timeout=30)
    finally:
        working.kill()
        working.communicate()
        killed.set()
    assert ledger.spent("suite").requests == 20
    assert process(chat, ledger, "suite", 50).communicate(timeout=60)[0] == "[50, 20]\n"
    counted = Counter(map(said, chat.asked))
    assert sorted(counted.values()) == [1] * 46 + [2] * 4
    assert ledger.spent("suite").usd == 50.0


def test_a_server_full_of_faults_loses_nothing(chat: ScriptedChat, ledger: Ledger) -> None:
    """Each request meets one fault of another kind first; all are answered, and each is paid for once."""
    faults = [
        error(429, retry_after_ms="5"),
        error(500, retry_after_ms="5"),
        error(503, retry_after="0.01"),
        Answer(drop=True),
        Answer(says("yes").body, cut=30),
        Answer(b'{"choices": [{"mess'),
        Answer(b"<html>overloaded</html>", headers={"content-type": "text/html"}),
        Answer({"error": {"message": "upstream"}}),
    ]
    met: Counter[str] = Counter()
    lock = threading.Lock()

    def script(asked: Asked) -> Answer:
        with lock:
            met[said(asked)] += 1
        return faults[int(said(asked)) % len(faults)] if met[said(asked)] == 1 else says(said(asked))

    chat.script = script
    asking = server(chat, ledger, max_retries=8, concurrency=8)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: asking.complete(ask(n)).text, range(40)))
    assert found == [str(n) for n in range(40)]
    assert set(met.values()) == {2}
    assert ledger.spent("suite") == Spending(40, 40.0, 0, 4000, 800)


# A budget


def run(asking: ChatServer, count: int, workers: int = 4) -> list[Any]:
    """A reply or an error for each request; no further one is sent once there is an error."""
    stopped = threading.Event()

    def work(n: int) -> Any:
        if stopped.is_set():
            return None
        try:
            return asking.complete(ask(n, max_tokens=20))
        except StageError as fault:
            stopped.set()
            return fault

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, range(count)))


def test_a_budget_is_a_hard_stop_and_a_raised_one_goes_on(chat: ScriptedChat, ledger: Ledger) -> None:
    chat.script = lambda asked: Answer(says(said(asked)).body, delay=0.01)
    outcomes = run(server(chat, ledger, budget=10.0), 30)
    faults = [outcome for outcome in outcomes if isinstance(outcome, BudgetExhausted)]
    assert 10 <= len(chat.asked) <= 14
    assert ledger.spent("suite").usd == len(chat.asked)
    told = r"the budget of \$10\.00 is spent \(\$1\d\.00, 1\d requests\); raise budget_usd to go on, nothing"
    assert re.match(told, str(faults[0]))
    assert len(run(server(chat, ledger, budget=100.0), 30)) == 30
    assert Counter(map(said, chat.asked)) == {str(n): 1 for n in range(30)}
    assert ledger.spent("suite").usd == 30.0


def test_a_cost_that_is_guessed_well_is_not_exceeded(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger, budget=3.0)
    long = "x" * 400  # 100 tokens and more by the guess, so that it is no lower than what a reply costs
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(asking.complete, ask(f"{n} {long}", max_tokens=20)) for n in range(8)]
        faults = [task.exception() for task in tasks]
    assert len(chat.asked) == 3
    assert sum(isinstance(fault, BudgetExhausted) for fault in faults) == 5


def test_what_is_in_the_ledger_is_free_when_nothing_may_be_spent(chat: ScriptedChat, ledger: Ledger) -> None:
    server(chat, ledger).complete(ask())
    penniless = server(chat, ledger, budget=0.0)
    assert penniless.complete(ask()).from_ledger
    with pytest.raises(BudgetExhausted, match=r"the budget of \$0\.00 is spent \(\$1\.00, 1 request\)"):
        penniless.complete(ask("more"))
    assert len(chat.asked) == 1


def test_budgets_are_held_by_account(chat: ScriptedChat, ledger: Ledger) -> None:
    for account in ("one", "other"):
        asking = server(chat, ledger, account, budget=1.0)
        asking.complete(ask(account))
        with pytest.raises(BudgetExhausted):
            asking.complete(ask(f"{account} again"))
    assert len(chat.asked) == 2


def test_what_another_process_spends_counts(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger, budget=5.0)
    asking.complete(ask("first"))
    assert process(chat, ledger, "suite", 6).communicate(timeout=60)[0] == "[6, 0]\n"
    with pytest.raises(BudgetExhausted, match=r"\$7\.00"):
        asking.complete(ask("second"))


def test_a_server_on_this_machine_costs_nothing(chat: ScriptedChat, ledger: Ledger) -> None:
    asking = server(chat, ledger, budget=0.0, price=None)
    assert asking.complete(ask()).cost_usd == 0.0
    assert ledger.spent("suite") == Spending(1, 0.0, 0, 100, 20)


def test_a_budget_needs_a_price(ledger: Ledger) -> None:
    asking = ChatServer("https://judge.example/v1", timeout=1.0, max_retries=0)
    asking.lend(Account(ledger, "suite", 5.0))
    fault = (
        r"no price is known for the model 'm' at https://judge\.example/v1, so that budget_usd cannot be "
        r"held; set price: \{input: \.\.\., output: \.\.\.\}"
    )
    for check in (lambda: asking.require_price("m"), lambda: asking.complete(ask())):
        with pytest.raises(PluginError, match=fault):
            check()


def test_a_server_that_counts_no_tokens_is_charged_by_characters(chat: ScriptedChat, ledger: Ledger) -> None:
    body = {key: value for key, value in says("y" * 400).body.items() if key != "usage"}
    chat.plays(Answer(body))
    reply = server(chat, ledger, price={"input": 0, "output": 1e6}).complete(ask())
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)
    assert reply.cost_usd == pytest.approx(100, abs=15)


# Prices


@pytest.mark.parametrize(
    ("url", "model", "price"),
    [
        ("https://api.openai.com/v1", "gpt-4o-2024-08-06", Price(2.5, 10, 1.25, 0.5)),
        ("https://api.openai.com/v1", "gpt-4o", Price(2.5, 10, 1.25, 0.5)),
        ("https://api.openai.com/v1", "gpt-4o-2024-05-13", Price(5, 15, None, 0.5)),
        ("https://api.openai.com/v1", "gpt-4o-2031-01-01", None),
        ("https://api.openai.com/v1", "gpt-4-0613", Price(30, 60, None, 0.5)),
        ("https://elsewhere.example/v1", "gpt-4o", None),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile", Price(0.59, 0.79)),
        ("http://127.0.0.1:8000/v1", "anything", Price(0, 0)),
        ("http://localhost/v1", "gpt-4o", Price(0, 0)),
    ],
)
def test_a_model_has_the_price_of_its_very_name(url: str, model: str, price: Price | None) -> None:
    asking = ChatServer(url, timeout=1.0, max_retries=0)
    assert asking.price_of(model) == price
    own = ChatServer(url, timeout=1.0, max_retries=0, price={"input": 1, "output": 2})
    assert own.price_of(model) == Price(1, 2, None, 0.5 if "api.openai.com" in url else 1.0)


def test_the_table_is_sound() -> None:
    from harness.chat.prices import TABLE, _table

    assert "Sources:" in TABLE.read_text(encoding="utf-8")
    for price in _table().values():
        assert 0 < price.input <= price.output
        assert price.cached_input is None or price.cached_input < price.input


@pytest.mark.parametrize(
    ("tokens", "batch", "cost"),
    [
        (Tokens(1_000_000, 0), False, 2.0),
        (Tokens(0, 1_000_000), False, 8.0),
        (Tokens(1_000_000, 0, cached=600_000), False, 0.8 + 0.3),
        (Tokens(1_000_000, 1_000_000), True, 5.0),
        (Tokens(10, 0, cached=99), False, 10 * 0.5e-6),
    ],
)
def test_a_price_is_per_million_tokens(tokens: Tokens, batch: bool, cost: float) -> None:
    assert Price(2.0, 8.0, 0.5, 0.5).cost(tokens, batch=batch) == pytest.approx(cost, rel=1e-12)


def test_tokens_are_guessed_from_what_is_sent() -> None:
    assert tokens_expected(ask("x" * 4000), 50).prompt == pytest.approx(1010, abs=10)
    assert tokens_expected(ask(max_tokens=7), 50).completion == 7
    assert tokens_expected(ask(max_completion_tokens=9), 50).completion == 9
    assert tokens_expected(ask(), 50).completion == 50


def test_a_waiting_request_goes_when_another_process_is_done_or_the_money_is(
    chat: ScriptedChat, ledger: Ledger
) -> None:
    """One request in flight is guessed to take all that is left; the next waits for it, and then goes."""
    chat.plays(Answer(says("yes").body, delay=0.2))
    asking = server(chat, ledger, budget=1.5)
    started = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: asking.complete(ask(n, max_tokens=1000)), range(2)))
    assert time.monotonic() - started >= 0.4
    assert ledger.spent("suite").usd == 2.0
