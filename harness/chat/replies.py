"""What comes back from a chat server: a completion, read from its JSON, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from harness.errors import StageError
from harness.text import well_formed
from harness.validity import is_tokens

LONGEST_INTEGER = 300
"""Digits of an integer that a float can still hold."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A chat completion. `calls` are the functions called, each as (name, arguments as they came).

    `cost_usd` is what was paid for it, None if unknown; `from_ledger`: it was paid for before, not now.
    """

    text: str
    calls: tuple[tuple[str, str], ...]
    refusal: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None = None
    from_ledger: bool = False


class RequestRefused(Exception):  # noqa: N818 - the event is the name
    """The server takes requests, but not this one, because of what it holds; `fault` as in a Verdict."""

    def __init__(self, what: str, fault: Literal["refused", "too_long"] = "refused") -> None:
        super().__init__(what)
        self.fault: Literal["refused", "too_long"] = fault


class RequestRejected(StageError):  # noqa: N818
    """The server does not take requests of this form. `parameter` is the one it names, or empty."""

    def __init__(self, what: str, *, status: int = 0, code: str = "", parameter: str = "") -> None:
        super().__init__(what)
        self.status, self.code, self.parameter = status, code, parameter


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a completion took; `cached` of the prompt's tokens were read from the server's cache."""

    prompt: int
    completion: int
    cached: int = 0


def tokens_used(body: Mapping[str, Any]) -> Tokens | None:
    """The usage that a completion reports; None where it reports none, or one that cannot be."""
    usage = body.get("usage")
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if not prompt or completion is None:
        return None
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    return Tokens(prompt, completion, cached or 0)


def _count(value: Any) -> int | None:
    """A count of tokens, 0 where there is none; None for what cannot be one."""
    if value is None:
        return 0
    if isinstance(value, float) and value.is_integer():  # infinity is none
        value = int(value)
    return value if is_tokens(value) else None


def read_json(text: str) -> Any:
    """A server's JSON; a number of more digits than Python reads at once is infinite."""
    return json.loads(text, parse_int=_integer)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)


def tokens_expected(request: Mapping[str, Any], longest_reply: int) -> Tokens:
    """A guess before the request is sent: four characters a token, and the longest reply allowed."""
    said = {name: request[name] for name in ("messages", "tools", "response_format") if name in request}
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or longest_reply
    return Tokens(len(json.dumps(said, ensure_ascii=False, default=str)) // 4 + 1, int(limit))


def read_reply(body: Any, *, cost_usd: float | None = None, from_ledger: bool = False) -> Reply:
    """The first choice of a chat completion; a lookup, type or value error where the body is none."""
    choice = body["choices"][0]
    message, used = choice["message"], tokens_used(body) or Tokens(0, 0)
    functions = [call.get("function") or {} for call in message.get("tool_calls") or []]
    return Reply(
        _text(message.get("content")),
        tuple((str(f.get("name")), _text(f.get("arguments"))) for f in functions),
        _text(message.get("refusal")),
        str(choice.get("finish_reason")),
        used.prompt,
        used.completion,
        cost_usd,
        from_ledger,
    )


NO_REPLY = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
"""What `read_reply` raises where the body is no chat completion."""


def _text(value: Any) -> str:
    """A text; some servers send arguments as an object, others content as a list of parts."""
    if value is None:
        return ""
    # JSON can hold lone surrogates, UTF-8 cannot.
    return well_formed(value if isinstance(value, str) else json.dumps(value))
