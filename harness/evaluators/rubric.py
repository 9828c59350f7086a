"""Grades from 1 to 10 by a chat model, each answer on its own, against criteria.

It is asked as the `gpt4` judge is: a form over the first channel that the server takes, one repair, and an
answer whose grade cannot be read stays without one. Grades of single answers are less steady than
comparisons, and what one model calls a 7 another calls a 5: compare within one signature alone.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.chat import ChatServer
from harness.chat.forms import TEXT, Form
from harness.chat.prompts import Prompt, read_prompt, read_words
from harness.chat.structured import ask, expected_usage
from harness.errors import PluginError
from harness.fences import fence, nonce, transcript
from harness.protocols import FloatArray, Usage, option
from harness.records import Example, Prediction
from harness.store import digest

CRITERIA = """\
- The answer does what was asked.
- What it says is correct.
- It is complete and clear."""
PROMPT = Path(__file__).parent / "prompts" / "rubric.txt"
FORM = Form(
    "give_grade",
    "Grade the answer from 1 to 10.",
    {
        "explanation": {**TEXT, "description": "The reasons, in a few sentences."},
        "grade": {"type": "integer", "enum": list(range(1, 11)), "description": "1 is worst, 10 is best."},
    },
)


@dataclass(frozen=True)
class Rubric:
    """Mean grade from 1 to 10 that a chat model gives the answers against criteria.

    Statistics: (grade, 1). An answer that is missing, or whose grade cannot be read, is not scored.
    """

    model: str = option("gpt-4o-2024-08-06", help="the model that grades; a dated id does not change unseen")
    base_url: str | None = option(None, help="the server; null: OPENAI_BASE_URL, or OpenAI itself")
    criteria: str = option(CRITERIA, help="what is graded, in words")
    criteria_file: Path | None = option(  # noqa: RUF009 - a dataclass field, whatever it is annotated with
        None, help="a text file with the criteria, instead of `criteria`"
    )
    channel: Literal["auto", "tool", "json_schema", "text"] = option(
        "auto", help="how the grade is asked for; auto: the first of the others that the server takes"
    )
    prompt: Path | None = option(  # noqa: RUF009
        None, help="a prompt file of your own; null: prompts/rubric.txt"
    )
    show_reference: bool = option(False, help="show the reference answer, as one that deserves a 10")
    temperature: float | None = option(0.0, help="sampling temperature; null: not sent")
    seed: int | None = option(0, help="sampling seed, which some servers honour; null: not sent")
    max_tokens: int | None = option(1024, help="the longest reply, in tokens; null: not sent")
    timeout: float = option(60.0, help="seconds to wait for a reply", changes_result=False)
    max_retries: int = option(
        8, help="retries after a timeout, a lost connection, 408, 409, 429 or 5xx", changes_result=False
    )
    concurrency: int = option(8, help="requests in flight at once, at most", changes_result=False)
    requests_per_minute: int | None = option(None, help="requests a minute, at most", changes_result=False)
    tokens_per_minute: int | None = option(None, help="tokens a minute, at most", changes_result=False)
    price: Mapping[str, float] | None = option(
        None,
        help="USD per million tokens, {input: 2.5, output: 10}; null: by the table",
        changes_result=False,
    )

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    server: ChatServer = field(init=False, repr=False, compare=False)
    _prompt: Prompt = field(init=False, repr=False, compare=False)
    _criteria: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        once = ("conversation", "answer", "criteria", *["reference"] * self.show_reference)
        prompt = read_prompt(self.prompt or PROMPT, once=once, optional=("nonce", "reference"))
        object.__setattr__(self, "_prompt", prompt)
        object.__setattr__(self, "_criteria", _read(self.criteria_file) or self.criteria)
        server = ChatServer(
            self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
            concurrency=self.concurrency,
            requests_per_minute=self.requests_per_minute,
            tokens_per_minute=self.tokens_per_minute,
            price=self.price,
        )
        object.__setattr__(self, "server", server)

    def preflight(self) -> None:
        """PluginError where the server needs a key and there is none."""
        self.server.preflight()

    def reach(self) -> None:
        """StageError where the server does not answer; costs nothing."""
        self.server.reach()

    def identity(self) -> str:
        """What else grades depend on: the prompt, and the server, which the environment may name."""
        return f"prompt:{self._wording}|server:{self.server.name}"

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        """One request for each prompt with its answer; StageError if the server fails."""
        rows = np.full((len(predictions), 2), np.nan)
        places: dict[str, list[int]] = {}
        for index, prediction in enumerate(predictions):
            if prediction.completion.text is not None:
                places.setdefault(_key(prediction), []).append(index)
        grades = self._grades([predictions[indices[0]] for indices in places.values()])
        for indices, grade in zip(places.values(), grades, strict=True):
            if grade is not None:
                rows[indices] = grade, 1.0
        return rows

    def score(self, totals: FloatArray) -> FloatArray:
        return np.asarray(totals[..., 0] / totals[..., 1])

    def signature(self) -> str:
        sampling = f"temperature:{self.temperature}|seed:{self.seed}"
        reference = "shown" if self.show_reference else "hidden"
        criteria = digest(self._criteria)[:12]
        return f"model:{self.model}|criteria:{criteria}|reference:{reference}|{sampling}|{self.identity()}"

    def expect(self, example: Example, answer: str) -> Usage:
        """One request answered at once; see `expected_usage` for how tokens are guessed."""
        return expected_usage(self.server, FORM, [self._request(example, answer)], channel=self.channel)

    @property
    def _wording(self) -> str:
        return digest([self._prompt.digest, FORM.wording])[:12]

    def _grades(self, predictions: Sequence[Prediction]) -> list[int | None]:
        """The grades, in order; the first error ends it, and no further request is made."""
        failed = threading.Event()

        def graded(prediction: Prediction) -> int | None:
            if failed.is_set():
                return None
            try:
                return self._grade(prediction)
            except BaseException:
                failed.set()
                raise

        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="rubric") as pool:
            return list(pool.map(graded, predictions))

    def _grade(self, prediction: Prediction) -> int | None:
        request = self._request(prediction.example, prediction.completion.text or "")
        outcome = ask(self.server, FORM, request, channel=self.channel)
        return None if outcome.values is None else int(outcome.values["grade"])

    def _request(self, example: Example, answer: str) -> dict[str, Any]:
        mark = nonce(example.prompt, example.reference, answer)
        shown = {
            "criteria": self._criteria,
            "conversation": fence("conversation", transcript(example.prompt), mark),
            "reference": fence("reference", example.reference, mark) if self.show_reference else None,
            "answer": fence("answer", answer, mark),
            "nonce": mark,
        }
        settings = {"temperature": self.temperature, "seed": self.seed, "max_tokens": self.max_tokens}
        request = {"model": self.model, "messages": self._prompt.messages(shown)}
        return {**request, **{name: value for name, value in settings.items() if value is not None}}


def _key(prediction: Prediction) -> str:
    example = prediction.example
    return digest([example.prompt, example.reference, prediction.completion.text])


def _read(path: Path | None) -> str:
    """The text of a file, or nothing; PluginError where there is none."""
    if path is None:
        return ""
    text = read_words(path, "the file of criteria").strip()
    if not text:
        raise PluginError("the file holds no criteria", where=str(path))
    return text
