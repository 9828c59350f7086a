"""A small JSON object out of a chat model: asked for, validated, repaired once, or given up.

A Form (forms.py) is asked for over a channel: as a forced tool call, as a reply with a JSON schema, or as a
text that is nothing but JSON. The first channel that a server takes is remembered.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.chat.forms import CHANNELS, Channel, Form, Unusable
from harness.chat.replies import Reply, RequestRefused, RequestRejected, Tokens, tokens_expected
from harness.chat.server import ChatServer
from harness.protocols import Usage
from harness.records import Choice, Fault, Verdict, from_json, to_json, total_cost
from harness.text import well_formed

REPLY_TOKENS = 150
"""A few sentences and a choice, as replies are on average."""
REJECTIONS = {"tool": ("tool", "function"), "json_schema": ("response_format", "schema", "response format")}
"""What the message of a rejected request names where the channel is the reason."""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply as it came, the key blotted out; or, with a `fault`, why the server sent none."""

    channel: str = ""
    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    refusal: str = ""
    finish_reason: str = ""
    fault: Fault = ""

    @property
    def content(self) -> str:
        """What the model wrote."""
        return "\n".join(arguments for _, arguments in self.calls) or self.text or self.refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of asking: the valid `values`, or None with a `fault` and its `reason`.

    `raw` is the JSON list of what was said, for `reread`. Tokens and cost are those of all requests;
    `cost_usd` None: not known.
    """

    values: Mapping[str, Any] | None
    raw: str
    fault: Fault = ""
    reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float | None = None

    def verdict(self, choices: Mapping[Any, Choice], *, choice: str, explanation: str) -> Verdict:
        """The verdict whose `choice` and `explanation` are these arguments, or an unparsed one."""
        spent = (self.raw, self.prompt_tokens, self.completion_tokens, self.cost_usd)
        if self.values is None:
            return Verdict("unparsed", self.reason, *spent, fault=self.fault)
        return Verdict(choices[self.values[choice]], self.values[explanation], *spent)


def ask(
    server: ChatServer,
    form: Form,
    request: Mapping[str, Any],
    *,
    channel: Channel | Literal["auto"] = "auto",
    sample: int = 0,
) -> Outcome:
    """The form, filled in by the model of `request` (its `model`, `messages` and sampling).

    A reply that is not the form is asked for once more, its fault named. `sample` above 0 asks again what was
    asked before. StageError if the server fails; no reply of a model raises.
    """
    replies: list[Reply] = []
    said: list[Said] = []
    faults: list[tuple[str, str]] = []
    while True:
        try:
            reply, used = _complete(server, form, request, channel, sample, faults)
        except RequestRefused as refused:
            said.append(Said(text=server.redacted(str(refused)), fault=refused.fault))
        else:
            replies.append(reply)
            said.append(_said(reply, used, server))
        try:
            return _outcome(said, replies, values=_read(form, said[-1]))
        except Unusable as unusable:
            if unusable.final or len(said) == 2:
                return _outcome(said, replies, unusable=unusable)
            faults.append((said[-1].content, str(unusable)))


def first_request(server: ChatServer, form: Form, request: Mapping[str, Any], channel: str) -> dict[str, Any]:
    """What `ask` would send first."""
    return form.request(request, _chosen(server, request, channel))


def expected_usage(
    server: ChatServer,
    form: Form,
    requests: Sequence[Mapping[str, Any]],
    *,
    channel: str = "auto",
    samples: Sequence[int] | None = None,
    batch: bool = False,
) -> Usage:
    """What these requests will take if no reply has to be repaired, before any of them is made.

    A token is taken for four characters of what is sent, and a reply for REPLY_TOKENS, or `max_tokens` where
    that is less. A request whose reply to its sample is in the ledger takes nothing.
    """
    prompt = completion = count = 0
    for request, sample in zip(requests, samples or [0] * len(requests), strict=True):
        if server.known(first_request(server, form, request, channel), sample) is None:
            tokens = tokens_expected(form.request(request, CHANNELS[0]), REPLY_TOKENS)
            prompt, completion = prompt + tokens.prompt, completion + min(tokens.completion, REPLY_TOKENS)
            count += 1
    price = server.price_of(requests[0]["model"]) if requests else None
    cost = None if price is None else price.cost(Tokens(prompt, completion), batch=batch)
    return Usage(prompt, completion, cost, count)


def reread(form: Form, raw: str) -> Outcome:
    """What can be read out of an earlier `raw`, tokens and cost left out; it costs nothing.

    A `raw` that is no list of replies is taken for the text of one.
    """
    try:
        said = [from_json(Said, item) for item in json.loads(raw)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        said = [Said(text=raw)]
    unusable = Unusable("the reply is empty", "empty")
    for item in said:
        try:
            return Outcome(_read(form, item), raw)
        except Unusable as fault:
            unusable = fault
    return Outcome(None, raw, unusable.fault, str(unusable))


def _complete(
    server: ChatServer,
    form: Form,
    request: Mapping[str, Any],
    channel: str,
    sample: int,
    faults: Sequence[tuple[str, str]],
) -> tuple[Reply, Channel]:
    """A reply and the channel it came over: the first that the server takes, which is remembered."""
    chosen = _chosen(server, request, channel)
    for used in CHANNELS[CHANNELS.index(chosen) :]:
        try:
            reply = server.complete(form.request(request, used, faults), sample=sample)
        except RequestRejected as rejected:
            if channel != "auto" or not _is_about(used, str(rejected)):
                raise
            continue
        if used != chosen:
            server.notes.set_channel(request["model"], used)
        return reply, used
    raise AssertionError("nothing is below a plain text")


def _chosen(server: ChatServer, request: Mapping[str, Any], channel: str) -> Channel:
    known = server.notes.channel(request["model"]) if channel == "auto" else channel
    return next((each for each in CHANNELS if each == known), CHANNELS[0])


def _is_about(channel: Channel, message: str) -> bool:
    return any(word in message.lower() for word in REJECTIONS.get(channel, ()))


def _said(reply: Reply, channel: Channel, server: ChatServer) -> Said:
    def clean(text: str) -> str:
        return server.redacted(well_formed(text))

    calls = tuple((clean(name), clean(arguments)) for name, arguments in reply.calls)
    return Said(channel, clean(reply.text), calls, clean(reply.refusal), reply.finish_reason)


def _outcome(
    said: Sequence[Said],
    replies: Sequence[Reply],
    *,
    values: Mapping[str, Any] | None = None,
    unusable: Unusable | None = None,
) -> Outcome:
    return Outcome(
        values,
        json.dumps(to_json(said), ensure_ascii=False),
        unusable.fault if unusable else "",
        str(unusable or ""),
        sum(reply.prompt_tokens for reply in replies),
        sum(reply.completion_tokens for reply in replies),
        total_cost(reply.cost_usd for reply in replies),
    )


def _read(form: Form, said: Said) -> dict[str, Any]:
    """The arguments in a reply; Unusable says what is wrong with it."""
    if said.fault:
        raise Unusable(said.text, said.fault, final=True)
    if said.refusal or said.finish_reason == "content_filter":
        reason = f"refused: {said.refusal or 'stopped by a content filter'}"
        raise Unusable(reason, "refused", final=True)
    try:
        return form.read(_arguments(form, said))
    except Unusable:
        if said.finish_reason == "length":
            raise Unusable("the reply was cut off at max_tokens", "cut") from None
        raise


def _arguments(form: Form, said: Said) -> str:
    """The arguments of the one call or, where none was made, the whole text or the one code block it is."""
    if said.calls:
        if [name for name, _ in said.calls] != [form.name]:
            raise Unusable(f"the reply is not one call of {form.name}")
        return said.calls[0][1]
    text = said.text.strip()
    if not text:
        raise Unusable("the reply is empty", "empty")
    if len(text) >= 6 and text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json")
    return text
