"""Chat servers that speak OpenAI's API, for the plugins that ask one."""

from harness.chat.server import ChatServer, Reply, RequestRefused

__all__ = ["ChatServer", "Reply", "RequestRefused"]
