"""A chat model as judge, over any server that speaks OpenAI's chat completions.

The prompt is in prompts/gpt4.txt; its digest is part of `identity`, and with it of every verdict's key.
The verdict is a form that the model fills in, asked for and read by harness/chat/structured.py: a forced tool
call, the channel that agrees best with people on AlpacaEval's board of evaluators, or what the server has
instead. What a server does wrong (no connection, a refused key, rate limits that outlast the retries) is no
verdict: it raises StageError.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from harness import Choice, Pair, Progress, Question, Usage, Verdict, option
from harness.chat import ChatServer
from harness.chat.batch import complete_batch
from harness.chat.forms import TEXT, Form
from harness.chat.options import server_option
from harness.chat.prompts import Prompt, read_prompt
from harness.chat.structured import Outcome, ask, expected_usage, first_request, reread
from harness.fences import fence, nonce, transcript
from harness.records import total_cost
from harness.registry import bundled
from harness.store import digest

WORTH: Mapping[Choice, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True)
class _Format:
    """A form whose argument `choice` is a key of `winners`; `explanation` names the one with the reasons."""

    form: Form
    explanation: str
    winners: Mapping[Any, Choice]

    def verdict(self, outcome: Outcome) -> Verdict:
        return outcome.verdict(self.winners, choice="choice", explanation=self.explanation)


PURPOSE = "Say which answer is better."
REASONS = {**TEXT, "description": "The reasons, in a few sentences."}
NUMBER = "The number of the better answer, 1 or 2; 0 if they are equivalent."
FORMATS = {
    "verdict": _Format(
        Form(
            "give_verdict",
            PURPOSE,
            {"explanation": REASONS, "choice": {**TEXT, "enum": ["answer_1", "answer_2", "tie"]}},
        ),
        "explanation",
        {"answer_1": "first", "answer_2": "second", "tie": "tie"},
    ),
    "make_choice": _Format(
        Form(
            "make_choice",
            PURPOSE,
            {
                "choice": {"type": "integer", "description": NUMBER, "enum": [0, 1, 2]},
                "argument": {**TEXT, "description": "The reason for the choice."},
            },
            strict=False,
        ),
        "argument",
        {0: "tie", 1: "first", 2: "second"},
    ),
}


@dataclass(frozen=True)
class Gpt4:
    """A chat model behind any OpenAI-compatible server, asked for a verdict; the key is OPENAI_API_KEY."""

    model: str = option("gpt-4o-2024-08-06", help="the judge's model; a dated id does not change unseen")
    base_url: str | None = server_option("base_url")
    format: Literal["verdict", "make_choice"] = option(
        "verdict",
        help="verdict: explanation, then answer_1, answer_2 or tie; make_choice: 0, 1 or 2, then argument",
    )
    channel: Literal["auto", "tool", "json_schema", "text"] = option(
        "auto", help="how the verdict is asked for; auto: the first of the others that the server takes"
    )
    prompt: Path | None = option(None, help="a prompt file of your own; null: prompts/gpt4.txt")
    show_reference: bool = option(False, help="show the reference answer to the judge")
    temperature: float | None = option(0.0, help="sampling temperature; null: not sent")
    seed: int | None = option(0, help="sampling seed, which some servers honour; null: not sent")
    samples: int = option(1, help="replies for each verdict, which is that of the most of them")
    max_tokens: int | None = option(1024, help="the longest reply, in tokens; null: not sent")
    timeout: float = server_option("timeout")
    max_retries: int = server_option("max_retries")
    concurrency: int = server_option("concurrency")
    requests_per_minute: int | None = server_option("requests_per_minute")
    tokens_per_minute: int | None = server_option("tokens_per_minute")
    price: Mapping[str, float] | None = server_option("price")
    batch: bool = option(
        False, help="use the server's Batch API: half the price, slower", changes_result=False
    )

    server: ChatServer = field(init=False, repr=False, compare=False)
    _prompt: Prompt = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.samples > 1 and self.temperature == 0):
            raise ValueError("samples must be at least 1, and more than 1 needs a temperature above 0")
        path = self.prompt or bundled("judges") / "prompts" / "gpt4.txt"
        once = ("conversation", "answer_1", "answer_2", *["reference"] * self.show_reference)
        optional = ("nonce", "reference")
        object.__setattr__(self, "_prompt", read_prompt(path, once=once, optional=optional))
        object.__setattr__(self, "server", ChatServer.of(self))

    def identity(self) -> str:
        """What else a verdict depends on: the prompt, and the server, which the environment may name."""
        words = digest([self._prompt.digest, self._format.form.wording])
        return f"prompt:{words[:12]}|server:{self.server.name}"

    @property
    def prompts(self) -> dict[str, str]:
        """The turns of the prompt, and what is said of the form."""
        shown = {"conversation", "answer_1", "answer_2", "nonce"}
        turns = self._prompt.texts(shown | {"reference"} if self.show_reference else shown)
        return {**turns, **self._format.form.prompts(self.channel)}

    def compare(self, question: Question, first: str, second: str) -> Verdict:
        """One request for each sample, and one more where a reply is not valid; StageError if none comes."""
        form, server = self._format.form, self.server
        outcomes = [
            ask(server, form, request, channel=self.channel, sample=sample)
            for request, sample in self._requests(question, first, second)
        ]
        return _together([self._format.verdict(outcome) for outcome in outcomes])

    def reread(self, raw: str) -> Verdict:
        """The verdict in a stored `raw`, without tokens and cost."""
        return _together([self._format.verdict(reread(self._format.form, one)) for one in _apart(raw)])

    def expect(self, question: Question, first: str, second: str) -> Usage:
        """All samples, each answered at once; see `expected_usage` for how tokens are guessed."""
        requests, samples = zip(*self._requests(question, first, second), strict=True)
        form, channel = self._format.form, self.channel
        return expected_usage(self.server, form, requests, channel=channel, samples=samples, batch=self.batch)

    def prefetch(self, pairs: Sequence[Pair], progress: Progress) -> None:
        """With `batch`, all first replies by the Batch API; repairs are asked for one by one."""
        if not self.batch:
            return
        asked = [item for pair in pairs for item in self._requests(*pair)]
        form, server = self._format.form, self.server
        bodies = [(first_request(server, form, body, self.channel), sample) for body, sample in asked]
        complete_batch(server, bodies, progress)

    @property
    def _format(self) -> _Format:
        return FORMATS[self.format]

    def _requests(self, question: Question, first: str, second: str) -> list[tuple[dict[str, Any], int]]:
        """Each sample's request, not yet in the form of a channel, and its number.

        Samples have seeds of their own: a server that honours one would else say the same each time. A pair
        that is asked again is asked with the same seeds, for what it measures is the server's own noise.
        """
        mark = nonce(question, first, second)
        shown = {
            "conversation": fence("conversation", transcript(question.prompt), mark),
            "reference": fence("reference", question.reference, mark) if self.show_reference else None,
            "answer_1": fence("answer_1", first, mark),
            "answer_2": fence("answer_2", second, mark),
            "nonce": mark,
        }
        settings = {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.max_tokens}
        sent = {name: value for name, value in settings.items() if value is not None}
        request = {"model": self.model, "messages": self._prompt.messages(shown), **sent}
        start = question.repeat * self.samples
        if self.seed is None:
            return [(request, start + number) for number in range(self.samples)]
        return [({**request, "seed": self.seed + number}, start + number) for number in range(self.samples)]


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """One verdict of several samples: what most of the parsed say, a tie where two say it equally often.

    Its preference is their mean worth to the first answer.
    """
    if len(verdicts) == 1:
        return verdicts[0]
    spent = replace(
        verdicts[-1],
        raw=f"[{', '.join(verdict.raw for verdict in verdicts)}]",
        prompt_tokens=sum(verdict.prompt_tokens for verdict in verdicts),
        completion_tokens=sum(verdict.completion_tokens for verdict in verdicts),
        cost_usd=total_cost(verdict.cost_usd for verdict in verdicts),
    )
    parsed = [verdict for verdict in verdicts if verdict.choice != "unparsed"]
    counts = Counter(verdict.choice for verdict in parsed).most_common(2)
    if not counts:
        return spent
    choice: Choice = "tie" if len(counts) == 2 and counts[0][1] == counts[1][1] else counts[0][0]
    tally = ", ".join(f"{n} {said}" for said, n in Counter(v.choice for v in verdicts).most_common())
    reason = next((verdict.reason for verdict in parsed if verdict.choice == choice), "")
    preference = math.fsum(WORTH[verdict.choice] for verdict in parsed) / len(parsed)
    told = f"samples: {tally}. {reason}".strip()
    return replace(spent, choice=choice, reason=told, preference=preference, fault="")


def _apart(raw: str) -> list[str]:
    """What `_together` joined: the `raw` of each sample."""
    try:
        parts = json.loads(raw)
    except (ValueError, RecursionError):
        return [raw]
    if isinstance(parts, list) and parts and all(isinstance(part, list) for part in parts):
        return [json.dumps(part) for part in parts]
    return [raw]
