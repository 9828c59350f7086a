"""A chat completions server on loopback that says what a test's script tells it to.

Real sockets: the openai client speaks through httpx2, which no interception library knows.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-sentinel-0d93b1f7"
"""The OPENAI_API_KEY of the fixture `environment`."""
FENCED = r"<fenced {name} ([0-9a-f]{{32}})>\n(.*?)\n</fenced {name} \1>"


@dataclass(frozen=True)
class Answer:
    """What the server does with one request; `drop` closes the connection without a word.

    `cut` sends so many bytes of the body and then closes the connection; `drip` sends one after the other,
    so many seconds apart.
    """

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: bool = False
    cut: int | None = None
    drip: float = 0.0


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


class ScriptedBatches:
    """OpenAI's files and batches. `states` are told one at each look, the last one for ever.

    A batch answers its requests at the first look that ends it, as a server that has done half of them where
    `answered` is set; `troubles` are answers given instead, by the beginning of `METHOD /path`.
    """

    def __init__(self) -> None:
        self.states = ["validating", "in_progress", "completed"]
        self.answered: int | None = None
        self.troubles: list[tuple[str, Answer]] = []
        self.calls: list[str] = []
        self.asked: list[Asked] = []
        self.files: dict[str, bytes] = {}
        self.made: dict[str, dict[str, Any]] = {}

    def post(self, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        if trouble := self._trouble("POST", path):
            return trouble
        if path.endswith("/files"):
            return Answer({"id": self._file(_uploaded(content, headers)), "object": "file"})
        if not path.endswith("/batches"):
            return error(404, f"no {path}")
        name = f"batch_{len(self.made)}"
        self.made[name] = {**json.loads(content), "id": name, "object": "batch", "created_at": 0, "looks": 0}
        return Answer({**self.made[name], "status": "validating"})

    def get(self, path: str, script: Script) -> Answer:
        if trouble := self._trouble("GET", path):
            return trouble
        parts = path.partition("?")[0].split("/")
        if path.endswith("/content"):
            return Answer(self.files[parts[-2]], headers={"content-type": "application/octet-stream"})
        if parts[-1] == "batches":
            return Answer({"object": "list", "data": [*self.made.values()][::-1], "has_more": False})
        if parts[-1] == "models":
            return Answer({"object": "list", "data": []})
        return self._look(self.made[parts[-1]], script) if parts[-1] in self.made else error(404, "no batch")

    def _trouble(self, method: str, path: str) -> Answer | None:
        self.calls.append(f"{method} {path.removeprefix('/v1').partition('?')[0]}")
        if self.troubles and self.calls[-1].startswith(self.troubles[0][0]):
            return self.troubles.pop(0)[1]
        return None

    def _look(self, batch: dict[str, Any], script: Script) -> Answer:
        state = self.states[min(batch["looks"], len(self.states) - 1)]
        batch["looks"] += 1
        if state in ("completed", "expired", "cancelled") and "output_file_id" not in batch:
            self._answer(batch, script)
        if state == "failed":
            batch["errors"] = {"object": "list", "data": [{"code": "c", "message": "the file is no good"}]}
        return Answer({**batch, "status": state})

    def _answer(self, batch: dict[str, Any], script: Script) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        good: list[str] = []
        bad: list[str] = []
        for line in lines[: self.answered]:
            self.asked.append(Asked(line["body"], {}))
            answer = script(self.asked[-1])
            response = {"status_code": answer.status, "request_id": "r", "body": answer.body}
            done = {"id": "x", "custom_id": line["custom_id"], "response": response, "error": None}
            (good if answer.status == 200 else bad).append(json.dumps(done))
        batch["output_file_id"] = self._file("\n".join(good).encode()) if good else None
        batch["error_file_id"] = self._file("\n".join(bad).encode()) if bad else None
        batch["request_counts"] = {"total": len(lines), "completed": len(good), "failed": len(bad)}

    def _file(self, content: bytes) -> str:
        self.files[f"file-{len(self.files)}"] = content
        return f"file-{len(self.files) - 1}"


def _uploaded(content: bytes, headers: Mapping[str, str]) -> bytes:
    """The file in a multipart form."""
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    part = next(part for part in content.split(b"--" + boundary) if b"filename=" in part)
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")


class ScriptedChat:
    """The server: `script` may be set at any time, `asked` holds all requests for a completion so far.

    `batches` are those of the Batch API, whose requests are answered by the same script.
    """

    def __init__(self) -> None:
        self.script: Script = lambda asked: verdict("tie")
        self.asked: list[Asked] = []
        self.batches = ScriptedBatches()
        chat = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: two would wait for each other

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                headers = {key.lower(): value for key, value in self.headers.items()}
                if not self.path.endswith("/chat/completions"):
                    self._send(chat.batches.post(self.path, content, headers))
                    return
                asked = Asked(json.loads(content), headers)
                chat.asked.append(asked)
                self._send(chat.script(asked))

            def do_GET(self) -> None:
                self._send(chat.batches.get(self.path, chat.script))

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
                self.close_connection = self.close_connection or answer.cut is not None
                if not answer.drip:
                    self.wfile.write(content[: answer.cut])
                    return
                for byte in content:
                    self.wfile.write(bytes([byte]))
                    self.wfile.flush()
                    time.sleep(answer.drip)

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
