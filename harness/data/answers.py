"""Answers that were made elsewhere: files of them, and which of them answers which example.

| format                  | a row has                                                                     |
|-------------------------|-------------------------------------------------------------------------------|
| predictions             | example and completion, as in our predictions.jsonl                           |
| alpaca                  | instruction, an answer, perhaps input: AlpacaEval's and self-instruct's files |
| prompt                  | prompt (a text or turns) and an answer                                        |
| messages, conversations | turns; the last of them is the answer, where none stands beside them          |
| id                      | id and an answer                                                              |

An answer is `output`, `answer`, `completion` or `response`; null is an answer that is not there. A row
belongs to the example whose id it has, else to those with the same turns. Runs of white space count as one
space, and system messages count where the file has any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data import sources
from harness.data.conversion import Unusable, conversation
from harness.data.formats import FORMATS as DATA_FORMATS
from harness.data.formats import Layout
from harness.data.sources import SourceSpec
from harness.data.textfiles import Row, Table
from harness.errors import DataError
from harness.records import Completion, Example, Messages, Prediction, from_json
from harness.text import well_formed

ANSWERS = ("output", "answer", "completion", "response")
PROMPTS = {
    "messages": "messages",
    "conversations": "conversations",
    "instruction": "alpaca",
    "prompt": "prompt",
    "question": "prompt",
}
"""The column that tells a format, the first that is there -> the format."""
FORMATS = ("predictions", "alpaca", "prompt", "messages", "conversations", "id")
COLUMNS = ("id", "system", "tools", "input", *PROMPTS, *ANSWERS, "example")
SHOWN_CHARACTERS = 80
MISSING = "missing"

Turns = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """A row of a file, found at `place`; `prompt` None: it says whose answer it is by `id` alone."""

    place: str
    id: str | None
    prompt: Messages | None
    completion: Completion


def read(path: Path, wanted: str = "auto", columns: Mapping[str, str] | None = None) -> list[Answer]:
    """All answers of a .json, .jsonl, .csv or .parquet file, as format `wanted`.

    `columns` maps our names to the file's. DataError names the row that cannot be read.
    """
    (table,) = sources.read(SourceSpec(str(path)))
    theirs = _renamed(table.columns, columns or {}, table.where)
    kind = _format(theirs, table) if wanted == "auto" else wanted
    column = next((name for name in ANSWERS if name in theirs), None)
    answers = []
    for index, raw in enumerate(table.rows):
        row = {ours: raw.get(name) for ours, name in theirs.items()}
        try:
            answers.append(_answer(row, kind, column, table.place(index)))
        except (Unusable, KeyError, TypeError, AttributeError) as error:
            what = f"no answer can be read as {kind}: {error}"
            raise DataError(what, where=table.place(index), fix="choose with format:") from error
    return answers


def _renamed(names: Sequence[str], columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Our name -> the file's name for every column that may be read."""
    for ours, name in columns.items():
        if ours not in COLUMNS:
            raise DataError(
                f"columns: unknown name '{ours}'", where=where, fix=f"known are {', '.join(COLUMNS)}"
            )
        if name not in names:
            raise DataError(
                f"columns: there is no column '{name}' for {ours}",
                where=where,
                fix=f"it has {', '.join(names)}",
            )
    own = {name: name for name in names if name in COLUMNS and name not in columns.values()}
    return {**own, **columns}


def _format(names: Iterable[str], table: Table) -> str:
    present = set(names)
    if {"example", "completion"} <= present:
        return "predictions"
    told = next((kind for name, kind in PROMPTS.items() if name in present), None)
    if told is None and "id" in present and present & set(ANSWERS):
        return "id"
    if told is None or (told not in ("messages", "conversations") and not present & set(ANSWERS)):
        needed = f"one of {', '.join(PROMPTS)}, id, and one of {', '.join(ANSWERS)}"
        what = f"answers need {needed}; the columns are {', '.join(table.columns)}"
        raise DataError(what, where=table.where, fix="map yours with columns:")
    return told


