"""What the charts share: the record of one, the colours of the candidates, the axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import format as fmt
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


def tick_texts(ticks: Sequence[float], show: Callable[[float], str], unit: str = "") -> list[str]:
    """The ticks as `show` writes them; where two would read alike, all with as many decimals as tell them
    apart, and the unit (`%` is of fractions)."""
    texts = [show(tick) for tick in ticks]
    factor = 100 if unit == "%" else 1
    for places in range(1, 7):
        if len(set(texts)) == len(ticks):
            break
        texts = [fmt.fixed(tick * factor, places) + unit for tick in ticks]
    return texts


def y_axis(scale: svg.Scale, left: float, right: float, show: Callable[[float], str], unit: str = "") -> str:
    """Grid lines from `left` to `right` with their values to the left."""
    ticks = scale.ticks()
    return "".join(
        svg.line(left, scale(t), right, scale(t), "grid")
        + svg.text(told, left - 8, scale(t) + 4, "end", "tick")
        for t, told in zip(ticks, tick_texts(ticks, show, unit), strict=True)
    )


def x_axis(
    scale: svg.Scale, ticks: Sequence[float], height: int, show: Callable[[float], str], unit: str = ""
) -> str:
    """Tick marks below the plot with their values."""
    bottom = height - BOTTOM
    return "".join(
        svg.line(scale(t), bottom, scale(t), bottom + 4, "axis")
        + svg.text(told, scale(t), bottom + 17, "middle", "tick")
        for t, told in zip(ticks, tick_texts(ticks, show, unit), strict=True)
    )


def x_title(words: str, width: int, height: int) -> str:
    """What the horizontal axis shows."""
    return svg.text(words, width - RIGHT, height - 6, "end", "axis-title")
