"""A stand-in for the Hub: the requests that huggingface_hub makes to create a repository and commit to it.

Real HTTP on the loopback, one thread a request. Small files come inside the commit. Weights come as xet's
chunks, or by git-lfs's batch API, whole or in parts, where the client does without xet. `faults` make a
request fail. Of xet the older endpoints are served, which hf_xet falls back to (huggingface/xet-core,
xet_client/src/cas_client/remote_client.rs; the chunks' form: xet_core_structures/src/xorb_object/).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "s3cr3t" * 5
COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Hub:
    """What the stand-in was told, by repository and file, and how it is to behave."""

    url: str = ""
    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)
    faults: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Part of a path -> the status and the message of the answer; status 0: no answer for a while."""
    chunk_size: int | None = None
    """Weights come in parts of so many bytes."""
    hang_seconds: float = 3.0
    ignored: set[str] = field(default_factory=set)
    """Files that a .gitignore of the repository leaves out."""
    calls_it: str = ""
    """Another id of the repository that is created, as after a move."""
    portal: str = ""
    """A page that answers everything."""
    drips: str = ""
    """Part of a path whose answer comes byte by byte and never ends."""
    warns: str = ""
    """What the Hub warns of in a card."""
    answers: dict[str, Answer] = field(default_factory=dict)
    """Part of a path -> what is answered in place of all else."""
    flooded: int = 0
    """How many bytes of endless answers the client has taken."""


