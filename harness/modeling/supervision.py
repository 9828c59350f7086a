"""Conversations to token ids, and which of these are training targets.

Two invariants are kept by construction. The prompt is tokenized on its own and the answer's ids are
put behind it, so that a prompt has the same ids in training, in scoring and in generation. And the
targets come from where the answer stands in the text, not from a search for marker ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase

from harness.errors import DataError, InputError, ModelError
from harness.modeling.prompt_templates import template_source, template_variables
from harness.records import Example, Message, Prompting

PROBE_QUESTION = Message("user", "Zqx7vKp2")
PROBE_ANSWER = Message("assistant", "Kvw9tRm4")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row. `supervised[i]` is True where token i is a target, to be predicted from tokens 0..i-1.

    A `truncated` row was longer than a limit and lost part of its prompt or of its answer. A packed row
    (see packing.py) has the lengths of its parts in `segments`. Attention does not see the tokens `hidden`.
    """

    example_id: str
    input_ids: list[int]
    supervised: list[bool]
    truncated: bool = False
    segments: tuple[int, ...] = ()
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a template writes around an answer, if it is one that renders answers at all.

    `lead` (spaces) and `trail` are text that the model has to write, `stop` is the token that ends the turn
    and `written` whether it stands behind answers at all.
    """

    rendered: bool
    lead: str
    trail: str
    stop: str
    written: bool


class Renderer:
    """A tokenizer and a prompt template, as one function from messages to ids.

    Raises InputError for a template that cannot be used, ModelError for a tokenizer without any token
    that could end an answer, DataError where a limit has no room for the template itself.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompting: Prompting) -> None:
        self._tokenizer = tokenizer
        self._template = template_source(tokenizer, prompting)
        self._variables = template_variables(prompting)
        self._prompting = prompting
        self._max_length = prompting.max_length
        # A chat template writes its own BOS; to any other text the tokenizer would put it in front.
        self._bos = None if prompting.template == "chat" else _automatic_bos(tokenizer)
        self._turn = self._probe_turn()
        overhead = len(self._ids(self.prompt_text([Message("user", "a")])))
        self._require_room("max_length", overhead + 2, overhead)
        self._require_room("max_length_prompt", overhead, overhead)

    def _require_room(self, key: str, needed: int, overhead: int) -> None:
        limit = getattr(self._prompting, key)
        if limit is not None and limit < needed:
            what = f"{key} {limit} is too small: the template alone takes {overhead} tokens"
            raise DataError(what, where=f"prompting.{key}", fix="raise it")

    @property
    def end_of_turn(self) -> str:
        """What follows an answer, up to and including the token that ends it."""
        return self._turn.trail + (self._turn.stop if self._turn.written else "")

    @cached_property
    def stop_token_ids(self) -> list[int]:
        """The ids at which generation stops: the end of turn, and the end of sequence where it differs."""
        ids = {self._stop_id, self._tokenizer.eos_token_id}
        return sorted(id_ for id_ in ids if id_ is not None)

    @cached_property
    def _stop_id(self) -> int:
        return int(self._tokenizer.convert_tokens_to_ids(self._turn.stop))

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """The text that the model is to continue with an answer: all that the template writes before one.

        That may be more than the generation prompt (Qwen 3 puts an empty `<think>` block before an answer),
        or other than it (DeepSeek's opens a `<think>` block that rendered answers do not have).
        """
        if not self._turn.rendered:
            return self._render(messages, prompt=True)
        text = self._render([*messages, PROBE_ANSWER], prompt=False)
        return text[: text.rindex(PROBE_ANSWER.content)].removesuffix(self._turn.lead)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The ids of `prompt_text`, with at most one leading BOS; the last `max_length_prompt` of them."""
        ids = self._ids(self.prompt_text(messages))
        return self._last(ids, [False] * len(ids), self._prompting.max_length_prompt)[0]

    def answer_text(self, ids: Sequence[int]) -> str:
        """The answer that generated ids spell, up to the first stop token, without the template's text."""
        end = next((i for i, token in enumerate(ids) if token in self.stop_token_ids), len(ids))
        # Some tokenizers would drop spaces before punctuation: the answer is what the model wrote.
        text = str(
            self._tokenizer.decode(
                list(ids[:end]), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        text = text.removeprefix(self._turn.lead)
        return text.removesuffix(self._turn.trail) if end < len(ids) else text

    def encode(self, example: Example, *, completion_only_loss: bool = True) -> Encoded:
        """A training row: every assistant turn is a target, each with its end of turn.

        Earlier assistant turns count only where the template renders them the same way when they are
        history as when they are the answer. With `completion_only_loss` off, every token is a target.
        """
        text = self.prompt_text(example.prompt)
        prompt = self._ids(text)
        if not completion_only_loss:
            targets = [True] * len(prompt)
        elif spans := self._answered_spans(example.prompt, text):
            targets = self._tokens_inside(text, spans)
        else:
            targets = [False] * len(prompt)
        return self._row(example.id, prompt, targets, self._answer_ids(text, prompt, example.reference))

    def encode_reference(self, messages: Sequence[Message], reference: str) -> Encoded:
        """A row for scoring: the reference and its end of turn are the only targets."""
        text = self.prompt_text(messages)
        prompt = self._ids(text)
        return self._row("", prompt, [False] * len(prompt), self._answer_ids(text, prompt, reference))

    def _row(self, example_id: str, prompt: list[int], targets: list[bool], answer: list[int]) -> Encoded:
        """Prompt and answer, cut to the limits of each and joined.

        What is then still longer than max_length loses from the prompt's left, down to a quarter of
        max_length, before it loses from the answer's right.
        """
        whole, limit = len(prompt) + len(answer), self._max_length
        prompt, targets = self._last(prompt, targets, self._prompting.max_length_prompt)
        answer = answer[: self._prompting.max_length_answer]
        if len(prompt) + len(answer) > limit:
            keep = min(len(prompt), max(1, limit // 4, limit - len(answer)))
            prompt, targets = self._last(prompt, targets, keep)
            answer = answer[: limit - keep]
        supervised = targets + [True] * len(answer)
        supervised[0] = False  # nothing stands before the first token that could predict it
        return Encoded(example_id, prompt + answer, supervised, truncated=len(supervised) < whole)

    def _last(self, ids: list[int], targets: list[bool], count: int | None) -> tuple[list[int], list[bool]]:
        """The last `count` ids (None: all); a leading BOS stays, for some models are lost without it."""
        if count is None or len(ids) <= count:
            return ids, targets
        kept = ids[-count:]
        if count > 1 and ids[0] == self._tokenizer.bos_token_id:
            kept[0] = ids[0]
        return kept, targets[-count:]

    def _answer_ids(self, prompt_text: str, prompt: list[int], answer: str) -> list[int]:
        """The answer's ids, as the tokenizer writes them behind this prompt.

        Read in context, for SentencePiece puts a space before a text that stands alone. Where a merge
        crosses the border the answer is tokenized alone: the prompt's ids must not depend on it.
        """
        body = self._turn.lead + answer + self._turn.trail
        whole = self._ids(prompt_text + body)
        in_context = whole[: len(prompt)] == prompt
        ids = whole[len(prompt) :] if in_context else self._call(body)["input_ids"]
        return [*ids, self._stop_id] if self._turn.written else ids

    def _answered_spans(self, messages: Sequence[Message], text: str) -> list[tuple[int, int]]:
        """Where in `text` earlier assistant turns stand, end of turn included; empty if none can be told."""
        turns = [i for i, message in enumerate(messages) if i > 0 and message.role == "assistant"]
        if not turns or not self._tokenizer.is_fast:
            return []
        spans = []
        for turn in turns:
            before = self.prompt_text(messages[:turn])
            answered = before + self._turn.lead + messages[turn].content + self.end_of_turn
            if not text.startswith(answered):
                return []
            spans.append((len(before), len(answered)))
        return spans

    def _tokens_inside(self, text: str, spans: list[tuple[int, int]]) -> list[bool]:
        offsets = self._call(text, return_offsets_mapping=True)["offset_mapping"]
        inside = [any(a <= start and a < end <= b for a, b in spans) for start, end in offsets]
        return [False] * (len(self._ids(text)) - len(inside)) + inside

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._call(text)["input_ids"]
        return ids if self._bos is None or ids[:1] == [self._bos] else [self._bos, *ids]

    def _call(self, text: str, **options: Any) -> Any:
        return self._tokenizer(text, add_special_tokens=False, verbose=False, **options)

    def _render(self, messages: Sequence[Message], *, prompt: bool) -> str:
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = self._tokenizer.apply_chat_template(
                conversation,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=prompt,
                **self._variables,
            )
        except jinja2.TemplateSyntaxError as error:
            raise InputError(f"line {error.lineno}: {error.message}", where="prompting.template") from error
        except (jinja2.TemplateError, TypeError) as error:  # TypeError: arithmetic with what is undefined
            roles = ", ".join(message.role for message in messages)
            raise InputError(
                f"the template refuses a conversation of {roles}: {error}", where="prompting.template"
            ) from error
        return str(text)

    def _probe_turn(self) -> _Turn:
        """Read off a probe conversation what the template writes before and after an answer."""
        text = self._render([PROBE_QUESTION, PROBE_ANSWER], prompt=False)
        if PROBE_QUESTION.content not in self._render([PROBE_QUESTION], prompt=True):
            raise InputError(
                "the template leaves out what the user says",
                where="prompting.template",
                fix="each message has `role` and `content`",
            )
        asked, answered = text.find(PROBE_QUESTION.content), text.find(PROBE_ANSWER.content)
        if not 0 <= asked < answered:
            return _Turn(False, "", "", self._eos_token(), written=True)
        before, after = text[:answered], text[answered + len(PROBE_ANSWER.content) :]
        # A space before an answer belongs to the answer's first token, so the model has to write it.
        lead, written = before[len(before.rstrip(" ")) :], self._prompting.add_eos_token_to_answer
        return _Turn(True, lead, *self._split_at_token(after), written=written)

    def _split_at_token(self, text: str) -> tuple[str, str]:
        """The text before the first added token in `text`, and that token; EOS where there is none."""
        added = {str(token) for token in self._tokenizer.added_tokens_decoder.values()}
        added.update(self._tokenizer.all_special_tokens)
        places = [
            (text.index(token), -len(token), token) for token in added if token.strip() and token in text
        ]
        if not places:
            return "", self._eos_token()
        place, _, token = min(places)
        return text[:place], token

    def _eos_token(self) -> str:
        token = self._tokenizer.eos_token
        if token is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so no answer could end")
        return str(token)


def _automatic_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    bos = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None
