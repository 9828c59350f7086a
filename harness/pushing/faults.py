"""What went wrong with an upload, in one line: who refused what and why, what is there, what can be done."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.errors import InputError
from harness.pushing.answers import AnswerTooLongError, seconds_to_wait
from harness.pushing.bounded import DeadlinePassedError
from harness.pushing.endpoint import shown
from harness.report.text import one_line, shorten

MESSAGE_LIMIT = 200
TOKENS = "huggingface.co/settings/tokens"
_REMEDIES = {
    400: "what it says is wrong with the upload has to be mended",
    401: f"the token is not known there: give a valid one in HF_TOKEN ({TOKENS})",
    402: "its owner has to have a plan that allows this",
    403: f"the token may not write there: give one with the right to write ({TOKENS}), or another owner",
    404: "check the owner's name, and that the token may see the repository",
    409: "somebody else changed the repository at the same time: push again",
    412: "somebody else changed the repository at the same time: push again",
    413: "a file is larger than the server takes",
    429: "too many requests: wait a few minutes and push again",
}
_SERVERS_FAULT = "it is a fault of the server: push again later"
_NOT_THE_HUB = InputError | ValueError | LookupError | TypeError | AttributeError
_BATCH = "LFS batch API returned errors"
_BATCH_HEAD = re.compile(r"(?:^|\n)Encountered error for file with OID \w+: `")


@dataclass(frozen=True)
class _Refusal:
    status: int | None
    words: str
    wait: int | None = None

    @property
    def fix(self) -> str:
        if self.wait is not None:
            return f"it asks to wait {self.wait:,} s: push again then"
        return _REMEDIES.get(self.status or 400, _SERVERS_FAULT)


def told(error: Exception, token: str, *, status: int | None, there: Callable[[bool], str]) -> str:
    """One line: what the Hub answered, or that it did not, what is there, and what can be done about it.

    `status` is the last answer's; `there` says what is there, with True where no commit can come of it.
    """
    chain = list(_causes(error))
    if (refusal := _refusal(chain, status)) is not None:
        answered = "refused" if refusal.status is None else f"answered {refusal.status}"
        left = there(refusal.status is None or refusal.status < 500)
        return f"the Hub at {shown()} {answered}: {safe(refusal.words, token)}{left}; {refusal.fix}"
    end = f"{there(False)}; check the network and HF_ENDPOINT, then push again"
    if isinstance(error, DeadlinePassedError):
        return f"the Hub at {shown()} did not answer in time{end}"
    last = chain[-1]
    said = f"{type(last).__name__}: {safe(str(last), token)}"
    if isinstance(error, _NOT_THE_HUB):
        answered = "" if status is None else f"answered {status}, "
        return (
            f"what answers at {shown()} is not the Hub, perhaps a page to log in at ({answered}{said}){end}"
        )
    return f"the Hub at {shown()} cannot be reached or broke off ({said}){end}"


def _refusal(chain: Sequence[BaseException], status: int | None) -> _Refusal | None:
    """What was refused, from huggingface_hub's error, or from the answer that it stumbled over."""
    from huggingface_hub.errors import HfHubHTTPError

    for one in chain:
        if isinstance(one, HfHubHTTPError):
            words = one.server_message or ""
            return _Refusal(one.response.status_code, words, seconds_to_wait(one.response))
        if isinstance(one, ValueError) and str(one).startswith(_BATCH):
            return _Refusal(None, ", ".join(_batch_words(str(one))))
    answered = [getattr(getattr(one, "response", None), "status_code", 0) for one in chain]
    found = next((number for number in answered if number >= 400), None)
    if found is None and status is not None and status >= 400:
        found = status if isinstance(chain[0], DeadlinePassedError | _NOT_THE_HUB) else None
    words = str(chain[0]) if isinstance(chain[0], AnswerTooLongError) else ""
    return None if found is None else _Refusal(found, words)


def _batch_words(text: str) -> list[str]:
    """What git-lfs's batch API says of each file, without the file's digest; the same words once."""
    return list(dict.fromkeys(filter(None, _BATCH_HEAD.split(text)[1:])))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def safe(text: str, token: str) -> str:
    """A server's words on one line, without the token that it may have been shown."""
    return shorten(one_line(text.replace(token, "…")), MESSAGE_LIMIT) or "no reason given"
