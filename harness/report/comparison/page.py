"""The comparison as one HTML page that makes no request and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.comparing.changes import LISTED
from harness.comparing.rows import compared_rows
from harness.report import document
from harness.report.comparison import views

Json = Mapping[str, Any]
_TEMPLATES = Path(__file__).parent.parent / "templates"
_STYLES = [f"styles/{room}.css" for room in ("base", "tables", "comparison")]
_MANY = 400
_TEXT_LIMITS = {False: 2000, True: 400}
"""Characters of a text, by whether more than _MANY examples are listed."""


def as_html(found: Json) -> str:
    """The whole page as HTML."""
    listed = sum(
        len(row["examples"][key])
        for _, row in compared_rows(found["figures"])
        for key in ("first_won", "first_lost")
    )
    changes = list(views.changes(found, most=LISTED, limit=_TEXT_LIMITS[listed > _MANY]))
    return document.page(
        _TEMPLATES,
        "comparison.html.jinja",
        _STYLES,
        [],
        found=found,
        title=views.title(found),
        facts=views.facts(found),
        sources=views.sources(found),
        figures=views.figures(found),
        unchanged=views.unchanged(found),
        configuration=views.configuration(found),
        changes=views.by_candidate(changes),
    )
