"""A small JSON object that is wanted of a chat model: described once, asked for in three ways, read strictly.

A reply is the form or it is not: nothing is ever read out of prose.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.fences import fill
from harness.records import Fault
from harness.text import well_formed

Channel = Literal["tool", "json_schema", "text"]
CHANNELS: tuple[Channel, ...] = get_args(Channel)
"""From the strictest on; a server that rejects one is asked by the next."""
BY_CALL = "Reply with one call of the function {name}, and with no other text."
BY_TEXT = "Reply with one JSON object, and with no other text: {sketch}"
AGAIN = "That reply cannot be used: {reason}."
AGAIN_BY_CALL = """\
Reply again with one call of the function {name} or, if you cannot call functions, with its arguments \
alone as one JSON object: {sketch}"""
TEXT: Mapping[str, Any] = {"type": "string"}
TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class Unusable(Exception):  # noqa: N818 - not an error of the program
    """Why a reply is not the form; `final` where asking again is pointless."""

    def __init__(self, reason: str, fault: Fault = "invalid", *, final: bool = False) -> None:
        super().__init__(reason)
        self.fault, self.final = fault, final


@dataclass(frozen=True)
class Form:
    """A function for the model to call: its name, what it is for, and its arguments as JSON schemas.

    Models write the arguments in the order of `properties`: put an explanation first, so that they reason
    before they decide. An argument may have `type` (string, integer, number, boolean), `enum`, `minimum`,
    `maximum` and `description`; each is required. `strict` asks the server to hold the model to it.
    """

    name: str
    description: str
    properties: Mapping[str, Mapping[str, Any]]
    strict: bool = True

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the arguments."""
        names = list(self.properties)
        closed = {"required": names, "additionalProperties": False}
        return {"type": "object", "properties": dict(self.properties), **closed}

    @property
    def sketch(self) -> str:
        """The form as a person would write it down: `{"explanation": "...", "choice": "a" or "b"}`."""
        shown = (f'"{name}": {_sketched(schema)}' for name, schema in self.properties.items())
        return f"{{{', '.join(shown)}}}"

    @property
    def wording(self) -> str:
        """All that a model is shown of the form, for a digest: its replies depend on it."""
        said = [self._told(text) for text in (BY_CALL, BY_TEXT, AGAIN_BY_CALL)]
        return json.dumps([*said, AGAIN, self.description, self.schema, self.strict])

    def prompts(self, channel: str = "auto") -> dict[str, str]:
        """All that a model is told of the form, by what it is for; `auto` may come to any channel."""
        channels = CHANNELS if channel == "auto" else (channel,)
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        found = {"form": json.dumps(function, indent=2, ensure_ascii=False)}
        if "tool" in channels:
            found["end of the last turn, by function call"] = self._told(BY_CALL)
            found["after an unusable reply, by function call"] = f"{AGAIN} {self._told(AGAIN_BY_CALL)}"
        if {"json_schema", "text"} & set(channels):
            found["end of the last turn, as text"] = self._told(BY_TEXT)
            found["after an unusable reply, as text"] = f"{AGAIN} {self._told(BY_TEXT)}"
        return found

    def request(
        self, request: Mapping[str, Any], channel: Channel, faults: Sequence[tuple[str, str]] = ()
    ) -> dict[str, Any]:
        """`request` (model, messages, sampling) with what asks for the form over a channel.

        `faults` are replies that could not be used, each with the reason.
        """
        by_call = channel == "tool"
        *earlier, last = request["messages"]
        how = self._told(BY_CALL if by_call else BY_TEXT)
        messages = [*earlier, {**last, "content": f"{last['content']}\n\n{how}"}]
        for reply, reason in faults:
            again = f"{fill(AGAIN, {'reason': reason})} {self._told(AGAIN_BY_CALL if by_call else BY_TEXT)}"
            # Some servers refuse an empty turn.
            messages += [{"role": "assistant", "content": reply or "..."}, {"role": "user", "content": again}]
        return {**request, "messages": messages, **self._demand(channel)}

    def _told(self, text: str) -> str:
        return fill(text, {"name": self.name, "sketch": self.sketch})

    def _demand(self, channel: Channel) -> dict[str, Any]:
        if channel == "tool":
            function = {"name": self.name, "description": self.description, "parameters": self.schema}
            tool = {"type": "function", "function": {**function, "strict": self.strict}}
            return {"tools": [tool], "tool_choice": {"type": "function", "function": {"name": self.name}}}
        if channel == "json_schema":
            schema = {"name": self.name, "strict": True, "schema": self.schema}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        return {}

    def read(self, text: str) -> dict[str, Any]:
        """The arguments; Unusable unless `text` is one valid JSON object of them and nothing else."""
        try:
            values = json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise Unusable("the reply is no function call with JSON arguments") from None
        if not isinstance(values, dict) or set(values) != set(self.properties):
            raise Unusable(f"the arguments are not exactly {' and '.join(self.properties)}")
        for name, schema in self.properties.items():
            _check(name, values[name], schema)
        return {name: well_formed(v) if isinstance(v, str) else v for name, v in values.items()}


def _check(name: str, value: Any, schema: Mapping[str, Any]) -> None:
    """Unusable where an argument is not of its schema."""
    allowed = schema.get("enum")
    # True == 1 == 1.0 in Python: equality alone would let them pass.
    fits = type(value) in TYPES[schema["type"]]
    if allowed and not (fits and value in allowed):
        raise Unusable(f"{name} is not one of {', '.join(map(str, allowed))}")
    if not fits:
        raise Unusable(f"{name} is not of type {schema['type']}")
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if not isinstance(value, str) and not (low <= value <= high and math.isfinite(value)):
        raise Unusable(f"{name} is not between {low} and {high}")


def _sketched(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(value) for value in schema["enum"])
    if schema["type"] == "string":
        return '"..."'
    limits = [
        f" {word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema
    ]
    return f"<{schema['type']}{''.join(limits)}>"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError for a duplicate key, since either could be meant."""
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
