"""The ledger as one step uses it: what is spent stands on the step's own receipt too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.ledger import Account, Ledger


class StepLedger(Ledger):
    """A ledger that books each expense twice, for the account and for the step.

    The step's name is its artifact's, so that its receipt holds what killed attempts have paid too.
    `runtime` holds `ledger` (a path), `account` (a name) and `budget_usd` (None: no limit).
    """

    def __init__(self, runtime: Mapping[str, Any], out: Path) -> None:
        super().__init__(Path(runtime["ledger"]))
        self.account = Account(self, runtime["account"], runtime["budget_usd"])
        self._step = f"{self.account.name}: {out.name.removesuffix('.partial')}"

    def __enter__(self) -> StepLedger:
        return self

    def lend_to(self, plugin: Any) -> None:
        """Have a plugin's server keep its replies here and spend the account's money, if it asks one."""
        if hasattr(plugin, "server"):
            plugin.server.lend(self.account)

    def spend(
        self, account: str, key: str, *, usd: float | None, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """As Ledger.spend, and once more under the step; what is free stands on the step's receipt alone."""
        with self.transaction():
            for payer in (self._step,) if usd == 0 else (account, self._step):
                super().spend(
                    payer, key, usd=usd, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens
                )

    def receipt(self) -> dict[str, Any]:
        """What the step has paid for; `cost_usd` None: the price of some of it is not known."""
        spent = self.spent(self._step)
        return {
            "requests": spent.requests,
            "prompt_tokens": spent.prompt_tokens,
            "completion_tokens": spent.completion_tokens,
            "cost_usd": None if spent.unpriced else spent.usd,
        }

    @property
    def charged(self) -> bool:
        """Whether anything cost the step money so far."""
        return self.spent(self._step).usd > 0

    def count(self, key: str) -> None:
        """Note that the step made the entry `key`, whatever that took."""
        super().spend(f"{self._step} made", key, usd=0.0, prompt_tokens=0, completion_tokens=0)

    @property
    def made(self) -> int:
        """How many entries the step has made."""
        return self.spent(f"{self._step} made").requests
