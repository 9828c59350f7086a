"""The page's charts: each an SVG drawing with a title, a description, a caption and the table behind it."""

from harness.report.charts.common import Chart, Panels, colour
from harness.report.charts.drawn import Charts, all_charts

__all__ = ["Chart", "Charts", "Panels", "all_charts", "colour"]
