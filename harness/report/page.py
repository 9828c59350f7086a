"""The page of a report: results and examples as one file that makes no request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import format as fmt
from harness.report import charts, document
from harness.report.board import Board, has_price, row_warnings
from harness.report.examples import Examples
from harness.report.views import agreement, costs, judges, provenance, scores, search, training
from harness.stats.rates import EVEN

Json = Mapping[str, Any]
_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = [f"styles/{room}.css" for room in ("base", "tables", "board", "charts", "examples", "sections")]
_SCRIPTS = [f"scripts/{part}.js" for part in ("view", "board", "examples")]


def page(results: Json, board: Board, examples: Examples) -> str:
    """The whole page as HTML."""
    from markupsafe import Markup

    environment = document.environment(_TEMPLATES)
    environment.globals |= {"colour": charts.colour, "fmt": fmt, "row_warnings": row_warnings}
    return (
        environment.get_template("page.html.jinja").render(
            **document.assets(_TEMPLATES, _STYLES, _SCRIPTS),
            data=Markup(examples.json),  # noqa: S704 - escaped by script_json
            results=results,
            board=board,
            examples=examples,
            whiskers=_whiskers(board),
            charts=_charts(results, board),
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
            versus=scores.head_to_head(results),
            neighbours=scores.neighbours(results),
            sources=provenance.data_sources(results["data"]),
            data_facts=provenance.data_facts(results["data"]),
            overlaps=provenance.overlap_pairs(results["data"]),
            recipes=provenance.recipes(results),
            environment=provenance.environment_facts(results["environment"]),
        )
        + "\n"
    )


def _whiskers(board: Board) -> list[list[Any]]:
    """Row by row, the small interval of each cell as markup."""
    from markupsafe import Markup

    base = next((row for row in board.rows if row.kind == "base"), None)
    drawn = []
    for index, column in enumerate(board.columns):
        origin = EVEN if column.kind == "win rate" else base.cells[index].value if base else None
        cells = [row.cells[index] for row in board.rows]
        scale = charts.column_scale(origin, cells)
        drawn.append([Markup(charts.whisker(scale, origin, cell)) for cell in cells])  # noqa: S704 - numbers only
    return [list(row) for row in zip(*drawn, strict=True)]


def _charts(results: Json, board: Board) -> dict[str, list[Any]]:
    from markupsafe import Markup

    tradeoff = charts.tradeoff_chart(results)
    groups = {
        "loss": charts.loss_charts(results),
        "tradeoff": [tradeoff] if tradeoff else [],
        "forest": charts.forest_charts(results, board),
    }
    return {
        key: [(chart, Markup(chart.svg)) for chart in group]  # noqa: S704 - charts escape their texts
        for key, group in groups.items()
    }
