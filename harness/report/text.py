"""Generated text is hostile; here is what makes it safe to show.

HTML is escaped by jinja2 (autoescape is on, nothing generated is ever marked safe), JSON by
`script_json`, Markdown and CSV by their functions. `visible` replaces what would act rather than show:
control characters and the bidirectional overrides that can make a line read as another.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from harness.records import ALL

_ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
# Letters, marks and symbols by Unicode that draw nothing: fillers and variation selectors.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SCRIPT_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_SCRIPT_UNSAFE = re.compile("[<>&\u2028\u2029]")
_MARKDOWN_SPECIAL = re.compile(r"([\\|`*_\[\]{}~#])")
_MARKDOWN_ACTING = re.compile(
    r"@(?=\w)|:(?=//)|\bwww(?=\.)|\bGH-(?=\d)|(?<!&)#(?=\d)|:(?=[\w+\\-]+:)", re.IGNORECASE
)
_CSV_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def visible(text: str) -> str:
    """The text with acting characters spelled out: ␀, ⟨U+202E⟩. Newlines and tabs stay."""
    return _ACTING.sub(_spell, text.replace("\r\n", "\n")) if _ACTING.search(text) else text


def _spell(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return "\ufffd" if 0xD800 <= code <= 0xDFFF else f"⟨U+{code:04X}⟩"


def name(text: str) -> str:
    """A name of a candidate or a judge on one line, with all that cannot be seen in it spelled out.

    In a text a soft hyphen, a joiner or a narrow blank is at home; two names that differ in one look alike.
    """
    return one_line("".join(f"⟨U+{ord(sign):04X}⟩" if _is_unseen(sign) else sign for sign in text))


def _is_unseen(sign: str) -> bool:
    return sign != " " and (unicodedata.category(sign) in ("Cf", "Zs") or bool(_UNSEEN.match(sign)))


def one_line(text: str) -> str:
    """Visible text with every run of white space as one blank."""
    return " ".join(visible(text).split())


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning with a note of how much was left out."""
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit:,} more characters)"


def ellipsis(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis, at most `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def name_of(path: str) -> str:
    """An absolute path's last part; a Hub id or a relative path as it is.

    A report is sent to others, who have no use for the folders of this machine.
    """
    if path.startswith("/"):
        return PurePosixPath(path).name
    if re.match(r"[A-Za-z]:[\\/]", path):
        return PureWindowsPath(path).name
    return path


def opponent(against: str) -> str:
    """Whom a judge set a candidate against, in a word."""
    return "all others" if against == ALL else against


def dotted(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of settings and their values; a list is a value, and None is none."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from dotted(inner, f"{prefix}.{key}" if prefix else str(key))
    elif value is not None:
        yield prefix, value


def script_json(value: Any) -> str:
    """JSON that can stand inside a <script> element: no character of it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _SCRIPT_UNSAFE.sub(lambda match: _SCRIPT_ESCAPES[match.group()], text)


def markdown(text: str) -> str:
    """Text for one cell or one line of GitHub Markdown: pipes, markup and HTML are escaped.

    What GitHub finds in the text that is shown (mentions, issues, addresses, emoji) is cut by a blank without
    width, for no escape hides it there.
    """
    escaped = one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\1", escaped).replace("$", "&#36;")
    return _MARKDOWN_ACTING.sub(r"\g<0>&#8203;", escaped)


def csv_text(text: str) -> str:
    """Text for a CSV field; an apostrophe keeps spreadsheets from running it as a formula."""
    shown = visible(text)
    return "'" + shown if text.startswith(_CSV_FORMULA) else shown
