"""What one step spends: on whose account, and on a receipt of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.ledger import Account, Ledger
from harness.protocols import AsksServer


class StepAccount:
    """The ledger as one step uses it: each expense goes to the account and onto the step's receipt.

    The step's name is its artifact's, so that its receipt holds what killed attempts have paid too.
    `runtime` holds `ledger` (a path), `account` (a name) and `budget_usd` (None: no limit).
    """

    def __init__(self, runtime: Mapping[str, Any], out: Path) -> None:
        self.ledger = Ledger(Path(runtime["ledger"]))
        self._step = f"{runtime['account']}: {out.name.removesuffix('.partial')}"
        self.account = Account(self.ledger, runtime["account"], runtime["budget_usd"], self._step)

    def __enter__(self) -> StepAccount:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ledger.close()

    def lend_to(self, plugin: Any) -> None:
        """Have a plugin's server keep its replies here and spend the account's money, if it asks one."""
        if isinstance(plugin, AsksServer):
            plugin.server.lend(self.account)

    def receipt(self) -> dict[str, Any]:
        """What the step has paid for; `cost_usd` None: the price of some of it is not known."""
        spent = self.ledger.spent(self._step)
        return {
            "requests": spent.requests,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "cost_usd": None if spent.unpriced else spent.usd,
        }

    @property
    def charged(self) -> bool:
        """Whether anything cost the step money so far."""
        return self.ledger.spent(self._step).usd > 0

    def count(self, key: str) -> None:
        """Note that the step made the entry `key`, whatever that took."""
        self.ledger.spend(f"{self._step} made", key, usd=0.0, prompt_tokens=0, completion_tokens=0)

    @property
    def made(self) -> int:
        """How many entries the step has made."""
        return self.ledger.spent(f"{self._step} made").requests
