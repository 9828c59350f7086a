"""The page of a report: results and examples as one file that makes no request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import format as fmt
from harness.report import charts, document
from harness.report.board import Board, has_price, row_warnings
from harness.report.explorer import Examples
from harness.report.explorer.links import examples_link
from harness.report.views import (
    agreement,
    costs,
    glance,
    judges,
    methods,
    provenance,
    scores,
    search,
    training,
)
from harness.report.whiskers import whiskers

Json = Mapping[str, Any]
_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = [f"styles/{room}.css" for room in ("base", "tables", "board", "charts", "examples", "sections")]
_SCRIPTS = [
    f"scripts/{part}.js"
    for part in ("view", "board", "charts", "diff", "corpus", "example", "examples", "copy")
]


def page(results: Json, board: Board, examples: Examples) -> str:
    """The whole page as HTML."""
    from markupsafe import Markup

    return document.page(
        _TEMPLATES,
        "page.html.jinja",
        _STYLES,
        _SCRIPTS,
        colour=charts.colour,
        fmt=fmt,
        row_warnings=row_warnings,
        examples_link=examples_link,
        data=Markup(examples.json),  # noqa: S704 - escaped by script_json
        texts=Markup(examples.texts),  # noqa: S704 - escaped by script_json
        results=results,
        board=board,
        examples=examples,
        whiskers=whiskers(board),
        glance=glance.at_a_glance(results),
        charts=charts.all_charts(results, board),
        judges_overview=judges.overview(results),
        judge_tables=judges.judge_tables(results),
        agreement=agreement.agreement_table(results),
        training=training.training_rows(results),
        samples=training.sampled_answers(results),
        costs=costs.cost_rows(results),
        charged=costs.charged(results),
        has_price=has_price(results),
        searches=search.searches(results),
        scores=scores.full_scores(results),
        neighbours=scores.neighbours(results),
        sources=provenance.data_sources(results["data"]),
        data_facts=provenance.data_facts(results["data"]),
        overlaps=provenance.overlap_pairs(results["data"]),
        recipes=provenance.recipes(results),
        environment=provenance.environment_facts(results["environment"]),
        packages=provenance.packages(results["environment"]),
        seeds=provenance.seeds(results),
        prompts=provenance.prompts(results),
        methods=methods.methods(results),
    )
