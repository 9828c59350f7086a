"""A chat completions server on loopback that says what a test's script tells it to.

Real sockets: the openai client speaks through httpx2, which no interception library knows.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FENCED = r"<fenced {name} ([0-9a-f]{{32}})>\n(.*?)\n</fenced {name} \1>"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request; `drop` closes the connection without a word."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    body: dict[str, Any]
    headers: dict[str, str]

    def fenced(self, name: str) -> str:
        """What the judge is shown between the fences of this name."""
        found = re.findall(FENCED.format(name=name), self.body["messages"][1]["content"], re.DOTALL)
        assert len(found) == 1, f"{len(found)} fences named {name}"
        return str(found[0][1])

    @property
    def pair(self) -> tuple[str, str]:
        return self.fenced("answer_1"), self.fenced("answer_2")


Script = Callable[[Asked], Answer]


def completion(message: dict[str, Any], finish_reason: str = "stop") -> Answer:
    """A chat completion of 100 prompt tokens and 20 completion tokens."""
    choice = {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", **message}}
    usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
    return Answer({"id": "c", "object": "chat.completion", "created": 0, "choices": [choice], "usage": usage})


def says(text: str | None, finish_reason: str = "stop") -> Answer:
    """A reply in text."""
    return completion({"content": text}, finish_reason)


def calls(*arguments: Any, name: str = "give_verdict", finish_reason: str = "tool_calls") -> Answer:
    """A reply that calls a function, once for each of `arguments` (a text goes out as it is)."""
    texts = [a if isinstance(a, str) else json.dumps(a) for a in arguments]
    made = [{"id": "1", "type": "function", "function": {"name": name, "arguments": t}} for t in texts]
    return completion({"content": None, "tool_calls": made}, finish_reason)


def verdict(choice: str) -> Answer:
    """A valid verdict: answer_1, answer_2 or tie."""
    return calls({"explanation": "because", "choice": choice})


def error(status: int, message: str = "no", code: str | None = None, **headers: str) -> Answer:
    """An error as OpenAI sends it; headers are spelled with underscores."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return Answer({"error": {"message": message, "type": "t", "code": code}}, status, named)


class ScriptedChat:
    """The server: `script` may be set at any time, `asked` holds all requests so far."""

    def __init__(self) -> None:
        self.script: Script = lambda asked: verdict("tie")
        self.asked: list[Asked] = []
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: two would wait for each other

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked = Asked(body, {key.lower(): value for key, value in self.headers.items()})
                chat.asked.append(asked)
                self._send(chat.script(asked))

            def _send(self, answer: Answer) -> None:
                time.sleep(answer.delay)
                if answer.drop:
                    self.close_connection = True
                    return
                content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for key, value in {"content-type": "application/json", **answer.headers}.items():
                    self.send_header(key, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, address: object) -> None:
                """A client that was killed or lost patience is what some tests want."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def plays(self, *answers: Answer) -> None:
        """Forget earlier requests and give these answers in turn, the last one for ever."""
        self.asked.clear()
        queue = list(answers)
        self.script = lambda asked: queue.pop(0) if len(queue) > 1 else queue[0]


@contextmanager
def scripted_chat() -> Iterator[ScriptedChat]:
    """A running server."""
    chat = ScriptedChat()
    thread = threading.Thread(target=chat.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield chat
    finally:
        chat.server.shutdown()
        chat.server.server_close()
        thread.join()
