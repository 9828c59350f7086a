"""Prompts that hold other people's text, for judges that ask a language model.

An answer under judgment is hostile: it may hold a placeholder (`{answer_2}`), a forged end of itself,
or a forged verdict. `fill` substitutes in one pass, so nothing that was put in is read again; `fence`
puts text between tags that its author could not have written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.records import Message, Question
from harness.store import digest
from harness.text import well_formed

PLACEHOLDER = re.compile(r"\{(\w+)\}")
# Possessive: a text of a hundred thousand spaces must not cost the square of it.
FORGED_TAG = re.compile(r"<(?=\s*+/?+\s*+fenced\b)", re.IGNORECASE)


def fill(template: str, values: Mapping[str, str]) -> str:
    """`template` with each `{name}` replaced by its value, once; KeyError for a name without a value."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], template)


def nonce(*shown: Any) -> str:
    """The id of the fences of one prompt: 32 hexadecimal digits, the same for the same material.

    It is a digest over all that is shown (records or texts), so an answer cannot hold its own: its author
    would have to know everything else in the prompt and find a fixed point of SHA-256. Equal requests stay
    equal byte for byte; a question that is asked again is the same question.
    """
    return digest([replace(item, repeat=0) if isinstance(item, Question) else item for item in shown])[:32]


def fence(name: str, text: str, nonce: str) -> str:
    """`text` between `<fenced name nonce>` and `</fenced name nonce>`; what looks like a fence is defused."""
    defused = FORGED_TAG.sub("‹", well_formed(text).replace(nonce, "…"))
    return f"<fenced {name} {nonce}>\n{defused}\n</fenced {name} {nonce}>"


def transcript(prompt: Sequence[Message]) -> str:
    """A conversation as text: a lone user turn as it is, otherwise each turn below its role."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt)
