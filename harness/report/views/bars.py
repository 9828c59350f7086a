"""Small drawings beside a figure: a share, what a whole is made of, an interval. The figure itself is text.

They are hidden from those who do not see them, since each number they show stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.report import svg
from harness.stats.rates import EVEN

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT = 160, 12


def share(value: float | None) -> Markup:
    """A bar as long as the share, on a track of the whole; empty where it is not known."""
    return parts([] if value is None else [(value, "filled")])


def parts(shares: Sequence[tuple[float, str]]) -> Markup:
    """Shares of a whole one after the other, each with its class; empty where there are none."""
    if not shares:
        return _markup("")
    drawn = svg.tag("rect", x=0, y=2, width=_WIDTH, height=8, class_="whole")
    start = 0.0
    for value, class_ in shares:
        if value > 0:
            drawn += svg.tag("rect", x=start, y=2, width=value * _WIDTH, height=8, class_=class_)
        start += value * _WIDTH
    return _picture(drawn)


def interval(value: float | None, low: float | None, high: float | None) -> Markup:
    """A share with its interval on a scale from none to all, one half as an upright line."""
    if value is None:
        return _markup("")
    scale = svg.Scale(0.0, 1.0, 3, _WIDTH - 3)
    ends = None if low is None or high is None else (low, high)
    return _picture(svg.interval(scale, value, ends, EVEN, (_WIDTH, _HEIGHT)))


def _picture(drawn: str) -> Markup:
    return _markup(svg.tag("svg", drawn, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", class_="bar", aria_hidden="true"))


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - numbers and our own class names only
