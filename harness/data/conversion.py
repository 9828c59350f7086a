"""From a row to an Example: the turns of the prompt and the last assistant turn as the reference.

Alpaca's instruction and input become one user message, instruction + blank line + input: a chat template
then shows the model what a person would type, and the Alpaca template quotes the message under its
"### Instruction:". A row's tools are described at the end of its system message, as Example has texts only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.data import formats, sources
from harness.data.examples import make_example
from harness.data.formats import Layout
from harness.data.sources import SourceSpec
from harness.data.textfiles import Row, Table
from harness.errors import DataError
from harness.records import Example, Message

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Roles in the wild -> ours. A function call is the assistant's; an observation is a tool's answer."""


class Unusable(Exception):  # noqa: N818 - a verdict on a row, counted by its reason
    """A row that makes no Example."""


@dataclass(frozen=True)
class Loaded:
    """The examples of one source, and why rows were left out: how many by `reasons`, and where `first`."""

    spec: SourceSpec
    layout: Layout
    rows: int
    examples: list[Example]
    reasons: Mapping[str, int]
    first: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """The source's entry in data.json."""
        return {
            "path": self.spec.label,
            "format": self.layout.format,
            "columns": dict(self.layout.columns),
            "rows": self.rows,
            "unusable": self.rows - len(self.examples),
            "reasons": {
                reason: {"rows": count, "first": self.first[reason]} for reason, count in self.reasons.items()
            },
        }


def load(spec: SourceSpec) -> Loaded:
    """Read a source and convert it. DataError where it cannot be read or no row of it is usable."""
    tables = sources.read(spec)
    columns = tuple(dict.fromkeys(name for table in tables for name in table.columns))
    layout = formats.detect(columns, wanted=spec.format, mapping=spec.columns, where=spec.where)
    examples: list[Example] = []
    reasons: Counter[str] = Counter()
    first: dict[str, str] = {}
    for table in tables:
        for index, row in enumerate(table.rows):
            try:
                examples.append(to_example(row, layout))
            except Unusable as error:
                reasons[str(error)] += 1
                first.setdefault(str(error), _place(spec, table, index))
    loaded = Loaded(spec, layout, sum(len(table.rows) for table in tables), examples, reasons, first)
    if not examples:
        raise _nothing_usable(loaded)
    return loaded


def _place(spec: SourceSpec, table: Table, index: int) -> str:
    """The row's place without the machine's folders: it goes into reports."""
    return table.place(index).replace(spec.where, spec.label, 1)


def _nothing_usable(loaded: Loaded) -> DataError:
    why = [f"{reason} ({count}, first {loaded.first[reason]})" for reason, count in loaded.reasons.items()]
    what = f"none of the {loaded.rows} rows is usable as {loaded.layout.format}: {', '.join(why)}"
    return DataError(what, where=loaded.spec.where, fix="mend the rows or map other columns with columns:")


def to_example(row: Row, layout: Layout) -> Example:
    """The row as an Example; Unusable says why it is none."""
    turns = conversation(row, layout)
    while turns and turns[-1].role != "assistant":
        turns.pop()
    if not turns:
        raise Unusable("no assistant turn")
    *prompt, answer = turns
    if not answer.content.strip():
        raise Unusable("empty answer")
    if not any(turn.content.strip() for turn in prompt if turn.role != "system"):
        raise Unusable("empty prompt")
    try:
        return make_example(prompt, answer.content)
    except UnicodeEncodeError:
        raise Unusable("text with a lone surrogate") from None


def conversation(row: Row, layout: Layout) -> list[Message]:
    """All turns of a row, behind one system message where there is any; Unusable where it has none."""
    values = {ours: row.get(theirs) for ours, theirs in layout.columns.items()}
    return _with_system(list(TURNS[layout.format](values)), values)


def _alpaca(values: Mapping[str, Any]) -> Iterator[Message]:
    instruction, given = _text(values, "instruction"), _optional_text(values, "input")
    yield Message("user", f"{instruction}\n\n{given}" if given.strip() else instruction)
    yield Message("assistant", _text(values, "output"))


def _prompt_completion(values: Mapping[str, Any]) -> Iterator[Message]:
    for ours, role in (("prompt", "user"), ("completion", "assistant")):
        if isinstance(values[ours], list):
            yield from _turns(values[ours], ours)
        else:
            yield Message(role, _text(values, ours))


def _turns(turns: Any, name: str) -> Iterator[Message]:
    """Turns written as {role, content} or {from, value}, or as JSON text of such a list."""
    turns = _parsed(turns) if isinstance(turns, str) else turns
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise Unusable(f"{name} is not a list of turns")
    for turn in turns:
        role, content = ("role", "content") if turn.get("role") is not None else ("from", "value")
        spoken = turn.get(role)
        if not isinstance(spoken, str) or spoken.lower() not in ROLES:
            raise Unusable(f"{name}: unknown role {str(spoken)[:30]!r}")
        if not isinstance(turn.get(content), str):
            raise Unusable(f"{name}: {content} is not a string")
        yield Message(ROLES[spoken.lower()], turn[content])


def _parsed(text: str) -> Any:
    """Tables without nesting (csv) hold lists as JSON; what is not JSON is no list."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _with_system(turns: list[Message], values: Mapping[str, Any]) -> list[Message]:
    """The turns behind one system message made of the system column, the system turn and the tools."""
    system, tools = _optional_text(values, "system"), _tools(values.get("tools"))
    parts = [system] if system.strip() else []
    if (parts or tools) and turns and turns[0].role == "system":
        parts.append(turns.pop(0).content)
    if tools:
        parts.append(f"Tools:\n{tools}")
    return [Message("system", "\n\n".join(parts)), *turns] if parts else turns


def _tools(value: Any) -> str:
    """The tools as JSON text; nothing for an empty list."""
    if isinstance(value, str):
        return "" if value.strip() in ("", "[]", "{}", "null") else value.strip()
    return json.dumps(value, ensure_ascii=False) if value else ""


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        raise Unusable(f"{name} is missing")
    if not isinstance(value, str):
        raise Unusable(f"{name} is not a string")
    return value


def _optional_text(values: Mapping[str, Any], name: str) -> str:
    return "" if values.get(name) is None else _text(values, name)


TURNS: dict[str, Callable[[Mapping[str, Any]], Iterable[Message]]] = {
    "alpaca": _alpaca,
    "prompt_completion": _prompt_completion,
    "messages": lambda values: _turns(values["messages"], "messages"),
    "conversations": lambda values: _turns(values["conversations"], "conversations"),
}
