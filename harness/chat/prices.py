"""What a model's tokens cost: a dated table, prices.toml beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.chat.replies import Tokens

TABLE = Path(__file__).with_name("prices.toml")
AMOUNTS = ("input", "output", "cached_input")
REQUIRED, KNOWN = {"input", "output"}, {"input", "output", "cached_input", "batch"}


@dataclass(frozen=True, slots=True)
class Price:
    """USD per million tokens. `cached_input` None: as `input`. `batch` is the share paid in a batch."""

    input: float
    output: float
    cached_input: float | None = None
    batch: float = 1.0

    def cost(self, tokens: Tokens, *, batch: bool = False) -> float:
        """USD for one completion."""
        cached = min(tokens.cached, tokens.prompt)
        cached_input = self.input if self.cached_input is None else self.cached_input
        read = (tokens.prompt - cached) * self.input + cached * cached_input
        return (read + tokens.completion * self.output) / 1e6 * (self.batch if batch else 1.0)


FREE = Price(0.0, 0.0)


def read_price(option: Mapping[str, float], host: str = "") -> Price:
    """The price in a suite's `price: {input: 2.5, output: 10}`; ValueError says what is wrong with it.

    Where it does not say what a batch costs, that is the host's share in the table.
    """
    if not set(option) >= REQUIRED or not set(option) <= KNOWN:
        raise ValueError("price has exactly the keys input and output, and perhaps cached_input and batch")
    for name, value in option.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise ValueError(f"price.{name} is {value!r}; expected USD per million tokens, 0 or more")
    shares = [section.get("batch", 1.0) for section in _sections() if host in section["hosts"]]
    return Price(**{"batch": next(iter(shares), 1.0), **option})


def listed_price(host: str, model: str) -> Price | None:
    """The price in the table of a model at a host; a dated model has none but its own or its alias's."""
    return _table().get((host, model))


@cache
def _table() -> dict[tuple[str, str], Price]:
    return {
        (host, model): Price(
            **{"batch": section.get("batch", 1.0), **dict(zip(AMOUNTS, amounts, strict=False))}
        )
        for section in _sections()
        for host in section["hosts"]
        for models, amounts in section["prices"].items()
        for model in models.split()
    }


@cache
def _sections() -> tuple[dict[str, Any], ...]:
    with TABLE.open("rb") as file:
        return tuple(tomllib.load(file)["server"])
