"""One server, asked by many threads: its address and key, its faults, and how often it is asked again.

What the openai client raises holds its request and with it the key. No such exception leaves this file:
each becomes a Trouble, which is text, and what is raised in the end knows nothing of it.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit

from harness.chat.replies import RequestRefused, RequestRejected
from harness.chat.throttle import LONGEST_PAUSE, Throttle, backoff, retry_after
from harness.errors import NoKeyError, PluginError, StageError
from harness.text import well_formed

if TYPE_CHECKING:
    from httpx2 import Response
    from openai import APIError, OpenAI

REACH_SECONDS = 10.0
DAY_SECONDS = 86_400.0
T = TypeVar("T")
R = TypeVar("R")
OPENAI = "https://api.openai.com/v1"
LONGEST_SAID = 300
"""Characters that are shown of what a server says."""
SHORTEST_SECRET = 8
"""A shorter key, such as `EMPTY` for servers that want any, guards nothing and may occur in any text."""
REFUSED_CODES = ("content_filter", "content_policy_violation", "invalid_prompt")
TOO_LONG = re.compile(r"maximum context length|context[ _](length|window)|request too large", re.IGNORECASE)
MASKED_KEY = re.compile(r"\bsk-[\w*-]{8,}")
"""OpenAI quotes a wrong key with its middle starred out; the rest of it is hidden too."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What went wrong with one request. `retry_after` is in seconds; `status` None: there was no answer."""

    said: str
    status: int | None = None
    code: str = ""
    parameter: str = ""
    retry_after: float | None = None
    final: bool = False

    @property
    def is_overload(self) -> bool:
        """Whether the server has too much to do for all who ask it, not only for this request."""
        return self.status in (429, 503, 529)

    @property
    def is_too_long(self) -> bool:
        """Whether the request exceeds the model's context, or alone what the account may send in a minute."""
        if self.code == "context_length_exceeded" or self.status == 413:
            return True
        return self.status in (400, 422, 429) and TOO_LONG.search(self.said) is not None

    @property
    def is_passing(self) -> bool:
        """Whether asking again may help."""
        if self.final or self.is_too_long or self.status == 501 or (self.retry_after or 0.0) > LONGEST_PAUSE:
            return False
        # 2xx: an answer that is no completion.
        return (
            self.status is None or self.status < 300 or self.status in (408, 409, 429) or self.status >= 500
        )


def _unknown(answer: object) -> None:
    """The tokens of an answer that does not count them."""


