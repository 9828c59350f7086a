"""A server that speaks OpenAI's chat completions, for plugins that ask one.

It keeps three promises for them: the key comes from OPENAI_API_KEY and is found nowhere else; whatever
the server does wrong becomes one line of StageError; all threads share one client, made at the first
request.
"""

from __future__ import annotations

import ipaddress
import json
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import PluginError, StageError

if TYPE_CHECKING:
    from openai import APIError, OpenAI

OPENAI = "https://api.openai.com/v1"
REACH_SECONDS = 10.0
REFUSALS = {
    "content_filter": "refused: the server's content filter stops the request",
    "context_length_exceeded": "too long: the request exceeds the model's context",
}
"""Error codes that are about the content of one request: the next one may well succeed."""


class RequestRefused(Exception):  # noqa: N818 - the event is the name
    """The server takes requests, but not this one, because of what it holds."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion. `calls` are the functions called, each as (name, arguments as they came)."""

    text: str
    calls: tuple[tuple[str, str], ...]
    refusal: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class ChatServer:
    """The server at `base_url`; None is the one that OPENAI_BASE_URL names, or OpenAI itself.

    `timeout` is in seconds; `max_retries` counts attempts after a timeout, a lost connection, 408, 409,
    429 or 5xx. Waits double from 0.5 to 8 seconds; a Retry-After of up to two minutes is obeyed.
    """

    def __init__(self, base_url: str | None, *, timeout: float, max_retries: int) -> None:
        self.url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI
        self.timeout, self.max_retries = timeout, max_retries
        self._lock = threading.Lock()
        self._client: OpenAI | None = None

    @property
    def name(self) -> str:
        """The server's address, without a password that may stand in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    def preflight(self) -> None:
        """PluginError where the address is none, or where it needs a key and there is none."""
        if urlsplit(self.url).scheme not in ("http", "https"):
            fix = "an address begins with http:// or https://"
            raise PluginError(f"there can be no chat server at '{self.url}'", fix=fix)
        if not _key() and not self._is_local():
            what = f"{self.name} needs a key, and OPENAI_API_KEY is not set"
            raise PluginError(what, fix="export it, or set base_url to a server on this machine")

    def reach(self) -> None:
        """StageError where the server does not answer or refuses the key; asks for its models, not for words.

        A server that does not list its models has answered all the same.
        """
        import openai

        client = self._open().with_options(max_retries=0, timeout=min(self.timeout, REACH_SECONDS))
        try:
            client.models.with_raw_response.list()
        except openai.APIStatusError as error:
            if error.status_code in (401, 403) or error.status_code in (500, 502, 503, 504):
                raise StageError(self._described(error, retries=0)) from None
        except openai.APIError as error:
            raise StageError(self._described(error, retries=0)) from None

    def complete(self, request: Mapping[str, Any]) -> Reply:
        """The server's reply to the body of a request; RequestRefused, or StageError if there is none."""
        import openai

        try:
            response = self._open().chat.completions.with_raw_response.create(**request)
        except openai.APIError as error:
            # `from None`: what the client knows of its request must not reach a traceback.
            if error.code in REFUSALS:
                raise RequestRefused(REFUSALS[error.code]) from None
            raise StageError(self._described(error)) from None
        try:
            # Read from the JSON itself: the client builds its records without validating them.
            return _reply(json.loads(response.content))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            start = self.redacted(response.text)[:200]
            raise StageError(f"{self.name} sent no chat completion but {start!r}") from None

    def redacted(self, text: str) -> str:
        """`text` without the key: some servers send it back in what they say."""
        return text.replace(_key(), "[OPENAI_API_KEY]") if _key() else text

    def _open(self) -> OpenAI:
        from openai import OpenAI

        with self._lock:
            if self._client is None:
                self.preflight()
                self._client = OpenAI(
                    api_key=_key() or "none",  # a server on this machine asks for none; the client does
                    base_url=self.url,
                    timeout=self.timeout,
                    max_retries=self.max_retries,
                )
                # Its connections go with this object, not whenever the client's own cycles are collected.
                weakref.finalize(self, self._client.close)
            return self._client

    def _is_local(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def _described(self, error: APIError, retries: int | None = None) -> str:
        status: int | None = getattr(error, "status_code", None)
        retried = status is None or status in (408, 409, 429) or status >= 500
        count = self.max_retries if retries is None else retries
        tries = f" after {count} retries" if retried and count else ""
        said = " ".join(self.redacted(str(error)).split())[:300]
        advice = "; check OPENAI_API_KEY" if status in (401, 403) else ""
        return f"{self.name} gave no answer{tries}: {said}{advice}"


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()


def _reply(body: Any) -> Reply:
    """The first choice of a chat completion; any lookup error where the body is none."""
    choice = body["choices"][0]
    message, usage = choice["message"], body.get("usage") or {}
    functions = [call.get("function") or {} for call in message.get("tool_calls") or []]
    return Reply(
        _text(message.get("content")),
        tuple((str(f.get("name")), _text(f.get("arguments"))) for f in functions),
        _text(message.get("refusal")),
        str(choice.get("finish_reason")),
        int(usage.get("prompt_tokens") or 0),
        int(usage.get("completion_tokens") or 0),
    )


def _text(value: Any) -> str:
    """A text; some servers send arguments as an object, others content as a list of parts."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace").decode()  # JSON can hold lone surrogates, UTF-8 cannot
