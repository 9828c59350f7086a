"""A server that speaks OpenAI's chat completions, for plugins that ask one.

It keeps three promises for them: the key comes from OPENAI_API_KEY and is found nowhere else; whatever
the server does wrong becomes one line of StageError; all threads share one client, made at the first
request.
"""

from __future__ import annotations

import ipaddress
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from harness.errors import PluginError, StageError

if TYPE_CHECKING:
    from openai import APIError, OpenAI
    from openai.types.chat import ChatCompletion

OPENAI = "https://api.openai.com/v1"
REFUSALS = {
    "content_filter": "refused: the server's content filter stops the request",
    "context_length_exceeded": "too long: the request exceeds the model's context",
}
"""Error codes that are about the content of one request: the next one may well succeed."""


class RequestRefused(Exception):  # noqa: N818 - the event is the name
    """The server takes requests, but not this one, because of what it holds."""


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
            raise PluginError(f"base_url '{self.url}' is no address", fix="it begins with http:// or https://")
        if not _key() and not self._is_local():
            what = f"{self.name} needs a key, and OPENAI_API_KEY is not set"
            raise PluginError(what, fix="export it, or set base_url to a server on this machine")

    def complete(self, request: Mapping[str, Any]) -> ChatCompletion:
        """The server's reply, with at least one choice; RequestRefused, or StageError if there is none."""
        import openai

        try:
            reply: ChatCompletion = self._open().chat.completions.create(**request)
        except openai.APIError as error:
            # `from None`: what the client knows of its request must not reach a traceback.
            if error.code in REFUSALS:
                raise RequestRefused(REFUSALS[error.code]) from None
            raise StageError(self._described(error)) from None
        if not getattr(reply, "choices", None):  # the client does not validate what it is sent
            raise StageError(f"{self.name} sent no chat completion: {self.redacted(str(reply))[:200]}")
        return reply

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
            return self._client

    def _is_local(self) -> bool:
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def _described(self, error: APIError) -> str:
        status = getattr(error, "status_code", None)
        said = " ".join(self.redacted(str(error)).split())[:300]
        advice = "; check OPENAI_API_KEY" if status in (401, 403) else ""
        tries = f" after {self.max_retries} retries" if status in (None, 408, 409, 429) or status >= 500 else ""
        return f"{self.name} gave no answer{tries}: {said}{advice}"


def _key() -> str:
    return os.environ.get("OPENAI_API_KEY", "").strip()
