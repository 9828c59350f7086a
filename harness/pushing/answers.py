"""The Hub's answers as they come: what the last one was, how large they grow, how long they ask to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ANSWER_BYTES = 64 * 2**20
"""Beyond what the Hub answers to any request of an upload, parts of many large files among them."""


class AnswerTooLongError(ValueError):
    """An answer has more bytes than the Hub sends; they are not kept."""


class Answers:
    """Looks at each answer before huggingface_hub does.

    `status` is the last one's, None while it is awaited.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.status: int | None = None

    def ask(self, _: Any) -> None:
        """A request is sent."""
        self.status = None

    def take(self, response: Any) -> None:
        """An answer begins; raises what it refuses with where it asks to wait for longer than is waited."""
        from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]

        self.status = response.status_code
        response.iter_bytes = _bounded(response.iter_bytes)
        if (seconds_to_wait(response) or 0) > self._patience:
            response.read()
            hf_raise_for_status(response)


@contextmanager
def watched(timeout: float, patience: float) -> Iterator[Answers]:
    """huggingface_hub's requests in the block: their answers are looked at, and a silence ends them."""
    from huggingface_hub import get_session

    client: Any = get_session()
    answers, hooks = Answers(patience), client.event_hooks
    client.timeout = timeout
    client.event_hooks = {
        "request": [*hooks["request"], answers.ask],
        "response": [*hooks["response"], answers.take],
    }
    try:
        yield answers
    finally:
        client.event_hooks = hooks


def seconds_to_wait(response: Any) -> int | None:
    """What Retry-After asks for; None where it is no number of seconds."""
    asked = str(response.headers.get("Retry-After", "")).strip()
    if not (asked.isascii() and asked.isdigit()):
        return None
    return int(asked[:18])  # more digits are as long a wait


def _bounded(read: Callable[..., Iterator[bytes]]) -> Callable[..., Iterator[bytes]]:
    def chunks(*arguments: Any, **named: Any) -> Iterator[bytes]:
        kept = 0
        for chunk in read(*arguments, **named):
            kept += len(chunk)
            if kept > ANSWER_BYTES:
                raise AnswerTooLongError(f"more than {ANSWER_BYTES // 2**20} MB in an answer")
            yield chunk

    return chunks