def _answer(row: Row, kind: str, column: str | None, place: str) -> Answer:
    if kind == "predictions":
        prediction = from_json(Prediction, {"example": row["example"], "completion": row["completion"]})
        completion = _writable(prediction.completion)
        return Answer(place, prediction.example.id, prediction.example.prompt, completion)
    own = None if row.get("id") is None else str(row["id"])
    if kind == "id" and own is None:
        raise Unusable("there is no id")
    prompt = None if kind == "id" else tuple(_turns(row, kind))
    text = None if column is None else row[column]
    if column is None and kind not in ("messages", "conversations"):
        raise Unusable(f"there is none of {', '.join(ANSWERS)}")
    if column is None and prompt and prompt[-1].role == "assistant":
        *turns, last = prompt
        prompt, text = tuple(turns), last.content
    if text is not None and not isinstance(text, str):
        raise Unusable(f"{column} is not a string")
    error = f"{MISSING}: the file has null for an answer" if text is None else None
    return Answer(place, own, prompt, _writable(Completion(text, error=error)))


def _writable(completion: Completion) -> Completion:
    """The completion without lone surrogates, which JSON can spell and no UTF-8 file can hold."""
    text, error = (None if one is None else well_formed(one) for one in (completion.text, completion.error))
    return replace(completion, text=text, error=error)


def _turns(row: Row, kind: str) -> Messages:
    """The turns of a row without an answer that stands beside them."""
    if kind in ("messages", "conversations"):
        return tuple(conversation(row, _as_data(kind)))
    if kind == "alpaca":
        return tuple(conversation({**row, "output": ""}, _as_data(kind))[:-1])
    asked = row.get("prompt") if row.get("prompt") is not None else row.get("question")
    filled = {**row, "prompt": asked, "completion": ""}
    return tuple(conversation(filled, _as_data("prompt_completion"))[:-1])


def _as_data(kind: str) -> Layout:
    return Layout(kind, {name: name for name in DATA_FORMATS[kind].names})


def answers_to(examples: Sequence[Example], answers: Sequence[Answer], where: str) -> dict[str, Completion]:
    """Example id -> its completion; one that has none gets an error instead of a text.

    DataError where the file has no answer to any of the examples, or two different ones to one prompt.
    """
    with_system = any(turn.role == "system" for answer in answers for turn in answer.prompt or ())
    by_id: dict[str, list[Answer]] = {}
    by_turns: dict[Turns, list[Answer]] = {}
    for answer in answers:
        if answer.id is not None:
            by_id.setdefault(answer.id, []).append(answer)
        if answer.prompt is not None:
            by_turns.setdefault(_key(answer.prompt, with_system=with_system), []).append(answer)
    found = {}
    for example in examples:
        turns = _key(example.prompt, with_system=with_system)
        if mine := by_id.get(example.id) or by_turns.get(turns):
            found[example.id] = _only(mine, example)
    if not found:
        raise _nothing_matches(examples, answers, where)
    missing = Completion(None, error=f"{MISSING}: {where} has no answer to this prompt")
    return {example.id: found.get(example.id, missing) for example in examples}


def _key(prompt: Messages, *, with_system: bool) -> Turns:
    kept = [turn for turn in prompt if with_system or turn.role != "system"]
    return tuple((turn.role, " ".join(turn.content.split())) for turn in kept)


def _only(answers: Sequence[Answer], example: Example) -> Completion:
    """The completion, if all of these answers are the same."""
    first = answers[0]
    other = next((one for one in answers if one.completion.text != first.completion.text), None)
    if other is not None:
        what = f"another answer than at {first.place} to the same prompt, {_excerpt(example.prompt)}"
        raise DataError(what, where=other.place, fix="keep one, or give rows the ids of the eval examples")
    return first.completion


def _nothing_matches(examples: Sequence[Example], answers: Sequence[Answer], where: str) -> DataError:
    first, theirs = examples[0], answers[0]
    if theirs.prompt is None:
        what = f"its ids are such as {theirs.id!r}, those of the eval examples such as {first.id!r}"
    else:
        what = f"its first prompt is {_excerpt(theirs.prompt)}, that of the eval set {_excerpt(first.prompt)}"
    return DataError(
        f"none of its {len(answers):,} answers is to one of the {len(examples):,} eval prompts: {what}",
        where=where,
        fix="give the answers to the prompts of data.eval",
    )


def _excerpt(prompt: Messages) -> str:
    text = " ".join(prompt[-1].content.split()) if prompt else ""
    return repr(text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…")
