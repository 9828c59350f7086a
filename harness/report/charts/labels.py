"""Names beside the points of a chart, of which none covers another.

The page's script places them the same way when it draws the chart anew (scripts/charts.js).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.report import svg

LINE = 13
"""The height of a line of text; of it `ASCENT` lies above the baseline."""
ASCENT, GAP, RADIUS = 10, 10, 6
CROSSES, COVERS = 20, 60
"""How far off a name may stand rather than cross an interval, or cover a point."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A point of a chart, the ends of its upright interval, and the width of its name."""

    x: float
    y: float
    width: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Frame:
    """Where names may stand."""

    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name stands: its ends, its baseline, and whether a thin line leads to it."""

    start: float
    end: float
    line: float
    is_right: bool
    is_led: bool


def place(spots: Sequence[Spot], frame: Frame) -> list[Place | None]:
    """A place for each name, beside its point where there is room, else near; None where there is none.

    Points are served from top to bottom. No name covers another; over a point or across an interval one
    stands only where all that is free is farther off.
    """
    found: list[Place | None] = [None] * len(spots)
    taken: list[Place] = []
    for index in sorted(range(len(spots)), key=lambda i: (spots[i].y, spots[i].x, i)):
        wanted = _wanted(spots[index], frame)
        free = [one for one in wanted if not any(_overlap(one, other) for other in taken)]
        if free:
            chosen = min(free, key=lambda one: _badness(one, spots[index], spots))
            taken.append(chosen)
            found[index] = chosen
    return found


def _badness(one: Place, mine: Spot, spots: Sequence[Spot]) -> float:
    distance = abs(one.line - mine.y - 4)
    distance += COVERS * sum(_covers(one, spot, RADIUS, spot.y - RADIUS, spot.y + RADIUS) for spot in spots)
    return distance + CROSSES * sum(_covers(one, spot, 1, spot.top, spot.bottom) for spot in spots)


def _wanted(spot: Spot, frame: Frame) -> Iterator[Place]:
    """The places beside a point, then those on a grid of lines, the nearest first."""
    beside = spot.y + 4
    rows = int((frame.bottom - frame.top) // LINE)
    grid = [frame.top + ASCENT + LINE * row for row in range(rows)]
    for line in [beside, *sorted(grid, key=lambda at: abs(at - beside))]:
        is_led = abs(line - beside) > LINE / 2
        if spot.x + GAP + spot.width <= frame.right:
            yield Place(spot.x + GAP, spot.x + GAP + spot.width, line, True, is_led)
        if spot.x - GAP - spot.width >= frame.left:
            yield Place(spot.x - GAP - spot.width, spot.x - GAP, line, False, is_led)


def _overlap(one: Place, other: Place) -> bool:
    return abs(one.line - other.line) < LINE and one.start < other.end and other.start < one.end


def _covers(one: Place, spot: Spot, aside: float, top: float, bottom: float) -> bool:
    beside = one.start < spot.x + aside and spot.x - aside < one.end
    return beside and one.line - ASCENT < bottom and top < one.line - ASCENT + LINE


def drawn(name: str, spot: Spot, at: Place | None) -> str:
    """A name at its place, with the line that leads to it."""
    if at is None:
        return ""
    edge, anchor = (at.start, "start") if at.is_right else (at.end, "end")
    leader = ""
    if at.is_led:
        leader = svg.line(spot.x, spot.y, edge + (-3 if at.is_right else 3), at.line - 4, "leader")
    return leader + svg.text(name, edge, at.line, anchor, "label")


def stacked(wanted: Sequence[float], top: float, bottom: float) -> list[float]:
    """Heights near the `wanted` ones, a line of text apart, from `top` to `bottom` if there is room."""
    order = sorted(range(len(wanted)), key=lambda i: (wanted[i], i))
    step = min(LINE, (bottom - top) / max(len(wanted) - 1, 1))
    found = [0.0] * len(wanted)
    at = top - step
    for index in order:
        at = found[index] = max(wanted[index], at + step)
    at = bottom + step
    for index in reversed(order):
        at = found[index] = min(found[index], at - step)
    return found
