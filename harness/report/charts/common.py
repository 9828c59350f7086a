"""What the charts share: the record of one, the table behind it, the colours of the candidates, the axes."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import format as fmt
from harness.report import svg
from harness.report.text import one_line
from harness.validity import is_finite

if TYPE_CHECKING:
    from markupsafe import Markup

COLOURS = 8
"""How many colours the style sheet has; later candidates take them again with dashes, then with dots."""
LINES = ("", " dashed", " dotted")
SIGNS = {"better": "▲", "worse": "▼"}
LEVEL = "≈"
"""How a verdict reads in print, and to those who do not tell colours apart."""
BOTTOM, RIGHT = 42, 14
"""Room below the plot for the ticks and the axis title, and to its right."""
_GLYPH, _WIDE_GLYPH = 6.8, 12.5
_WIDE = 20
"""From the largest of so many times the smallest on, an axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Datum:
    """A cell of the table behind a chart: as text, and exactly as in results.json where it is a number.

    `kind` is its class, `note` what is said beside it in small print, `part` names what the page's script
    writes anew.
    """

    text: str
    value: float | None = None
    kind: str = ""
    note: str = ""
    part: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The table behind a chart; the first column names the rows."""

    caption: str
    heads: tuple[Datum, ...]
    rows: tuple[tuple[Datum, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers."""
        return tuple(
            any(datum.value is not None for datum in column) for column in zip(*self.rows, strict=True)
        )


def figures(caption: str, heads: Sequence[str | Datum], rows: Iterable[Sequence[Datum]]) -> Figures:
    """A table of `rows` under `heads`."""
    titles = tuple(head if isinstance(head, Datum) else Datum(head) for head in heads)
    return Figures(caption, titles, tuple(map(tuple, rows)))


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing (`svg`, already escaped markup), its heading, what it shows, and what it leaves out."""

    title: str
    caption: str
    svg: str
    figures: Figures | None = None
    omitted: tuple[str, ...] = ()
    index: int | None = None
    """The candidate that it is of, by its place in results.json; None where it is of several."""

    @property
    def drawing(self) -> Markup:
        """The drawing, to be printed as it is."""
        from markupsafe import Markup

        return Markup(self.svg)  # noqa: S704 - charts escape their texts


@dataclass(frozen=True, slots=True)
class Panels:
    """Small charts of one figure, a candidate each, on one scale; the table is that of all.

    `metric` is the name of what they are of, by which its examples are found.
    """

    title: str
    caption: str
    panels: tuple[Chart, ...]
    figures: Figures
    metric: str
    omitted: tuple[str, ...] = ()


def colour(index: int) -> str:
    """The classes that colour a candidate by its place in results.json; the first, base, is grey."""
    if index == 0:
        return "c0"
    return f"c{(index - 1) % COLOURS + 1}{LINES[(index - 1) // COLOURS % len(LINES)]}"


def datum(value: float | None, show: Callable[[float], str]) -> Datum:
    """A number of results.json in a table; a dash where there is none."""
    return Datum(show(value), value) if is_finite(value) else Datum(fmt.NONE, kind="missing")


def named(candidate: Mapping[str, Any], reason: str) -> str:
    """A candidate that is not drawn, and why."""
    return f"{one_line(candidate['name'])} ({one_line(reason)})"


def grouped(without: Iterable[tuple[Mapping[str, Any], str]]) -> tuple[str, ...]:
    """Candidates that are not drawn; those with one reason together."""
    names: dict[str, list[str]] = {}
    for candidate, reason in without:
        names.setdefault(one_line(reason), []).append(one_line(candidate["name"]))
    return tuple(f"{fmt.listed(whose)} ({reason})" for reason, whose in names.items())


def text_width(text: str) -> float:
    """About how wide a line of text of 12 pixels is; Chinese, Japanese and Korean take more room."""
    return sum(_WIDE_GLYPH if unicodedata.east_asian_width(c) in "WF" else _GLYPH for c in text)


def fitting(text: str, room: float) -> str:
    """The text, at most about `room` wide: its middle is left out, since names differ at either end."""
    # No sign is narrower than a glyph: what has too many of them need not be measured, however long it is.
    if len(text) * _GLYPH <= room and text_width(text) <= room:
        return text
    kept = min(len(text) - 1, int(room / _GLYPH) + 1)
    while kept > 1 and text_width(_without_middle(text, kept)) > room:
        kept -= 1
    return _without_middle(text, kept)


def _without_middle(text: str, kept: int) -> str:
    end = kept // 2
    return text[: kept - end].rstrip() + "…" + text[len(text) - end :].lstrip()


def with_base(tuned: list[float], base: list[float]) -> list[float]:
    """The values to scale by: base's too, unless the others would then share under a third of the room."""
    both = tuned + base
    return both if (max(both) - min(both)) <= 3 * (max(tuned) - min(tuned)) else tuned


def is_wide(values: Sequence[float]) -> bool:
    """Whether values span so many times that only a logarithmic axis shows them all."""
    return min(values) > 0 and max(values) > _WIDE * min(values)


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


def x_axis(scale: svg.Scale, ticks: Sequence[tuple[float, str]], height: int) -> str:
    """Tick marks below the plot with their texts."""
    foot = height - BOTTOM
    return "".join(
        svg.line(scale(t), foot, scale(t), foot + 4, "axis")
        + svg.text(told, scale(t), foot + 17, "middle", "tick")
        for t, told in ticks
    )


def x_title(words: str, width: int, height: int) -> str:
    """What the horizontal axis shows."""
    return svg.text(words, width - RIGHT, height - 6, "end", "axis-title")
