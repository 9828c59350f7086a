"""The page's charts: each an SVG drawing with a title, a description and a caption in plain words."""

from harness.report.charts.common import Chart, colour
from harness.report.charts.forest import forest_charts
from harness.report.charts.loss import loss_charts
from harness.report.charts.tradeoff import tradeoff_chart
from harness.report.charts.whisker import column_scale, whisker

__all__ = ["Chart", "colour", "column_scale", "forest_charts", "loss_charts", "tradeoff_chart", "whisker"]