class Client:
    """The server at `base_url`; None is the one that OPENAI_BASE_URL names, or OpenAI itself.

    `timeout` is in seconds; `max_retries` counts attempts after the first. It must not be used across a fork.
    """

    def __init__(self, base_url: str | None, *, timeout: float, max_retries: int, throttle: Throttle) -> None:
        self.url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.timeout, self.max_retries, self.throttle = timeout, max_retries, throttle
        self._lock = threading.Lock()
        self._opened: tuple[int, OpenAI] | None = None

    @property
    def name(self) -> str:
        """The server's address, without a password that may stand in it."""
        if not _is_address(self.url):
            return self.url
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    @property
    def host(self) -> str:
        return (urlsplit(self.url).hostname or "") if _is_address(self.url) else ""

    def is_local(self) -> bool:
        """Whether the server is on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def preflight(self) -> None:
        """PluginError where the address is none, or where it needs a key and there is none that could be."""
        if not _is_address(self.url):
            fix = "an address begins with http:// or https://"
            raise PluginError(f"there can be no chat server at '{self.url}'", fix=fix)
        if not api_key() and not self.is_local():
            what = f"{self.name} needs a key, and OPENAI_API_KEY is not set"
            raise NoKeyError(what, fix="export it, or set base_url to a server on this machine")
        if not (api_key().isascii() and api_key().isprintable()):
            fix = "copy it again, without line breaks or quotation marks"
            raise PluginError("OPENAI_API_KEY holds characters that a key cannot have", fix=fix)

    def redacted(self, text: str) -> str:
        """`text` without the key and the address's password: some servers send back what they were sent."""
        password = urlsplit(self.url).password if _is_address(self.url) else None
        for secret in (api_key(), password or ""):
            if len(secret) >= SHORTEST_SECRET:
                # Some servers write JSON with each slash escaped, and names of headers change the case.
                written = re.escape(secret).replace("/", r"\\?/")
                text = re.sub(written, "[OPENAI_API_KEY]", text, flags=re.IGNORECASE)
        return text

    def ask(
        self,
        call: Callable[[OpenAI], T],
        read: Callable[[T], R | Trouble],
        *,
        tokens: int = 0,
        used: Callable[[R], int | None] = _unknown,
    ) -> R:
        """What `read` makes of the server's answer, asked for again while that may help.

        `read` returns a Trouble for an answer that cannot be used. `tokens` is a guess at what the request
        takes and `used` reads off an answer what it took. Raises RequestRefused for what a request holds,
        RequestRejected for how it is made, StageError for all else.
        """
        tries, answers = 0, self.throttle.answers
        while True:
            outcome = self._attempt(call, read, tokens, used, tries + 1)
            if not isinstance(outcome, Trouble):
                return outcome
            if outcome.is_overload and self.throttle.answers > answers:
                # It answers others: this request was unlucky, which is no reason to give it up.
                tries, answers = 0, self.throttle.answers
            if tries == self.max_retries or not outcome.is_passing:
                raise self.failure(outcome, tries)
            tries += 1
            if not outcome.is_overload:  # an overload has paused all threads, this one too
                time.sleep(outcome.retry_after or backoff(tries))

    def once(self, call: Callable[[OpenAI], T], seconds: float) -> T | Trouble:
        """One request outside of all limits."""
        return self._called(lambda client: call(client.with_options(timeout=min(seconds, self.timeout))))

    def failure(self, trouble: Trouble, retries: int = 0) -> Exception:
        """The error to raise when a request is not tried again."""
        if trouble.code in REFUSED_CODES:
            return RequestRefused("refused: the server's content filter stops the request", "refused")
        if trouble.is_too_long:
            return RequestRefused("too long: the request exceeds the model's context", "too_long")
        tries = f" after {retries} retries" if retries else ""
        advice = "; check OPENAI_API_KEY" if trouble.status in (401, 403) else ""
        if (trouble.retry_after or 0.0) > LONGEST_PAUSE:
            advice = f"; it asks to wait {_wait(trouble.retry_after or 0.0)}, longer than a run waits"
        what = f"{self.name} gave no answer{tries}: {trouble.said}{advice}"
        if trouble.status in (400, 404, 422, 501):
            return RequestRejected(
                what, status=trouble.status, code=trouble.code, parameter=trouble.parameter
            )
        return StageError(what)

    def unusable(self, what: str, body: str) -> Trouble:
        """The Trouble of an answer that came but is not what was asked for."""
        return Trouble(f"it sent {what} but {self._shown(body)[:200]!r}", status=200)

    def _attempt(
        self,
        call: Callable[[OpenAI], T],
        read: Callable[[T], R | Trouble],
        tokens: int,
        used: Callable[[R], int | None],
        tries: int,
    ) -> R | Trouble:
        """One request, within the limits, and what it says of them."""
        ticket, took = self.throttle.enter(tokens), None
        try:
            answer = self._called(call)
            outcome = answer if isinstance(answer, Trouble) else read(answer)
            if not isinstance(outcome, Trouble):
                self.throttle.succeeded()
                took = used(outcome)
            elif outcome.is_overload and outcome.is_passing:
                self.throttle.overloaded(ticket, outcome.retry_after or backoff(tries))
            return outcome
        finally:
            self.throttle.leave(ticket, used=took)

    def _called(self, call: Callable[[OpenAI], T]) -> T | Trouble:
        import openai

        try:
            return call(self._open())
        except openai.APIError as error:
            return self._trouble(error)
        except ValueError as error:  # the client reads JSON without asking whether it is any
            return Trouble(f"it sent no JSON: {self._shown(str(error))[:200]}", status=200)

    def _open(self) -> OpenAI:
        from openai import OpenAI

        from harness.chat.transport import BoundedClient

        with self._lock:
            if self._opened is None:
                self.preflight()
                client = OpenAI(
                    api_key=api_key() or "none",  # a server on this machine asks for none; the client does
                    base_url=self.url,
                    timeout=self.timeout,
                    max_retries=0,
                    http_client=BoundedClient(),
                )
                # Its connections go with this object, not whenever the client's own cycles are collected.
                weakref.finalize(self, client.close)
                self._opened = os.getpid(), client
            if self._opened[0] != os.getpid():
                raise StageError(f"the connections to {self.name} were opened before a fork")
            return self._opened[1]

    def _trouble(self, error: APIError) -> Trouble:
        """What a Trouble keeps of an exception, which holds the request with its headers."""
        response, cause = getattr(error, "response", None), error.__cause__
        said = str(error) if response is not None or cause is None else f"{error} {cause}"
        if response is not None and not isinstance(error.body, dict):
            said = f"{said} - {response.text}".strip(" -")
        if response is not None and response.is_redirect:
            said = f"it redirects to {_place(response)}, which is not followed; set base_url to where it is"
        status = None if response is None else int(response.status_code)
        code, parameter = self._shown(str(error.code or "")), self._shown(str(error.param or ""))
        return Trouble(
            self._shown(said)[:LONGEST_SAID],  # cut only here: half a key could not be told from a text
            status,
            code,
            parameter,
            None if response is None else retry_after(response.headers),
            final="insufficient_quota" in (code, error.type),
        )

    def _shown(self, text: str) -> str:
        """`text` on one line, without secrets, as a file can hold it; cut it afterwards, not before."""
        plain = self.redacted(" ".join(well_formed(text).split()))
        return MASKED_KEY.sub("[OPENAI_API_KEY]", plain)


def _wait(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds <= DAY_SECONDS else "more than a day"


def _place(response: Response) -> str:
    """Where a redirect leads, without a password or a query that may stand there."""
    to = response.headers.get("location", "")
    try:
        parts = urlsplit(urljoin(str(response.request.url), to))
    except ValueError:
        return "no address"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def api_key() -> str:
    """The key that servers are shown; empty if there is none."""
    return os.environ.get("OPENAI_API_KEY", "").strip()
