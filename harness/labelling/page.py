"""The labelling page: one file that works from a disk, makes no request and knows no candidate's name.

What models wrote is data, shown as text alone; a content security policy allows this script and this style
sheet by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.labelling.pairs import Pair
from harness.labels import FORMAT, VERSION, text_digest
from harness.report.text import script_json, visible
from harness.store import digest

_TEMPLATES = Path(__file__).parent / "templates"


def label_page(suite: str, pairs: Sequence[Pair], seed: int) -> str:
    """The whole page as HTML, the pairs in their order."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style, script = _asset("label.css"), _asset("label.js")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("label.html.jinja").render(
        suite=visible(suite),
        count=len(pairs),
        policy=policy,
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        data=Markup(script_json(_data(suite, pairs, seed))),  # noqa: S704 - escaped by script_json
    )


def _data(suite: str, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    """What the script shows and saves; `page` is where the browser keeps the progress."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "suite": suite,
        "page": digest([suite, seed, [pair.digest for pair in pairs]])[:32],
        "pairs": [_pair(pair, seed) for pair in pairs],
    }


def _pair(pair: Pair, seed: int) -> dict[str, Any]:
    left, right = pair.sides(seed)
    return {
        "pair": pair.digest,
        "prompt": pair.prompt_digest,
        "left": text_digest(left),
        "right": text_digest(right),
        "turns": [[turn.role, visible(turn.content)] for turn in pair.prompt],
        "answers": [visible(left), visible(right)],
    }


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