@dataclass
class Answer:
    """An answer as it goes over the wire; an endless one repeats its body until the client hangs up."""

    status: int
    body: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """A Hub on a port of its own, until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self._serve()

        do_POST = do_PUT = do_GET  # noqa: N815

        def _serve(self) -> None:
            body = self._body()
            hub.requests.append(f"{self.command} {self.path}")
            if not self.path.startswith(("/store/", "/cas/", "/v1/")):
                hub.authorizations.add(self.headers.get("Authorization", ""))
            if hub.portal or (hub.drips and hub.drips in self.path):
                self._say_otherwise()
                return
            for part, odd in hub.answers.items():
                if part in self.path:
                    self._say(odd)
                    return
            for part, (status, message) in hub.faults.items():
                if part in self.path:
                    if status == 0:
                        time.sleep(hub.hang_seconds)
                        self.close_connection = True
                        return
                    self._answer({"error": message}, status)
                    return
            for pattern, method, answer in _ROUTES:
                found = re.fullmatch(pattern, self.path)
                if found and method == self.command:
                    status, value, headers = answer(hub, body, **found.groupdict())
                    self._answer(value, status, headers)
                    return
            self._answer({"error": "Repository not found"}, 404)

        def _say_otherwise(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(hub.portal) or 10_000))
            self.end_headers()
            self.wfile.write(hub.portal.encode())
            end = time.monotonic() + (0 if hub.portal else hub.hang_seconds)
            while time.monotonic() < end:
                self.wfile.write(b" ")
                time.sleep(0.05)
            self.close_connection = True

        def _say(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, text in answer.headers.items():
                self.send_header(name, text)
            if not answer.endless and answer.status != 204:
                self.send_header("Content-Length", str(len(answer.body.encode())))
            self.end_headers()
            self.wfile.write(answer.body.encode())
            self.close_connection = answer.endless
            with suppress(OSError):
                while answer.endless:
                    hub.flooded += self.wfile.write(answer.body.encode())

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                chunks = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    chunks.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(chunks)
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


_Answer = tuple[int, Any, dict[str, str]]


def _create(hub: Hub, body: bytes) -> _Answer:
    asked = json.loads(body)
    repo = hub.calls_it or f"{asked['organization']}/{asked['name']}"
    status = 409 if repo in hub.repos else 200
    hub.repos.setdefault(repo, asked)
    hub.files.setdefault(repo, {})
    return status, {"url": f"{hub.url}/{repo}"}, {}


def _validate(hub: Hub, body: bytes) -> _Answer:
    from huggingface_hub import ModelCard

    ModelCard(json.loads(body)["content"])  # raises where the head is no valid one
    return 200, {"errors": [], "warnings": [{"message": hub.warns}] if hub.warns else []}, {}


def _preupload(hub: Hub, body: bytes, repo: str) -> _Answer:
    found = []
    for file in json.loads(body)["files"]:
        mode = "lfs" if file["path"].endswith(".safetensors") else "regular"
        found.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": file["path"] in hub.ignored})
    return (200, {"files": found}, {}) if repo in hub.repos else (404, {"error": "Repository not found"}, {})


def _batch(hub: Hub, body: bytes, repo: str) -> _Answer:
    objects = []
    for one in json.loads(body)["objects"]:
        oid, size = one["oid"], one["size"]
        if oid in hub.objects:
            objects.append({"oid": oid, "size": size})
            continue
        upload: dict[str, Any] = {"href": f"{hub.url}/store/{oid}"}
        if hub.chunk_size and size > hub.chunk_size:
            count = -(-size // hub.chunk_size)
            parts = {str(n): f"{hub.url}/store/{oid}/{n}" for n in range(1, count + 1)}
            upload = {
                "href": f"{hub.url}/store/{oid}/complete",
                "header": {"chunk_size": str(hub.chunk_size), **parts},
            }
        verify = {"href": f"{hub.url}/{repo}.git/info/lfs/verify"}
        objects.append({"oid": oid, "size": size, "actions": {"upload": upload, "verify": verify}})
    return 200, {"transfer": "multipart" if hub.chunk_size else "basic", "objects": objects}, {}


def _put(hub: Hub, body: bytes, oid: str) -> _Answer:
    hub.objects[oid] = body
    return 200, {}, {}


def _put_part(hub: Hub, body: bytes, oid: str, number: str) -> _Answer:
    hub.parts.setdefault(oid, {})[int(number)] = body
    return 200, {}, {"ETag": hashlib.sha256(body).hexdigest()}


def _complete(hub: Hub, body: bytes, oid: str) -> _Answer:
    parts = hub.parts[oid]
    told = [part["etag"] for part in json.loads(body)["parts"]]
    assert told == [hashlib.sha256(parts[n]).hexdigest() for n in sorted(parts)]
    hub.objects[oid] = b"".join(parts[n] for n in sorted(parts))
    return 200, {}, {}


def _verify(hub: Hub, body: bytes, **_: str) -> _Answer:
    told = json.loads(body)
    content = hub.objects[told["oid"]]
    whole = hashlib.sha256(content).hexdigest() == told["oid"] and len(content) == told["size"]
    return (200, {}, {}) if whole else (422, {"error": "not what was announced"}, {})


def _commit(hub: Hub, body: bytes, repo: str) -> _Answer:
    lines = [json.loads(line) for line in body.splitlines()]
    added: dict[str, bytes] = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            added[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            added[value["path"]] = hub.objects[value["oid"]]
    hub.files[repo] |= added
    summary = next(line["value"]["summary"] for line in lines if line["key"] == "header")
    hub.commits.append({"repo": repo, "summary": summary, "files": sorted(added)})
    return 200, {"commitUrl": f"{hub.url}/{repo}/commit/{COMMIT}", "commitOid": COMMIT}, {}


def _xet_token(hub: Hub, _: bytes, **__: str) -> _Answer:
    end = int(time.time()) + 3600
    return 200, {"accessToken": "xet", "exp": end, "casUrl": f"{hub.url}/cas"}, {}


def _unknown(_: Hub, __: bytes) -> _Answer:
    return 404, {}, {}


def _xorb(hub: Hub, body: bytes) -> _Answer:
    """A block of chunks. One file at a time: the chunks in their order are the file."""
    content = b"".join(_chunks(body))
    hub.objects[hashlib.sha256(content).hexdigest()] = content
    return 200, {"was_inserted": True}, {}


def _chunks(body: bytes) -> Iterator[bytes]:
    """Each with a head of 8 bytes: version, length, scheme, length before compression."""
    import pyarrow as pa

    place = 0
    while place < len(body):
        head = body[place : place + 8]
        packed, size = int.from_bytes(head[1:4], "little"), int.from_bytes(head[5:8], "little")
        data = body[place + 8 : place + 8 + packed]
        if head[4]:
            data = pa.decompress(data, decompressed_size=size, codec="lz4", asbytes=True)
        yield _ungrouped(data) if head[4] == 2 else data
        place += 8 + packed


def _ungrouped(data: bytes) -> bytes:
    """Bytes that stood in four groups, by their place modulo four."""
    found, start = bytearray(len(data)), 0
    for group in range(4):
        size = len(range(group, len(data), 4))
        found[group::4] = data[start : start + size]
        start += size
    return bytes(found)


def _shard(_: Hub, __: bytes) -> _Answer:
    return 200, {"result": 1}, {}


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_OID = r"(?P<oid>[0-9a-f]{64})"
_ROUTES = [
    (r"/api/repos/create", "POST", _create),
    (r"/api/validate-yaml", "POST", _validate),
    (rf"/api/models/{_REPO}/preupload/main", "POST", _preupload),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "POST", _batch),
    (rf"/{_REPO}\.git/info/lfs/verify", "POST", _verify),
    (rf"/store/{_OID}", "PUT", _put),
    (rf"/store/{_OID}/(?P<number>\d+)", "PUT", _put_part),
    (rf"/store/{_OID}/complete", "POST", _complete),
    (rf"/api/models/{_REPO}/commit/main", "POST", _commit),
    (rf"/api/models/{_REPO}/xet-write-token/main", "GET", _xet_token),
    (r"/cas/v1/chunks/\S+", "GET", _unknown),
    (r"/cas/v1/xorb-grants/\S+", "POST", _unknown),
    (r"/cas/v2/shards", "POST", _unknown),
    (r"/cas/v1/xorbs/\S+", "POST", _xorb),
    (r"/cas/v1/shards", "POST", _shard),
]
