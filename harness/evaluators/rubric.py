"""Grades from 1 to 10 by a chat model, each answer on its own, against criteria.

It is asked as the `gpt4` judge is: a form over the first channel that the server takes, one repair, and an
answer whose grade cannot be read stays without one. Grades of single answers are less steady than
comparisons, and what one model calls a 7 another calls a 5: compare within one signature alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from harness.chat import ChatServer
from harness.chat.forms import TEXT, Form
from harness.chat.options import server_option
from harness.chat.prompts import Prompt, read_prompt, read_words
from harness.chat.structured import Outcome, ask, expected_usage
from harness.concurrently import concurrently
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
    base_url: str | None = server_option("base_url")
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
    timeout: float = server_option("timeout")
    max_retries: int = server_option("max_retries")
    concurrency: int = server_option("concurrency")
    requests_per_minute: int | None = server_option("requests_per_minute")
    tokens_per_minute: int | None = server_option("tokens_per_minute")
    price: Mapping[str, float] | None = server_option("price")

    higher_is_better: ClassVar[bool] = True
    unit: ClassVar[str] = ""

    server: ChatServer = field(init=False, repr=False, compare=False)
    failures: list[tuple[str, str]] = field(default_factory=list, init=False, repr=False, compare=False)
    _prompt: Prompt = field(init=False, repr=False, compare=False)
    _criteria: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        once = ("conversation", "answer", "criteria", *["reference"] * self.show_reference)
        prompt = read_prompt(self.prompt or PROMPT, once=once, optional=("nonce", "reference"))
        object.__setattr__(self, "_prompt", prompt)
        object.__setattr__(self, "_criteria", _read(self.criteria_file) or self.criteria)
        object.__setattr__(self, "server", ChatServer.of(self))

    def identity(self) -> str:
        """What else grades depend on: the prompt, and the server, which the environment may name."""
        return f"prompt:{self._wording}|server:{self.server.name}"

    @property
    def prompts(self) -> dict[str, str]:
        """The turns of the prompt with the criteria, and what is said of the form."""
        shown = {"conversation", "answer", "nonce"}
        shown |= {"reference"} if self.show_reference else set()
        turns = self._prompt.texts(shown, {"criteria": self._criteria})
        return {**turns, **FORM.prompts(self.channel)}

    def measure(self, predictions: Sequence[Prediction]) -> FloatArray:
        """One request for each prompt with its answer; StageError if the server fails.

        `failures` then holds the answers that were graded in vain.
        """
        self.failures.clear()
        rows = np.full((len(predictions), 2), np.nan)
        places: dict[str, list[int]] = {}
        for index, prediction in enumerate(predictions):
            if prediction.completion.text is not None:
                places.setdefault(_key(prediction), []).append(index)

        def graded(indices: list[int]) -> tuple[list[int], Outcome]:
            return indices, self._ask(predictions[indices[0]])

        for indices, outcome in concurrently(graded, places.values(), self.concurrency, name="rubric"):
            if outcome.values is not None:
                rows[indices] = int(outcome.values["grade"]), 1.0
            else:
                self.failures.extend([(outcome.fault, outcome.reason)] * len(indices))
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

    def _ask(self, prediction: Prediction) -> Outcome:
        request = self._request(prediction.example, prediction.completion.text or "")
        return ask(self.server, FORM, request, channel=self.channel)

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
