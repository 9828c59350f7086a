"""The comparison as one HTML page that makes no request and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.report import document
from harness.report.comparison import views

Json = Mapping[str, Any]
_TEMPLATES = Path(__file__).parent.parent / "templates"
_STYLES = [f"styles/{room}.css" for room in ("base", "tables", "comparison")]
_LISTED = 20
_MANY = 400
_TEXT_LIMITS = {False: 2000, True: 400}
"""Characters of a text, by whether more than _MANY examples are listed."""


def as_html(found: Json) -> str:
    """The whole page as HTML."""
    listed = sum(
        min(row["examples"][key], _LISTED)
        for figure in found["figures"]
        for row in figure["rows"]
        if row.get("examples")
        for key in ("won", "lost")
    )
    template = document.environment(_TEMPLATES).get_template("comparison.html.jinja")
    return (
        template.render(
            **document.assets(_TEMPLATES, _STYLES, []),
            found=found,
            title=views.title(found),
            facts=views.facts(found),
            sources=views.sources(found),
            figures=views.figures(found),
            unchanged=views.unchanged(found),
            configuration=views.configuration(found),
            changes=views.by_candidate(
                list(views.changes(found, most=_LISTED, limit=_TEXT_LIMITS[listed > _MANY]))
            ),
        )
        + "\n"
    )
