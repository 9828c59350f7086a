"""Python that loads a trained candidate from the Hub and lets it answer, right for its method and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.modeling.training_settings import ADAPTERS
from harness.text import well_formed

Json = Mapping[str, Any]

_QUESTION = "Your question here"
# The words of harness/modeling/prompt_templates.py, which imports transformers.
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
    "\n\n### Instruction:\n{}\n\n### Response:\n"
)
_MESSAGES = f'messages = [{{"role": "user", "content": "{_QUESTION}"}}]'
# What training does to a prompt that no chat template of the tokenizer's own wrote: a space before an answer
# belongs to the answer's first token, and what the tokenizer puts in front is in front.
_AS_TRAINED = (
    'text = text.rstrip(" ")',
    'adds_bos = tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id',
    "if adds_bos and not text.startswith(tokenizer.bos_token):",
    "    text = tokenizer.bos_token + text",
)


def is_adapter(candidate: Json) -> bool:
    """Whether the candidate's weights stand beside a base rather than instead of it."""
    return candidate["method"] in ADAPTERS


def load_code(candidate: Json, repo: str, base: str, revision: str | None) -> str:
    """The lines; `base` is a Hub id, or what stands for a folder that the reader has."""
    loading = _adapter(candidate, repo, base, revision) if is_adapter(candidate) else _whole(repo)
    prompting = candidate["recipe"]["prompting"]
    as_trained = () if _template(prompting) == "chat" else _AS_TRAINED
    return "\n".join([*loading, "", *_prompt(prompting), *as_trained, *_answer(candidate)])


def _adapter(candidate: Json, repo: str, base: str, revision: str | None) -> list[str]:
    quantized = (candidate["recipe"]["method"] or {}).get("quantization")
    named = ["AutoModelForCausalLM", "AutoTokenizer", *(["BitsAndBytesConfig"] if quantized else [])]
    arguments = [_quoted(base), *([f"revision={_quoted(revision)}"] if revision else []), 'dtype="auto"']
    if quantized:
        arguments.append(f"quantization_config=BitsAndBytesConfig({_keywords(quantized)})")
    return [
        "from peft import PeftModel",
        f"from transformers import {', '.join(named)}",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(repo)})",
        f"base = AutoModelForCausalLM.from_pretrained({', '.join(arguments)})",
        "if len(tokenizer) > base.get_input_embeddings().num_embeddings:  # a pad token was added",
        "    base.resize_token_embeddings(len(tokenizer))",
        f"model = PeftModel.from_pretrained(base, {_quoted(repo)})",
    ]


def _whole(repo: str) -> list[str]:
    return [
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
        f"tokenizer = AutoTokenizer.from_pretrained({_quoted(repo)})",
        f'model = AutoModelForCausalLM.from_pretrained({_quoted(repo)}, dtype="auto")',
    ]


def _prompt(prompting: Json) -> list[str]:
    """The prompt as the candidate was trained on it."""
    template = _template(prompting)
    if template in ("chat", "jinja"):
        source = f"chat_template={_quoted(prompting.get('source', ''))}, " if template == "jinja" else ""
        arguments = f"messages, {source}add_generation_prompt=True, tokenize=False"
        return [_MESSAGES, f"text = tokenizer.apply_chat_template({arguments})"]
    if template == "alpaca":
        return [f"text = {_quoted(_ALPACA)}.format({_quoted(_QUESTION)})"]
    end = " + tokenizer.eos_token" if prompting.get("add_eos_token_to_prompt") else ""
    start, separator = prompting.get("text_prompt_start", ""), prompting.get("text_answer_separator", "\n")
    return [f"text = {_quoted(start + _QUESTION)}{end} + {_quoted(separator)}"]


def _template(prompting: Json) -> str:
    return str(prompting.get("template", "chat"))


def _answer(candidate: Json) -> list[str]:
    generation = candidate["recipe"].get("generation") or {}
    options = f", {_keywords(generation)}" if generation else ""
    return [
        'inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")',
        f"output = model.generate(**inputs{options})",
        'print(tokenizer.decode(output[0][inputs["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]


def _keywords(options: Json) -> str:
    """Options as Python's keyword arguments; a name that can be none is left out."""
    plain = {key: value for key, value in options.items() if str(key).isidentifier()}
    return ", ".join(f"{key}={_literal(value)}" for key, value in plain.items())


def _literal(value: Any) -> str:
    return _quoted(value) if isinstance(value, str) else ascii(value)


def _quoted(text: str) -> str:
    """A string literal on one line that holds nothing but ASCII; no backtick can end the code's fence."""
    escaped = ascii(well_formed(text))[1:-1].replace("\\'", "'").replace('"', '\\"').replace("`", "\\x60")
    return f'"{escaped}"'
