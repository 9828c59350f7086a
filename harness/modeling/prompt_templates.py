"""The templates that turn a conversation into text, in the manner of chat templates."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from harness.errors import InputError
from harness.records import Prompting

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
# H2O LLM Studio's parse_prompt and parse_answer; the names in it are keys of `prompting`.
PLAIN_TEMPLATE = """\
{%- for message in messages -%}
{%- if message.role == 'assistant' -%}
{{ message.content + (eos_token if add_eos_token_to_answer else '') }}
{%- elif message.role == 'system' -%}
{{ message.content + '\\n\\n' }}
{%- else -%}
{{ text_prompt_start + message.content + (eos_token if add_eos_token_to_prompt else '') }}
{{- text_answer_separator }}
{%- endif -%}
{%- endfor -%}
"""
BUILT_IN = {"alpaca": ALPACA_TEMPLATE, "plain": PLAIN_TEMPLATE}
# Chat templates that write today's date would make a suite's prompts differ from one day to the next. Theirs
# is the function this macro hides; the date is the one that Llama 3's template falls back to.
FIXED_DATE = (
    "{% macro strftime_now(layout) %}{{ layout | replace('%Y', '2024') | replace('%m', '07')"
    " | replace('%d', '26') | replace('%B', 'July') | replace('%b', 'Jul') }}{% endmacro %}"
)


def template_variables(prompting: Prompting) -> dict[str, str | bool]:
    """What a template is given beside the conversation."""
    if prompting.template != "plain":
        return {}
    return {
        "text_prompt_start": prompting.text_prompt_start,
        "text_answer_separator": prompting.text_answer_separator,
        "add_eos_token_to_prompt": prompting.add_eos_token_to_prompt,
        "add_eos_token_to_answer": prompting.add_eos_token_to_answer,
    }


def template_source(tokenizer: PreTrainedTokenizerBase, prompting: Prompting) -> str:
    """The Jinja source of a template; InputError for `chat` where the tokenizer has none."""
    if prompting.template in BUILT_IN:
        return BUILT_IN[prompting.template]
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
