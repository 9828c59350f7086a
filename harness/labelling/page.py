"""The labelling page: one file that works from a disk, makes no request and knows no candidate's name.

What models wrote is data, shown as text alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.labelling.pairs import Pair
from harness.labels import FORMAT, VERSION, text_digest
from harness.report import document
from harness.report.text import script_json, visible
from harness.store import digest

_TEMPLATES = Path(__file__).parent / "templates"


def label_page(suite: str, pairs: Sequence[Pair], seed: int) -> str:
    """The whole page as HTML, the pairs in their order."""
    from markupsafe import Markup

    template = document.environment(_TEMPLATES).get_template("label.html.jinja")
    return template.render(
        **document.assets(_TEMPLATES, ["label.css"], ["label.js"]),
        suite=suite,
        count=len(pairs),
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
