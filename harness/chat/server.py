"""A server that speaks OpenAI's chat completions, for plugins that ask one.

It keeps these promises for them: the key comes from OPENAI_API_KEY and is found nowhere else; whatever the
server does wrong becomes one line of StageError; a reply that was paid for is kept the moment it arrives
and never asked for again; no more is spent than the budget of whoever lent it an account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from harness.chat.client import REACH_SECONDS, Client, Trouble
from harness.chat.notes import ModelNotes
from harness.chat.options import SERVER_OPTIONS
from harness.chat.parameters import adjust, adjustments_after, advised
from harness.chat.prices import FREE, Price, listed_price, read_price
from harness.chat.purse import Purse
from harness.chat.replies import (
    NO_REPLY,
    Reply,
    RequestRejected,
    Tokens,
    read_json,
    read_reply,
    tokens_expected,
    tokens_used,
)
from harness.chat.throttle import Throttle
from harness.errors import PluginError
from harness.ledger import Account
from harness.store import digest
from harness.text import well_formed
from harness.validity import is_cost

REDIRECTS = (301, 302, 303, 307, 308)
LONGEST_REPLY = 1024
"""Tokens that a reply is expected to have at most where the request does not say."""


class ChatServer:
    """The server at `base_url`; None is the one that OPENAI_BASE_URL names, or OpenAI itself.

    `timeout` is in seconds and for a request as a whole, from the connection to the reply's last byte;
    `max_retries` counts attempts after a timeout, a lost connection, 408, 409, 429, 5xx or an answer that is
    no completion. Waits double from 0.5 to 30 seconds; a Retry-After of up to ten minutes is obeyed by all
    threads. `concurrency` requests are in flight at most, fewer while the server says that it has too much
    to do. `price` is in USD per million tokens.

    Any number of threads may use it, but it must not be used across a fork.
    """

    def __init__(
        self,
        base_url: str | None,
        *,
        timeout: float,
        max_retries: int,
        concurrency: int = 8,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        price: Mapping[str, float] | None = None,
    ) -> None:
        if timeout <= 0 or concurrency < 1 or max_retries < 0:
            raise ValueError("timeout and concurrency must be positive, max_retries not negative")
        if any(limit is not None and limit < 1 for limit in (requests_per_minute, tokens_per_minute)):
            raise ValueError("requests_per_minute and tokens_per_minute must be positive")
        self._throttle = Throttle(concurrency, requests_per_minute, tokens_per_minute)
        self.client = Client(base_url, timeout=timeout, max_retries=max_retries, throttle=self._throttle)
        self._price = None if price is None else read_price(price, self.client.host)
        self._account: Account | None = None
        self._purse: Purse | None = None
        self.notes = ModelNotes(self.client.name)

    @classmethod
    def of(cls, plugin: Any) -> ChatServer:
        """The server that a plugin's options describe, those of SERVER_OPTIONS that it has."""
        options = {name: getattr(plugin, name, default) for name, (default, _) in SERVER_OPTIONS.items()}
        return cls(**options)

    @property
    def name(self) -> str:
        """The server's address, without a password that may stand in it."""
        return self.client.name

    @property
    def account(self) -> Account | None:
        """What was lent last, or None."""
        return self._account

    def preflight(self) -> None:
        """PluginError where the address is none, or where it needs a key and there is none."""
        self.client.preflight()

    def reach(self) -> None:
        """StageError where the server does not answer or refuses the key; asks for its models, not for words.

        A server that does not list its models has answered all the same.
        """
        answer = self.client.once(lambda client: client.models.with_raw_response.list(), REACH_SECONDS)
        if isinstance(answer, Trouble) and answer.status in (None, *REDIRECTS, 401, 403, 500, 502, 503, 504):
            raise self.client.failure(answer)

    def redacted(self, text: str) -> str:
        """`text` without the key: some servers send it back in what they say."""
        return self.client.redacted(text)

    def lend(self, account: Account) -> None:
        """From now on replies are kept in this ledger, nothing is asked twice, and the budget is held."""
        self._account, self._purse = account, Purse(account)
        self.notes.ledger = account.ledger

    def complete(self, request: Mapping[str, Any], *, sample: int = 0) -> Reply:
        """The server's reply to the body of a request: from the ledger if it is there, else asked for.

        `sample` tells equal requests apart that are to be answered anew. Raises RequestRefused where this
        request cannot be answered because of what it holds, RequestRejected where its form is not taken,
        BudgetExhausted before more is spent than may be, StageError where there is no answer.
        """
        account = self._account
        if account is None:
            body = self._answer(request)
            return read_reply(body, cost_usd=self.cost(request, body))
        key = self.reply_key(request, sample)
        if (known := self._kept(account, request, key)) is not None:
            return known
        with account.ledger.claim(key):
            return self._kept(account, request, key) or self._bought(request, key)

    def reply_key(self, request: Mapping[str, Any], sample: int = 0) -> str:
        """What a reply is kept under: it says all that the reply depends on."""
        return digest([self.name, request, sample])

    def known(self, request: Mapping[str, Any], sample: int = 0) -> Reply | None:
        """The reply in the ledger, or None."""
        account = self._account
        return None if account is None else self._kept(account, request, self.reply_key(request, sample))

    def _kept(self, account: Account, request: Mapping[str, Any], key: str) -> Reply | None:
        kept = account.ledger.reply(key)
        if kept is None:
            return None
        try:
            body, usd = kept["completion"], kept["cost_usd"]
            paid = usd if is_cost(usd) else self.cost(request, body)
            return read_reply(body, cost_usd=paid, from_ledger=True)
        except NO_REPLY:
            raise account.ledger.broken(f"the entry {key} is no chat completion") from None

    def keep(
        self,
        key: str,
        request: Mapping[str, Any],
        body: Mapping[str, Any],
        *,
        batch: bool = False,
        account: str = "",
    ) -> Reply:
        """Put a completion that was paid for into the ledger, with what it cost; needs an account.

        `account` names who paid, where it is not the one that was lent.
        """
        assert self._account is not None
        usd, tokens = self.cost(request, body, batch=batch), _took(request, body)
        ledger = self._account.ledger
        with ledger.transaction():
            kept = ledger.add_reply(key, {"completion": body, "cost_usd": usd})
            self._account.spend(
                key,
                usd=usd,
                prompt_tokens=tokens.prompt,
                completion_tokens=tokens.completion,
                payer=account,
            )
        return read_reply(kept["completion"], cost_usd=usd)

    def price_of(self, model: str) -> Price | None:
        """The option's price, else the table's, else nothing for a server on this machine, else unknown."""
        listed = self._price or listed_price(self.client.host, model)
        return FREE if listed is None and self.client.is_local() else listed

    def require_price(self, model: str) -> None:
        """PluginError where no price is known, so that no budget could be held."""
        if self.price_of(model) is None:
            what = (
                f"no price is known for the model '{model}' at {self.name}, so that budget_usd cannot be held"
            )
            raise PluginError(what, fix="set price: {input: ..., output: ...} in USD per million tokens")

    def budget_left(self) -> float | None:
        """USD that may still be spent, None for any amount; BudgetExhausted where there is nothing left."""
        return None if self._purse is None else self._purse.left()

    def cost(
        self, request: Mapping[str, Any], body: Mapping[str, Any], *, batch: bool = False
    ) -> float | None:
        """USD for a completion; None where the price is not known."""
        price = self.price_of(str(request.get("model")))
        return None if price is None else price.cost(_took(request, body), batch=batch)

    def expected_cost(self, request: Mapping[str, Any], *, batch: bool = False) -> float | None:
        """USD that a request will cost at most, by a guess; None where the price is not known."""
        price = self.price_of(str(request.get("model")))
        return None if price is None else price.cost(tokens_expected(request, LONGEST_REPLY), batch=batch)

    def adjusted(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request as its model takes it, and as UTF-8 can hold it."""
        return _encodable(adjust(request, self.notes.adjustments(str(request.get("model")))))

    def learn(self, request: Mapping[str, Any], rejected: RequestRejected) -> bool:
        """Whether a rejection names a parameter to rename or leave out; remembered for the model."""
        model = str(request.get("model"))
        adjustments = adjustments_after(rejected, request, self.notes.adjustments(model))
        if adjustments is not None:
            self.notes.set_adjustments(model, adjustments)
        return adjustments is not None

    def read_completion(self, text: str) -> dict[str, Any] | Trouble:
        """The JSON of a chat completion, without the key; a Trouble where the text is none."""
        try:
            body = read_json(text)
            written = json.dumps(body)
            if (clean := self.redacted(written)) != written:
                body = json.loads(clean)
            read_reply(body)
        except NO_REPLY:
            return self.client.unusable("no chat completion", text)
        found: dict[str, Any] = body
        return found

    def _bought(self, request: Mapping[str, Any], key: str) -> Reply:
        assert self._purse is not None
        if self._purse.account.budget_usd is not None:
            self.require_price(str(request.get("model")))
        expected = self.expected_cost(request)
        with self._purse.reserved(expected) if expected else nullcontext():
            return self.keep(key, request, self._answer(request))

    def _answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The body of the server's reply; a parameter that the model refuses by name is changed once."""
        tokens = tokens_expected(request, LONGEST_REPLY)
        while True:
            sent = self.adjusted(request)
            try:
                return self.client.ask(
                    lambda client: client.post("/chat/completions", body=sent, cast_to=str),  # noqa: B023
                    self.read_completion,
                    tokens=tokens.prompt + tokens.completion,
                    used=_total,
                )
            except RequestRejected as rejected:
                # Another thread may have learnt the same while this request was on its way.
                if not self.learn(request, rejected) and self.adjusted(request) == sent:
                    raise advised(
                        rejected, request, self.notes.adjustments(str(request.get("model")))
                    ) from None


def _total(body: Mapping[str, Any]) -> int | None:
    used = tokens_used(body)
    return None if used is None else used.prompt + used.completion


def _took(request: Mapping[str, Any], body: Mapping[str, Any]) -> Tokens:
    """The tokens that the server counted; where it counts none, four characters a token."""
    used = tokens_used(body)
    if used is not None:
        return used
    message = body["choices"][0]["message"]
    return Tokens(tokens_expected(request, LONGEST_REPLY).prompt, len(json.dumps(message)) // 4)


def _encodable(request: dict[str, Any]) -> dict[str, Any]:
    """The request without lone surrogates, which a text from elsewhere may hold and UTF-8 may not."""
    text = json.dumps(request, ensure_ascii=False)
    clean = well_formed(text)
    sent: dict[str, Any] = request if clean == text else json.loads(clean)
    return sent
