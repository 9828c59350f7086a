"""A trained candidate goes to the Hub: which report, which weights, which files, and one commit."""

from __future__ import annotations

from harness.pushing.finding import Chosen, choose
from harness.pushing.hub_client import send
from harness.pushing.payload import Payload, make_payload

__all__ = ["Chosen", "Payload", "choose", "make_payload", "send"]
