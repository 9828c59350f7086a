"""Examples by content: ids, digests, and the normalised prompt by which two of them are the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from harness.records import Example, Message, Messages
from harness.store import canonical

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
FOLDED = re.escape(".,;:!?\"'`()[]{}‘’“”„«»–—·、。")
TOKEN = re.compile(rf"\d+(?:[.,]\d+)*|[{CJK}]|[^\W\d_{CJK}]+|[^\w\s{FOLDED}]")
"""Numbers, words, single characters of scripts without spaces, and marks that carry meaning (+, -, %, #).

Punctuation is left out, signs are not: `3 + 4` and `3 * 4`, or C and C++, are different prompts.
"""
IN_WORD = re.compile(r"(?<=[^\W\d_])[-'’](?=[^\W\d_])")
"""Hyphens and apostrophes inside words: well-known, don't."""


def make_example(prompt: Iterable[Message], reference: str) -> Example:
    """An Example whose id is the first 12 hex digits of the sha256 of its content.

    UnicodeEncodeError if a text holds a lone surrogate, which no UTF-8 file can.
    """
    messages: Messages = tuple(prompt)
    content = canonical({"prompt": messages, "reference": reference}).encode()
    return Example(hashlib.sha256(content).hexdigest()[:12], messages, reference)


def unique_ids(examples: Iterable[Example]) -> list[Example]:
    """The same examples, those with a repeated id renamed to id-2, id-3, ... in order."""
    seen: Counter[str] = Counter()
    unique = []
    for example in examples:
        seen[example.id] += 1
        count = seen[example.id]
        unique.append(example if count == 1 else replace(example, id=f"{example.id}-{count}"))
    return unique


def examples_digest(examples: Iterable[Example]) -> str:
    """sha256 over the examples' canonical JSON, one a line, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(canonical(example).encode() + b"\n")
    return digest.hexdigest()


def prompt_key(prompt: Messages) -> str:
    """The words of a prompt, joined by spaces: equal for prompts that differ in case and punctuation only.

    All turns but system count. Numbers stay whole (3.5), hyphens and apostrophes inside words vanish,
    each CJK character is a word. A prompt without any word stands for itself.
    """
    text = "\n".join(message.content for message in prompt if message.role != "system")
    words = TOKEN.findall(IN_WORD.sub("", unicodedata.normalize("NFKC", text).casefold()))
    return " ".join(words) if words else text.strip()
