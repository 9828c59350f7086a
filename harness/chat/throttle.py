"""How many requests are in flight at a server, and when the next may go: for all threads that ask it.

Concurrency starts at its maximum, is halved when the server says that it is overloaded, and grows back by
one for each round of successes (additive increase, multiplicative decrease, as in TCP: Jacobson 1988,
"Congestion avoidance and control"). A pause that the server asks for holds all threads.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
LONGEST_PAUSE = 600.0
"""Seconds: a server that asks for a longer wait is not waited for."""
WINDOW_SECONDS = 60.0
"""The minute of requests_per_minute and tokens_per_minute."""


def backoff(tries: int) -> float:
    """Seconds to wait after so many failed tries: doubling, up to a quarter less so that threads part."""
    delay = min(FIRST_DELAY * 2.0 ** min(tries - 1, 30), LONGEST_DELAY)
    return delay * (1.0 - 0.25 * random.random())  # noqa: S311 - spreads retries, guards nothing


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: Retry-After-Ms, or Retry-After in seconds or as an HTTP date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0:  # not NaN either
            return seconds
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError, TypeError, OverflowError):
        return None


@dataclass(eq=False, slots=True)
class Ticket:
    """The leave to send one request: since when, and for how many tokens it counts while it is `counted`."""

    since: float
    tokens: int
    counted: bool = False


@dataclass(eq=False)
class Throttle:
    """At most `maximum` requests in flight, and so many requests and tokens in any `window` seconds."""

    maximum: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    window: float = WINDOW_SECONDS
    answers: int = field(default=0, init=False)
    """How many requests the server has answered."""
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _recent: deque[Ticket] = field(default_factory=deque, init=False)
    _limit: float = field(init=False)
    _in_flight: int = field(default=0, init=False)
    _recent_tokens: int = field(default=0, init=False)
    _paused_until: float = field(default=0.0, init=False)
    _halved_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._limit = float(self.maximum)

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    def enter(self, tokens: int) -> Ticket:
        """Wait until a request of about so many tokens may be sent; `leave` must follow."""
        with self._changed:
            while (wait := self._wait(tokens)) > 0.0:
                self._changed.wait(wait)
            ticket = Ticket(time.monotonic(), tokens)
            self._in_flight += 1
            if self._is_metered():
                ticket.counted = True
                self._recent.append(ticket)
                self._recent_tokens += tokens
            return ticket

    def leave(self, ticket: Ticket, *, used: int | None = None) -> None:
        """The request is over; `used` are the tokens that it really took, where they are known."""
        with self._changed:
            self._in_flight -= 1
            if used is not None and ticket.counted:
                self._recent_tokens += used - ticket.tokens
                ticket.tokens = used
            self._changed.notify_all()

    def succeeded(self) -> None:
        """The server answered: a round of answers lets one request more be in flight."""
        with self._changed:
            self.answers += 1
            self._limit = min(float(self.maximum), self._limit + 1.0 / self._limit)

    def overloaded(self, ticket: Ticket, pause: float) -> None:
        """The server has too much to do: all threads pause, and half as many go on.

        Requests that were in flight when the limit was last halved say nothing about the new one.
        """
        with self._changed:
            now = time.monotonic()
            if ticket.since >= self._halved_at:
                self._limit = max(1.0, self._limit / 2.0)
                self._halved_at = now
            self._paused_until = max(self._paused_until, now + pause)

    def _wait(self, tokens: int) -> float:
        """Seconds until it is worth looking again; 0: the request may go."""
        now = time.monotonic()
        if self._paused_until > now:
            return self._paused_until - now
        if self._in_flight >= self.limit:
            return self.window  # another's leaving wakes this thread
        if not self._is_metered():
            return 0.0
        while self._recent and self._recent[0].since <= now - self.window:
            oldest = self._recent.popleft()
            oldest.counted = False
            self._recent_tokens -= oldest.tokens
        return self._recent[0].since + self.window - now if self._is_full(tokens) else 0.0

    def _is_metered(self) -> bool:
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    def _is_full(self, tokens: int) -> bool:
        # A request that alone exceeds the limit must go some time: when nothing else does.
        if not self._recent:
            return False
        if self.requests_per_minute is not None and len(self._recent) >= self.requests_per_minute:
            return True
        return self.tokens_per_minute is not None and self._recent_tokens + tokens > self.tokens_per_minute
