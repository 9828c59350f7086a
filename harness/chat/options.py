"""The options that plugins have in common which ask a chat server: one name and one meaning each."""

from __future__ import annotations

from typing import Any

from harness.protocols import option

SERVER_OPTIONS: dict[str, tuple[Any, str]] = {
    "base_url": (None, "the server; null: OPENAI_BASE_URL, or OpenAI itself"),
    "timeout": (60.0, "seconds for a request, to the last byte of its reply"),
    "max_retries": (8, "retries after a timeout, a lost connection, 408, 409, 429 or 5xx"),
    "concurrency": (8, "requests in flight at once, at most"),
    "requests_per_minute": (None, "requests a minute, at most"),
    "tokens_per_minute": (None, "tokens a minute, at most"),
    "price": (None, "USD per million tokens, {input: 2.5, output: 10}; null: by the table"),
}
"""Name -> default and help text. `ChatServer.of` reads them off a plugin."""


def server_option(name: str) -> Any:
    """The dataclass field for one of SERVER_OPTIONS; only the server's address can change a reply."""
    default, text = SERVER_OPTIONS[name]
    return option(default, help=text, changes_result=name == "base_url")
