"""What candidates cost and how good they are: the points of quality against cost, and their front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.report import svg
from harness.report.board import Column, figure
from harness.report.charts.common import is_wide, named, tick_texts
from harness.report.text import one_line

Json = Mapping[str, Any]
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 18000, 36000, 86400)
"""Seconds between ticks that people count in."""
_MOST_TICKS = 8
NO_COST = "no cost is known"


@dataclass(frozen=True, slots=True)
class Point:
    """A candidate with the figure that ranks, how long it trained, and what servers charged for it."""

    index: int
    name: str
    value: float
    low: float | None
    high: float | None
    seconds: float | None
    hours: float | None
    charged: float | None

    def cost(self, price: float | None) -> float | None:
        """Train time in seconds or, by a price per hour of a device, US dollars; None where unknown.

        Money is what the training took of devices, and what servers charged for the answers.
        """
        if price is None:
            return self.seconds
        if self.hours is None:
            return self.charged
        return self.hours * price + (self.charged or 0.0)

    def why_without(self, price: float | None) -> str:
        """Why it has no cost; of money the page's script says the same."""
        if price is None and self.seconds is None and self.charged is not None:
            return "not trained; a price puts what its server charged on the chart"
        return "no train time" if price is None else NO_COST


def points(results: Json, column: Column) -> tuple[list[Point], list[str]]:
    """The candidates that can be set against each other, and the others, each with the reason."""
    found, omitted = [], []
    for index, candidate in enumerate(results["candidates"]):
        score, costs = figure(candidate, column), candidate.get("costs") or {}
        if index == 0 and candidate["rank"] is None:
            continue  # base costs nothing: it is a line, not a point
        if candidate["status"] == "failed":
            omitted.append(named(candidate, "failed"))
        elif reason := score.get("missing") or score.get("incomparable"):
            omitted.append(named(candidate, reason))
        else:
            ends = (score.get("low"), score.get("high"))
            spent = (costs.get("train_seconds"), costs.get("train_device_hours"))
            charged = (candidate.get("answers") or {}).get("cost_usd")
            point = Point(index, one_line(candidate["name"]), float(score["value"]), *ends, *spent, charged)
            found.append(point)
    return found, omitted


def first_price(results: Json) -> float | None:
    """The suite's price of an hour of a GPU; None where it names none, or the devices were no GPUs."""
    price = results["suite"].get("price_per_gpu_hour")
    return float(price) if price and any(name != "cpu" for name in devices(results)) else None


def devices(results: Json) -> list[str]:
    """The kinds of devices that trained, each once."""
    found = [c["costs"].get("device") for c in results["candidates"] if c["training"] and c.get("costs")]
    return list(dict.fromkeys(one_line(name) for name in found if name))


def pareto_front(
    points: Sequence[tuple[float, float]], direction: int, free: float | None = None
) -> list[tuple[float, float]]:
    """The (cost, value) points that no other beats in both, by rising cost, nor the value that is `free`."""
    front: list[tuple[float, float]] = []
    best = -math.inf if free is None else direction * free
    for cost, value in sorted(points, key=lambda p: (p[0], -direction * p[1])):
        if direction * value > best:
            front.append((cost, value))
            best = direction * value
    return front


def cost_scale(costs: Sequence[float], left: float, right: float) -> svg.Scale:
    """A scale for costs; logarithmic where they span more than 20 times."""
    if is_wide(costs):
        return svg.Scale(min(costs) / 1.4, max(costs) * 1.4, left, right, logarithmic=True)
    # From 0, unless that would leave most of the plot empty.
    low, high = min(costs), max(costs) * 1.12 or 1.0
    return svg.Scale(0 if low < high / 2 else low - (high - low) / 4, high, left, right)


def time_ticks(scale: svg.Scale) -> list[tuple[float, str]]:
    """Ticks at durations that people count in."""
    if scale.logarithmic:
        wanted = [t for t in (0.1, 1, 10, 60, 600, 3600, 36000, 360000) if scale.holds(t)]
        ticks = wanted if len(wanted) > 1 else scale.ticks()
    else:
        step = next((s for s in _STEPS if (scale.high - scale.low) / s <= 6), _STEPS[-1])
        ticks = [i * step for i in range(math.ceil(scale.low / step), int(scale.high / step) + 1)]
    texts = tick_texts(ticks, lambda seconds: fmt.seconds(seconds) if seconds else "0", "s")
    return list(zip(ticks, texts, strict=True))


def money_ticks(scale: svg.Scale) -> list[tuple[float, str]]:
    """Ticks at round sums, with the decimals that their steps need."""
    ticks = scale.ticks()
    if scale.logarithmic:
        while len(ticks) > _MOST_TICKS:
            ticks = ticks[::2]
        return [(t, _dollars(t, max(0, -math.floor(math.log10(t) + 1e-9)))) for t in ticks]
    step = ticks[1] - ticks[0] if len(ticks) > 1 else scale.high
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    # Half a dollar is 50 cents.
    return [(t, _dollars(t, 2 if places == 1 else places)) for t in ticks]


def dollars(value: float) -> str:
    """US dollars with two decimals or, of small sums that are no whole cents, three significant digits."""
    if value >= 1 or value == round(value, 2):
        return _dollars(value, 2)
    return _dollars(value, min(max(2, 2 - math.floor(math.log10(value))), 12))


def _dollars(value: float, places: int) -> str:
    return "$" + fmt.fixed(value, min(places, 12) if value else 0)
