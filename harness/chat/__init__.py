"""Chat servers that speak OpenAI's API, for the plugins that ask one."""

from harness.chat.forms import Form
from harness.chat.prices import Price
from harness.chat.replies import Reply, RequestRefused, RequestRejected
from harness.chat.server import ChatServer
from harness.chat.structured import Outcome, ask, reread
from harness.errors import BudgetExhausted
from harness.ledger import Account

__all__ = [
    "Account",
    "BudgetExhausted",
    "ChatServer",
    "Form",
    "Outcome",
    "Price",
    "Reply",
    "RequestRefused",
    "RequestRejected",
    "ask",
    "reread",
]
