"""A model behind OpenAI's chat completions API as a contestant: commercial or served, nothing is trained.

Each reply is in the ledger when it arrives, so what was paid for once is not asked again. What is wrong with
one request (a refusal, a content filter, too long a prompt, no text) is an answer that is missing, with its
reason; where the server itself fails, so does the stage, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from harness.chat import ChatServer, Reply, RequestRefused
from harness.chat.replies import Tokens, tokens_expected
from harness.errors import StageError
from harness.protocols import Decoding, TrainJob, TrainOutcome, Usage, option
from harness.records import Completion, Example, Message, Messages, ModelRef, Prompting

T = TypeVar("T")
R = TypeVar("R")

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
    base_url: str | None = option(None, help="the server; null: OPENAI_BASE_URL, or OpenAI itself")
    system: str | None = option(None, help="a system message in front of each conversation")
    request: dict[str, Any] = option(  # noqa: RUF009
        {}, help="more keys of each request, over those made of generation; null leaves one out"
    )
    concurrency: int = option(8, help="requests in flight at once, at most", changes_result=False)
    requests_per_minute: int | None = option(None, help="send no more", changes_result=False)
    tokens_per_minute: int | None = option(None, help="send and receive no more", changes_result=False)
    timeout: float = option(60.0, help="seconds to wait for a reply", changes_result=False)
    max_retries: int = option(
        8, help="retries after a timeout, a lost connection, 408, 409, 429 or 5xx", changes_result=False
    )
    price: dict[str, float] | None = option(  # noqa: RUF009
        None, help="USD per million tokens, {input: 0.5, output: 1.5}; null: that of the table, if it has one"
    )

    def __post_init__(self) -> None:
        """ValueError for a number below 1, or a request that would be another one."""
        for name in ("concurrency", "requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it has to be 1 or more")
        if refused := sorted(OWN & self.request.keys()):
            raise ValueError(f"request cannot set {', '.join(refused)}")
        self.server  # noqa: B018 - refuses a price that is none

    @cached_property
    def server(self) -> ChatServer:
        """The server, to which the stage lends a ledger and a budget."""
        return ChatServer(
            self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            price=self.price,
        )

    @property
    def answers_of(self) -> str:
        """Whose answers they are, as the board says it."""
        return self.model

    def identity(self) -> str:
        """The server's address, which the environment may have set."""
        return f"server:{self.server.name}"

    def preflight(self) -> None:
        """Raise PluginError where a key is needed and not set."""
        self.server.preflight()

    def reach(self) -> None:
        """Raise StageError where the server does not answer; no model is asked."""
        self.server.reach()

    def train(self, job: TrainJob) -> TrainOutcome:
        """There is nothing to train."""
        raise NotImplementedError

    def load(self, model: ModelRef, trained: Path | None, prompting: Prompting) -> OpenAI:  # noqa: ARG002
        return self

    def answer(self, examples: Sequence[Example], decoding: Decoding) -> Iterator[tuple[str, Completion]]:
        """Each example with the model's answer, as they arrive. StageError where the server fails."""

        def ask(example: Example) -> tuple[str, Completion]:
            return example.id, self._ask(self._request(example.prompt, decoding))

        return _as_they_come(ask, examples, self.concurrency)

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
        for name, instead in self.server.adjustments(self.model).items():
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


def _as_they_come(work: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results as they arrive, with no more than `workers` items taken at any time.

    The first error ends it: no further item is taken, but what those in flight give is handed on before it
    is raised.
    """
    queue, failure = iter(items), None
    with ThreadPoolExecutor(workers, thread_name_prefix="answer") as pool:
        running: set[Future[R]] = {pool.submit(work, item) for item in islice(queue, workers)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if error is None:
                    yield future.result()
                failure = failure or error
            if failure is None:
                running |= {pool.submit(work, item) for item in islice(queue, len(done))}
    if failure is not None:
        raise failure
