"""A model behind OpenAI's chat completions API as a contestant: commercial or served, nothing is trained.

Each reply is in the ledger when it arrives, so what was paid for once is not asked again. What is wrong with
one request (a refusal, a content filter, too long a prompt, no text) is an answer that is missing, with its
reason; where the server itself fails, so does the stage, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from harness.chat import ChatServer, Reply, RequestRefused
from harness.chat.options import server_option
from harness.chat.replies import Tokens, tokens_expected
from harness.concurrently import concurrently
from harness.errors import StageError
from harness.protocols import Decoding, TrainJob, TrainOutcome, Usage, option
from harness.records import Completion, Example, Message, Messages, ModelRef, Prompting

OWN = frozenset({"model", "messages", "n", "stream", "stream_options", "tools", "functions"})
"""Keys of a request that `request` may not set: another reply would come of them than is read."""
DECODING = ("temperature", "top_p")
"""What a server may leave out for a judge, not for a contestant: the others answer by it."""
TURNED_AWAY = {
    "refused": "content filter: the server does not take the request",
    "too_long": "too long: the request exceeds the model's context",
}
"""By the fault of a RequestRefused."""


@dataclass(frozen=True)
class OpenAI:
    """A commercial or served model that speaks OpenAI's chat completions; it scores nothing."""

    training_keys: ClassVar[frozenset[str]] = frozenset()
    methods: ClassVar[frozenset[str]] = frozenset()
    generation_keys: ClassVar[frozenset[str]] = frozenset(
        {"max_new_tokens", "do_sample", "temperature", "top_p"}
    )

    model: str = option(help="the model's name; a dated one does not change unseen")
    base_url: str | None = server_option("base_url")
    system: str | None = option(None, help="a system message in front of each conversation")
    request: dict[str, Any] = option(  # noqa: RUF009
        {}, help="more keys of each request, over those made of generation; null leaves one out"
    )
    concurrency: int = server_option("concurrency")
    requests_per_minute: int | None = server_option("requests_per_minute")
    tokens_per_minute: int | None = server_option("tokens_per_minute")
    timeout: float = server_option("timeout")
    max_retries: int = server_option("max_retries")
    price: Mapping[str, float] | None = server_option("price")

    def __post_init__(self) -> None:
        """ValueError for a limit or a price that is none, or a request that would be another one."""
        if refused := sorted(OWN & self.request.keys()):
            raise ValueError(f"request cannot set {', '.join(refused)}")
        self.server  # noqa: B018 - refuses limits and prices

    @cached_property
    def server(self) -> ChatServer:
        """The server, to which the stage lends a ledger and a budget."""
        return ChatServer.of(self)

    @property
    def answers_of(self) -> str:
        """Whose answers they are, as the board says it."""
        return self.model

    def identity(self) -> str:
        """The server's address, which the environment may have set."""
        return f"server:{self.server.name}"

    def train(self, job: TrainJob) -> TrainOutcome:
        """There is nothing to train."""
        raise NotImplementedError

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> OpenAI:  # noqa: ARG002
        return self

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterator[tuple[str, Completion]]:
        """Each example with the model's answer, as they arrive. StageError where the server fails."""

        def ask(example: Example) -> tuple[str, Completion]:
            return example.id, self._ask(self._request(example.prompt, decoding))

        return concurrently(ask, examples, self.concurrency, name="answer")

    def expect(self, example: Example, decoding: Decoding) -> Usage:
        """What one answer will take: four characters a token, and as many as the reference has."""
        request = self._request(example.prompt, decoding)
        if self.server.known(request) is not None:
            return Usage(0, 0, 0.0, requests=0)
        limit = tokens_expected(request, decoding.settings["max_new_tokens"])
        tokens = Tokens(limit.prompt, min(limit.completion, len(example.reference) // 4 + 1))
        price = self.server.price_of(self.model)
        return Usage(tokens.prompt, tokens.completion, None if price is None else price.cost(tokens))

    def _request(self, prompt: Messages, decoding: Decoding) -> dict[str, Any]:
        """The body of a request; greedy decoding is temperature 0."""
        settings = decoding.settings
        sampled = {name: settings[name] for name in ("temperature", "top_p") if name in settings}
        request = {
            "model": self.model,
            "messages": _messages(prompt, self.system),
            "max_tokens": settings["max_new_tokens"],
            **({"temperature": 1.0, **sampled} if settings["do_sample"] else {"temperature": 0.0}),
            "seed": decoding.seed,
            **self.request,
        }
        return {name: value for name, value in request.items() if value is not None}

    def _ask(self, request: Mapping[str, Any]) -> Completion:
        try:
            reply = self.server.complete(request)
        except RequestRefused as error:
            # A request that is turned away costs nothing.
            return Completion(None, error=TURNED_AWAY[error.fault], cost_usd=0.0)
        for name, instead in self.server.notes.adjustments(self.model).items():
            if name in DECODING and name in request and instead is None:
                fix = f"to do without it, give the backend request: {{{name}: null}}"
                raise StageError(f"{self.model} takes no {name}, which generation sets; {fix}")
        return _completion(reply)


def _messages(prompt: Messages, system: str | None) -> list[dict[str, str]]:
    """The conversation as a request has it, behind one system message.

    A tool's turn is sent as the user's: OpenAI's tool role needs the id of a call, which no example has.
    """
    turns = list(prompt)
    if system is not None:
        own = turns.pop(0).content if turns and turns[0].role == "system" else ""
        turns.insert(0, Message("system", f"{system}\n\n{own}" if own else system))
    roles = {"tool": "user"}
    return [{"role": roles.get(turn.role, turn.role), "content": turn.content} for turn in turns]


def _completion(reply: Reply) -> Completion:
    """A reply as a completion; a text that is cut at the limit of tokens is one, and ends for `length`."""
    error = _why_missing(reply)
    return Completion(
        reply.text if error is None else None,
        tokens=reply.completion_tokens,
        finish_reason=reply.finish_reason,
        error=error,
        prompt_tokens=reply.prompt_tokens,
        cost_usd=reply.cost_usd,
    )


def _why_missing(reply: Reply) -> str | None:
    if reply.finish_reason == "content_filter":
        return "content filter: the server stopped the answer"
    if reply.refusal:
        return f"refused: {reply.refusal}"
    if reply.text.strip():
        return None
    if reply.finish_reason == "length":
        return "cut: the limit of tokens was reached before any text"
    if reply.calls:
        return "empty: a function was called in place of an answer"
    return "empty: the server sent no text"
