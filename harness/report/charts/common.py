"""What the charts share: the record of one, the colours of the candidates, the axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.report import svg

COLOURS = 8
"""How many colours the style sheet has; later candidates take them again with a dashed line."""
BOTTOM, RIGHT = 42, 14
"""Room below the plot for the ticks and the axis title, and to its right."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing (`svg`, already escaped markup), its heading, what it shows, and what it leaves out."""

    title: str
    caption: str
    svg: str
    omitted: tuple[str, ...] = ()


def colour(index: int) -> str:
    """The classes that colour a candidate by its place in results.json; the first, base, is grey."""
    if index == 0:
        return "c0"
    dashed = " dashed" if (index - 1) // COLOURS % 2 else ""
    return f"c{(index - 1) % COLOURS + 1}{dashed}"


def with_base(tuned: list[float], base: list[float]) -> list[float]:
    """The values to scale by: base's too, unless the others would then share under a third of the room."""
    both = tuned + base
    return both if (max(both) - min(both)) <= 3 * (max(tuned) - min(tuned)) else tuned


def y_axis(scale: svg.Scale, left: float, right: float, show: Callable[[float], str]) -> str:
    """Grid lines from `left` to `right` with their values to the left."""
    return "".join(
        svg.line(left, scale(t), right, scale(t), "grid")
        + svg.text(show(t), left - 8, scale(t) + 4, "end", "tick")
        for t in scale.ticks()
    )


def x_axis(scale: svg.Scale, ticks: Sequence[float], height: int, show: Callable[[float], str]) -> str:
    """Tick marks below the plot with their values."""
    bottom = height - BOTTOM
    return "".join(
        svg.line(scale(t), bottom, scale(t), bottom + 4, "axis")
        + svg.text(show(t), scale(t), bottom + 17, "middle", "tick")
        for t in ticks
    )


def x_title(words: str, width: int, height: int) -> str:
    """What the horizontal axis shows."""
    return svg.text(words, width - RIGHT, height - 6, "end", "axis-title")
