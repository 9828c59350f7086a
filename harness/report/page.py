"""The page: templates, one style sheet and one script in a single file that makes no request.

A content security policy allows this script and this style sheet by their hashes and nothing else, so
that even an escaping fault could not run what a model wrote.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import format as fmt
from harness.report import charts
from harness.report.board import EVEN, Board, has_price
from harness.report.examples import Examples
from harness.report.text import visible
from harness.report.views import agreement, costs, judges, provenance, scores, search, training

if TYPE_CHECKING:
    from jinja2 import Environment

Json = Mapping[str, Any]
_HERE = Path(__file__).parent


def page(results: Json, board: Board, examples: Examples) -> str:
    """The whole page as HTML."""
    from markupsafe import Markup

    style, script = _asset("style.css"), _asset("page.js")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src {_hash(style)}; script-src {_hash(script)}"
    )
    template = _environment().get_template("page.html.jinja")
    return (
        template.render(
            policy=policy,
            style=Markup(style),  # noqa: S704 - our own file
            script=Markup(script),  # noqa: S704 - our own file
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


def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Whatever is printed is made visible first, so that no template can forget it; markup is left alone.
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.globals |= {"colour": charts.colour, "fmt": fmt}
    return environment


def _asset(name: str) -> str:
    return (_HERE / "templates" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


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
