"""A prompt in a text file, for plugins that ask a chat model: turns, and places for what others wrote.

    [system]
    You compare two answers ... tags that carry the id {nonce}.

    [user]
    {conversation}

    A reference answer, to check facts against:
    {reference}

    {answer_1} ...

A line `[system]`, `[user]` or `[assistant]` opens a turn. `{name}` is a place, filled in one pass. A
paragraph with a place for which there is nothing to show (a reference) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import PluginError
from harness.fences import PLACEHOLDER, fill
from harness.store import digest
from harness.validation import suggestion

HEADING = re.compile(r"^\[(system|user|assistant)\][ \t]*$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n[ \t]*\n")


@dataclass(frozen=True)
class Prompt:
    """The turns of a prompt file, each a role and a template; `path` is where it was read."""

    turns: tuple[tuple[str, str], ...]
    path: Path

    @property
    def places(self) -> list[str]:
        """The names of all places, in order, one as often as it is there."""
        return [name for _, template in self.turns for name in PLACEHOLDER.findall(template)]

    @property
    def digest(self) -> str:
        """A digest of all that the file says, of 12 hexadecimal digits."""
        return digest(self.turns)[:12]

    def texts(self, shown: Collection[str], fixed: Mapping[str, str] | None = None) -> dict[str, str]:
        """Role -> its template, as it is sent where the places `shown` have something to show.

        `fixed` is what is the same in every request. A role that has several turns has them numbered.
        """
        values = {**{name: f"{{{name}}}" for name in shown}, **(fixed or {})}
        roles = [role for role, _ in self.turns]
        numbered = [f"{role} {roles[:place].count(role) + 1}" for place, role in enumerate(roles)]
        names = [many if roles.count(role) > 1 else role for role, many in zip(roles, numbered, strict=True)]
        return {name: _filled(text, values) for name, (_, text) in zip(names, self.turns, strict=True)}

    def messages(self, values: Mapping[str, str | None]) -> list[dict[str, str]]:
        """The messages of a request; what is None is not shown, nor the paragraph around its place."""
        shown = {name: value for name, value in values.items() if value is not None}
        return [{"role": role, "content": _filled(template, shown)} for role, template in self.turns]


def read_prompt(path: Path, *, once: Collection[str], optional: Collection[str] = ()) -> Prompt:
    """The prompt in a file with each of the places `once` exactly one time.

    Raises PluginError, with the line, where the file cannot be read, has no turns, ends in another turn than
    the user's, or where a place is missing, doubled or unknown.
    """
    text = read_words(path, "the prompt")
    start, *parts = HEADING.split(text)
    if start.strip() or len(parts) < 2:
        fix = "open each turn with a line [system], [user] or [assistant]"
        raise PluginError("the prompt begins with no turn", where=f"{path}:1", fix=fix)
    turns = tuple((role, body.strip()) for role, body in zip(parts[::2], parts[1::2], strict=True))
    if turns[-1][0] != "user":
        raise PluginError(f"the prompt ends in a turn of the {turns[-1][0]}", where=str(path), fix="[user]")
    _check_places(text, path, once, optional)
    return Prompt(turns, path)


def read_words(path: Path, name: str) -> str:
    """The text of a file that a suite names; PluginError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise PluginError(f"{name} cannot be read: {reason}", where=str(path)) from error


def _check_places(text: str, path: Path, once: Collection[str], optional: Collection[str]) -> None:
    known = [*once, *optional]
    seen: set[str] = set()
    for match in PLACEHOLDER.finditer(text):
        where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
        if match[1] not in known:
            raise PluginError(f"unknown place {match[0]}", where=where, fix=suggestion(match[1], known))
        if match[1] in seen and match[1] in once:
            raise PluginError(f"{match[0]} occurs twice", where=where, fix="show each text once")
        seen.add(match[1])
    if missing := [name for name in once if name not in seen]:
        what = f"the prompt has no place {{{missing[0]}}}"
        raise PluginError(what, where=str(path), fix=f"it needs {', '.join(f'{{{name}}}' for name in once)}")


def _filled(template: str, values: Mapping[str, str]) -> str:
    paragraphs = BLANK_LINES.split(template)
    kept = [p for p in paragraphs if set(PLACEHOLDER.findall(p)) <= set(values)]
    return "\n\n".join(fill(paragraph, values) for paragraph in kept)
