"""Many completions at once through OpenAI's Batch API: cheaper, and done within a day instead of at once.

The replies land in the ledger under the keys of `ChatServer.complete`, which then finds them there. A batch
that is under way is noted in the ledger before it is created, so that a killed run goes on with it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from harness.chat.client import Trouble
from harness.chat.replies import NO_REPLY, RequestRejected, read_json
from harness.chat.server import ChatServer
from harness.errors import StageError
from harness.ledger import BROKEN, Account
from harness.protocols import Progress, silent
from harness.store import digest

if TYPE_CHECKING:
    from openai import OpenAI

Request = Mapping[str, Any]
LARGEST_BATCH, LARGEST_FILE = 50_000, 150 * 10**6
"""Requests and bytes of one batch; OpenAI takes 50,000 and 200 MB."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 60.0
"""Seconds between two looks at a batch."""
ENDED = ("completed", "failed", "expired", "cancelled")
LOOK_BACK = 1000
"""How many of the latest batches are looked through for one whose creation was not confirmed."""


def complete_batch(
    server: ChatServer,
    requests: Sequence[tuple[Request, int]],
    progress: Progress = silent,
    *,
    wait: float = FIRST_WAIT,
) -> int:
    """Have the requests, each with its sample's number, answered in batches; how many are left unanswered.

    What a batch does not answer (an error, the end of its day, the end of the budget) is not in the ledger:
    `complete` asks for it anew. Raises StageError where no batch can be had, or one fails as a whole.
    """
    account = server.account
    if account is None:
        raise StageError("a batch needs a ledger to keep its replies in")
    wanted = {server.reply_key(request, sample): request for request, sample in requests}
    batches = _Batches(server, account, wanted, progress, wait)
    # Two processes that want the same do not both pay for it.
    with account.ledger.claim(f"batch|{digest(sorted(wanted))}"):
        return batches.run()


@dataclass(frozen=True, slots=True)
class _Noted:
    """A batch as the ledger notes it; `id` is empty until the server has confirmed it."""

    file: str
    keys: tuple[str, ...]
    model: str
    account: str
    id: str = ""


