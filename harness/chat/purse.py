"""An account's budget, held while many threads spend it."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import BudgetExhausted
from harness.ledger import Account

LOOK_AGAIN_SECONDS = 1.0
"""Another process may spend from the same account without this one knowing."""


class Purse:
    """Lets a request go while what is spent and what is in flight stay below the budget.

    Near its end requests thus go one by one. What is guessed too low exceeds the budget by no more than one
    request for each worker.
    """

    def __init__(self, account: Account) -> None:
        self.account = account
        self._changed = threading.Condition()
        self._in_flight = 0.0

    def left(self) -> float | None:
        """USD that are left, None for no limit; BudgetExhausted where there is nothing left."""
        budget = self.account.budget_usd
        if budget is None:
            return None
        spent = self.account.ledger.spent(self.account.name)
        if spent.usd >= budget:
            requests = f"{spent.requests:,} request{'' if spent.requests == 1 else 's'}"
            what = f"the budget of ${_exact(budget)} is spent (${_exact(spent.usd)}, {requests})"
            raise BudgetExhausted(f"{what}; raise budget_usd to go on, nothing paid for is asked again")
        return budget - spent.usd

    @contextmanager
    def reserved(self, usd: float) -> Iterator[None]:
        """Wait until a request of about this cost may go, and count it while it is in flight."""
        with self._changed:
            while (left := self.left()) is not None and self._in_flight >= left:
                self._changed.wait(LOOK_AGAIN_SECONDS)
            self._in_flight += usd
        try:
            yield
        finally:
            with self._changed:
                self._in_flight -= usd
                self._changed.notify_all()


def _exact(usd: float) -> str:
    """Dollars to the cent, or to two significant digits below."""
    if usd >= 0.01 or usd <= 0:
        return f"{usd:,.2f}"
    return f"{usd:.{1 - math.floor(math.log10(usd))}f}"
