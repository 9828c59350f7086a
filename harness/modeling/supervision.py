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
from harness.records import Example, Message, Prompting

# The wording of Stanford Alpaca's prompt without input; a system message takes the preamble's place.
ALPACA_TEMPLATE = """\
{%- if messages[0].role == 'system' -%}
{{ messages[0].content }}
{%- else -%}
Below is an instruction that describes a task. Write a response that appropriately completes the request.
{%- endif -%}
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{ '\n\n### Response:\n' + message.content + eos_token }}
{%- elif message.role != 'system' -%}
{{ ('\n\n### Instruction:\n' if message.role == 'user' else '\n\n### Input:\n') + message.content }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '\n\n### Response:\n' }}
{%- endif -%}
"""
# Chat templates that write today's date would make a suite's prompts differ from one day to the next. Theirs
# is the function this macro hides; the date is the one that Llama 3's template falls back to.
FIXED_DATE = (
    "{% macro strftime_now(layout) %}{{ layout | replace('%Y', '2024') | replace('%m', '07')"
    " | replace('%d', '26') | replace('%B', 'July') | replace('%b', 'Jul') }}{% endmacro %}"
)
PROBE_QUESTION = Message("user", "Zqx7vKp2")
PROBE_ANSWER = Message("assistant", "Kvw9tRm4")


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row. `supervised[i]` is True where token i is a target, to be predicted from tokens 0..i-1.

    A `truncated` row was longer than max_length and lost part of its prompt or of its answer.
    """

    example_id: str
    input_ids: list[int]
    supervised: list[bool]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class _Turn:
    """What a template writes around an answer, if it is one that renders answers at all.

    `lead` (spaces) and `trail` are text that the model has to write, `stop` is the token that ends the turn.
    """

    rendered: bool
    lead: str
    trail: str
    stop: str


class Renderer:
    """A tokenizer and a prompt template, as one function from messages to ids.

    Raises InputError for a template that cannot be used, ModelError for a tokenizer without any token
    that could end an answer, DataError where `max_length` has no room for the template itself.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompting: Prompting) -> None:
        self._tokenizer = tokenizer
        self._template = _template_source(tokenizer, prompting)
        self._max_length = prompting.max_length
        # A chat template writes its own BOS; to any other text the tokenizer would put it in front.
        self._bos = None if prompting.template == "chat" else _automatic_bos(tokenizer)
        self._turn = self._probe_turn()
        overhead = len(self.prompt_ids([Message("user", "a")]))
        if self._max_length < overhead + 2:
            raise DataError(
                f"max_length {self._max_length} is too small: the template alone takes {overhead} tokens",
                where="prompting.max_length",
                fix="raise it",
            )

    @property
    def end_of_turn(self) -> str:
        """What follows an answer, up to and including the token that ends it."""
        return self._turn.trail + self._turn.stop

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
        """The ids of `prompt_text`, with at most one leading BOS; never truncated."""
        return self._ids(self.prompt_text(messages))

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
        """Prompt and answer joined and cut to max_length, the answer last.

        The prompt is cut from its left, down to a quarter of max_length, before the answer is cut from its
        right; a leading BOS stays, for some models are lost without it.
        """
        limit, truncated = self._max_length, len(prompt) + len(answer) > self._max_length
        if truncated:
            keep = min(len(prompt), max(1, limit // 4, limit - len(answer)))
            bos = keep > 1 and prompt[0] == self._tokenizer.bos_token_id
            start = len(prompt) - keep
            head = prompt[:1] if bos else prompt[start : start + 1]
            prompt, targets = head + prompt[start + 1 :], targets[start:]
            answer = answer[: limit - keep]
        supervised = targets + [True] * len(answer)
        supervised[0] = False  # nothing stands before the first token that could predict it
        return Encoded(example_id, prompt + answer, supervised, truncated)

    def _answer_ids(self, prompt_text: str, prompt: list[int], answer: str) -> list[int]:
        """The answer's ids, as the tokenizer writes them behind this prompt.

        Read in context, for SentencePiece puts a space before a text that stands alone. Where a merge
        crosses the border the answer is tokenized alone: the prompt's ids must not depend on it.
        """
        body = self._turn.lead + answer + self._turn.trail
        whole = self._ids(prompt_text + body)
        if whole[: len(prompt)] == prompt:
            return [*whole[len(prompt) :], self._stop_id]
        return [*self._call(body)["input_ids"], self._stop_id]

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
            return _Turn(False, "", "", self._eos_token())
        before, after = text[:answered], text[answered + len(PROBE_ANSWER.content) :]
        # A space before an answer belongs to the answer's first token, so the model has to write it.
        return _Turn(True, before[len(before.rstrip(" ")) :], *self._split_at_token(after))

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


def _template_source(tokenizer: PreTrainedTokenizerBase, prompting: Prompting) -> str:
    if prompting.template == "alpaca":
        return ALPACA_TEMPLATE
    if prompting.template == "jinja":
        return prompting.source
    if tokenizer.chat_template is None:
        raise InputError(
            "the tokenizer has no chat template",
            where="prompting.template",
            fix="use `template: alpaca` or a .jinja file of your own",
        )
    source = str(tokenizer.get_chat_template())
    return FIXED_DATE + source if "strftime_now" in source else source


def _automatic_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    bos = tokenizer.bos_token_id
    return bos if bos is not None and tokenizer("a")["input_ids"][:1] == [bos] else None
