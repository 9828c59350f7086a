"""All charts of a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.board import Board
from harness.report.charts.common import Chart, Panels
from harness.report.charts.distribution import distribution_panels
from harness.report.charts.forest import forest_charts
from harness.report.charts.lengths import lengths_chart
from harness.report.charts.loss import loss_charts
from harness.report.charts.matrix import matrix_chart
from harness.report.charts.tradeoff import Tradeoff, tradeoff_chart

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Charts:
    """What has nothing to show is None, or empty."""

    tradeoff: Tradeoff | None
    matrix: Chart | None
    forest: list[Chart]
    distributions: list[Panels]
    lengths: Chart | None
    loss: list[Chart]


def all_charts(results: Json, board: Board) -> Charts:
    """The charts of a results.json."""
    return Charts(
        tradeoff_chart(results),
        matrix_chart(results),
        forest_charts(results, board),
        distribution_panels(results),
        lengths_chart(results),
        loss_charts(results),
    )
