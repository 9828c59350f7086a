"""A few lines of SVG: elements with escaped text, scales, ticks. Numbers are short and so repeatable."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

Value = str | float
_SMALLEST, _LARGEST, _FINEST = 1e-300, 1e300, 1e-14
"""Beyond the first two, and nearer to each other by ratio than the third, numbers have no steps to count."""


def tag(name: str, content: str = "", /, **attributes: Value | None) -> str:
    """An element; `content` is markup, attribute values are escaped. `class_` is class, `_` is a hyphen.

    No style attribute: the page's policy would refuse it.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_written(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text(content: str, x: float, y: float, anchor: str = "start", class_: str | None = None) -> str:
    """A line of text; its content is escaped."""
    return tag("text", html.escape(content), x=x, y=y, text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> str:
    """A straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str, **attributes: Value | None) -> str:
    """A line through points; there may be none."""
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return tag("path", d=steps and f"M{steps}", class_=class_, **attributes)


def interval(
    scale: Scale, value: float, ends: tuple[float, float] | None, origin: float | None, size: tuple[int, int]
) -> str:
    """A value as a dot, its interval as a line, the origin as an upright one, on a track.

    An end off the scale is drawn at its edge; a value off it is an arrow, with no interval.
    """
    width, height = size
    middle = height / 2
    content = line(0, middle, width, middle, "track")
    if origin is not None and origin != value and scale.holds(origin):
        content += line(scale(origin), 1, scale(origin), height - 1, "origin")
    if not scale.holds(value):
        tip, tail = (2, 7) if value < scale.low else (width - 2, width - 7)
        arrow = f"M{tail} {middle - 4:g}L{tip} {middle:g}L{tail} {middle + 4:g}"
        return content + tag("path", d=arrow, class_="away")
    if ends is not None:
        low, high = (scale(min(max(end, scale.low), scale.high)) for end in ends)
        content += line(low, middle, high, middle, "whisker")
    return content + tag("circle", cx=scale(value), cy=middle, r=3)


def picture(
    identity: str,
    title: str,
    description: str,
    size: tuple[int, int],
    content: str,
    **attributes: Value | None,
) -> str:
    """A whole drawing with a title and a description for those who do not see it."""
    width, height = size
    head = tag("title", html.escape(title), id=f"{identity}-title")
    head += tag("desc", html.escape(description), id=f"{identity}-description")
    return tag(
        "svg",
        head + content,
        viewBox=f"0 0 {width} {height}",
        role="img",
        aria_labelledby=f"{identity}-title {identity}-description",
        class_="chart",
        id=identity,
        **attributes,
    )


def coordinate(value: float) -> str:
    """A coordinate with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _written(value: Value) -> str:
    return coordinate(value) if isinstance(value, int | float) else html.escape(value)


@dataclass(frozen=True, slots=True)
class Scale:
    """Values from `low` to `high` onto coordinates from `start` to `end`; logarithmic on request."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(max(value, 1e-12))
        part = (at - low) / (high - low) if high > low else 0.5
        return self.start + part * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the scale."""
        return self.low <= value <= self.high

    def ticks(self, wanted: int = 5) -> list[float]:
        """Round values on the scale: multiples of 1, 2 or 5 times a power of ten."""
        return _log_ticks(self.low, self.high) if self.logarithmic else _ticks(self.low, self.high, wanted)


def spread(values: Sequence[float], margin: float = 0.05) -> tuple[float, float]:
    """The range of values with a margin on both sides; never empty, so that a scale can be made of it."""
    low, high = min(values), max(values)
    pad = (high - low) * margin or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / max(wanted, 1)
    if not _SMALLEST < rough < _LARGEST or high - low < _FINEST * max(abs(low), abs(high)):
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    if not _SMALLEST < low <= high < _LARGEST:
        return [low, high]
    found = []
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        found += [f * 10.0**exponent for f in (1, 3) if low <= f * 10.0**exponent <= high]
    return found or [low, high]