@dataclass(frozen=True)
class _Batches:
    """The batches for the requests `wanted`, by key."""

    server: ChatServer
    account: Account
    wanted: Mapping[str, Request]
    progress: Progress
    wait: float

    def run(self) -> int:
        """Go on with the batches under way, then send what is still missing."""
        tried: set[str] = set()
        missing = self._missing(tried)
        for note in self._under_way():
            if missing & set(note.keys):
                tried |= set(self._finish(note, resumed=True))
        while part := self._part(self._missing(tried)):
            tried |= set(self._finish(self._upload(part)))
        return len(self._missing(set()))

    def _missing(self, tried: set[str]) -> set[str]:
        ledger = self.account.ledger
        return {key for key in self.wanted if key not in tried and ledger.reply(key) is None}

    def _part(self, missing: set[str]) -> dict[str, bytes]:
        """The lines of the next batch by key: of one model, as many as fit and can be paid for."""
        if not missing:
            return {}
        model = next(str(self.wanted[key].get("model")) for key in self.wanted if key in missing)
        left, part, size = self.server.budget_left(), dict[str, bytes](), 0
        if left is not None:
            self.server.require_price(model)
        for key, request in self.wanted.items():
            if key not in missing or str(request.get("model")) != model:
                continue
            line = self._line(key, request)
            size += len(line)
            if left is not None:
                left -= self.server.expected_cost(request, batch=True) or 0.0
            if size > LARGEST_FILE or len(part) == LARGEST_BATCH or (left is not None and left < 0):
                break
            part[key] = line
        return part

    def _line(self, key: str, request: Request) -> bytes:
        body = self.server.adjusted(request)
        line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line).encode() + b"\n"

    def _upload(self, part: Mapping[str, bytes]) -> _Noted:
        content = b"".join(part.values())

        def upload(client: OpenAI) -> Any:
            return client.files.create(file=("requests.jsonl", content), purpose="batch")

        file = self.server.client.ask(upload, self._with_id)
        model = str(self.wanted[next(iter(part))].get("model"))
        noted = _Noted(file.id, tuple(part), model, self.account.name)
        self._note(noted)
        return noted

    def _finish(self, noted: _Noted, *, resumed: bool = False) -> tuple[str, ...]:
        """See a batch through; the keys that it has tried and that another batch would not answer either."""
        batch = self._ended(noted if noted.id else self._created(noted))
        rejected = self._collected(batch, noted) if batch is not None else []
        self.account.ledger.set_note(self._note_key(noted), None)
        if batch is not None and batch.status == "failed":
            raise self._failure(batch)
        return () if self._learnt(rejected, noted) or (batch is None and resumed) else noted.keys

    def _collected(self, batch: Any, noted: _Noted) -> list[RequestRejected]:
        """Keep what a batch has answered; why requests of it were rejected."""
        files = (batch.output_file_id, batch.error_file_id)
        lines = [line for file in files if file for line in self._lines(file)]
        keys = frozenset(noted.keys)
        return [fault for line in lines if (fault := self._keep(line, keys, noted)) is not None]

    def _failure(self, batch: Any) -> StageError:
        faults = [fault.message for fault in (batch.errors.data if batch.errors else None) or []]
        said = self.server.redacted("; ".join(filter(None, faults[:3])))[:300] or "no reason given"
        return StageError(f"the batch {batch.id} at {self.server.name} failed: {said}")

    def _learnt(self, rejected: Sequence[RequestRejected], noted: _Noted) -> bool:
        """Whether a rejection says how requests of this model must be made, so that another batch may do."""
        example = next((self.wanted[key] for key in noted.keys if key in self.wanted), None)
        return bool(rejected) and example is not None and self.server.learn(example, rejected[0])

    def _created(self, noted: _Noted) -> _Noted:
        """The batch for an uploaded file, which may be there already: a lost answer or a kill hid it."""

        def create(client: OpenAI) -> Any:
            for batch in islice(client.batches.list(limit=100), LOOK_BACK):
                if batch.input_file_id == noted.file:
                    return batch
            return client.batches.create(
                input_file_id=noted.file, endpoint="/v1/chat/completions", completion_window="24h"
            )

        try:
            batch = self.server.client.ask(create, self._with_id)
        except RequestRejected:  # the next run is to send the requests anew
            self.account.ledger.set_note(self._note_key(noted), None)
            raise
        confirmed = _Noted(noted.file, noted.keys, noted.model, noted.account, batch.id)
        self._note(confirmed)
        return confirmed

    def _ended(self, noted: _Noted) -> Any:
        """The batch once nothing will be added to it; None where the server knows it no longer."""
        wait, answered = self.wait, len(self.wanted) - len(self._missing(set()))
        while True:
            try:
                batch = self.server.client.ask(
                    lambda client: client.batches.retrieve(noted.id), self._with_id
                )
            except RequestRejected as rejected:
                if rejected.status == 404:
                    return None
                raise
            counts = batch.request_counts
            done = answered + (counts.completed if counts else 0)
            self.progress(min(done, len(self.wanted)), len(self.wanted), f"batch {batch.status}")
            if batch.status in ENDED:
                return batch
            time.sleep(wait)
            wait = min(1.5 * wait, LONGEST_WAIT)

    def _lines(self, file: str) -> list[str]:
        def download(client: OpenAI) -> str:
            return client.files.content(file).text

        def unread(text: str) -> str:
            return text

        return self.server.client.ask(download, unread).split("\n")

    def _keep(self, line: str, keys: frozenset[str], noted: _Noted) -> RequestRejected | None:
        """Store one line's completion, or say why its request was rejected.

        A line that holds neither is left for `complete` to ask.
        """
        try:
            answer = read_json(line)
            key, response = answer["custom_id"], answer["response"]
            status, body = response["status_code"], response["body"]
            if status == 400:
                fault = body["error"]
                code, parameter = str(fault.get("code") or ""), str(fault.get("param") or "")
                return RequestRejected(str(fault["message"]), status=400, code=code, parameter=parameter)
        except NO_REPLY:
            return None
        completion = self.server.read_completion(json.dumps(body))
        if status == 200 and key in keys and not isinstance(completion, Trouble):
            request = self.wanted.get(key, {"model": noted.model})
            self.server.keep(key, request, completion, batch=True, account=noted.account)
        return None

    def _with_id(self, answer: Any) -> Any:
        """Read from the client's record, which it builds without validating."""
        if isinstance(getattr(answer, "id", None), str):
            return answer
        return self.server.client.unusable("nothing with an id", str(answer))

    def _under_way(self) -> Iterator[_Noted]:
        for key, text in self.account.ledger.notes(f"batch|{self.server.name}|").items():
            try:
                note = json.loads(text)
                noted = _Noted(**{**note, "keys": tuple(note["keys"])})
            except BROKEN:
                raise self.account.ledger.broken(f"the note {key} is none") from None
            yield noted

    def _note(self, noted: _Noted) -> None:
        text = json.dumps({name: getattr(noted, name) for name in noted.__slots__})
        self.account.ledger.set_note(self._note_key(noted), text)

    def _note_key(self, noted: _Noted) -> str:
        return f"batch|{self.server.name}|{noted.file}"
