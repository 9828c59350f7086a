"""The one place where numbers become text.

Values arrive in their metric's own unit. A metric with the unit `%` holds fractions, which are shown
times 100 with one decimal; every other metric is shown with three significant digits, or more where
its interval is so narrow that three would hide it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence

MISSING = "n/a"
NONE = "–"
"""In a table, where there is nothing to tell."""
_MAX_DECIMALS = 6
_SKEWED = 1.5
"""An interval of which one side is this much longer than the other is not told by its width."""


def decimals(value: float, significant: int = 3) -> int:
    """Digits after the point that give `value` that many significant digits; never negative."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(max(significant - 1 - math.floor(math.log10(abs(value))), 0), _MAX_DECIMALS)


def fixed(value: float, places: int) -> str:
    """A number with thousands separators, a fixed number of decimals and a true minus sign."""
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.{places}f}"
    if text.startswith("-"):
        # A value that rounds to nothing has no sign.
        text = text[1:] if float(text.replace(",", "")) == 0 else "−" + text[1:]
    return text


def number(value: float | None, significant: int = 3) -> str:
    """A plain number with that many significant digits; integers are never rounded below the point."""
    return MISSING if value is None else fixed(value, decimals(value, significant))


def count(value: float | None) -> str:
    """A count of things: 12,345."""
    return MISSING if value is None else fixed(value, 0)


def counted(number: int, what: str) -> str:
    """How many there are of what a regular noun names: 1 verdict, 2,000 verdicts."""
    return f"{count(number)} {what}" + ("" if number == 1 else "s")


def known(show: Callable[[float], str], value: float | None) -> str:
    """A figure as `show` has it, or a dash where there is none."""
    return NONE if value is None else show(value)


def two(value: float) -> str:
    """A coefficient, with two decimals."""
    return fixed(value, 2)


def points(low: float | None, high: float | None) -> str:
    """The interval of a rating, `974 – 1,020`; None is where it has no end."""
    ends = -math.inf if low is None else low, math.inf if high is None else high
    return " – ".join(fixed(end, 0) for end in ends)


def about(value: float | None) -> str:
    """A count that is an estimate, to two significant digits: 6,438 is 6,400."""
    return MISSING if value is None else fixed(float(f"{value:.2g}"), 0)


def share(value: float | None) -> str:
    """A fraction as a percentage with one decimal: 0.541 is 54.1%."""
    return MISSING if value is None else fixed(value * 100, 1) + ("%" if math.isfinite(value) else "")


def score(value: float | None, unit: str, low: float | None = None, high: float | None = None) -> str:
    """A metric's value; its interval, if given, decides how many digits are worth printing."""
    if value is None:
        return MISSING
    return share(value) if unit == "%" else fixed(value, _places(value, low, high))


def interval(value: float, low: float | None, high: float | None, unit: str) -> str:
    """`11.9 – 12.8`, with the decimals of the value it belongs to; empty where there is none."""
    if low is None or high is None:
        return ""
    if unit == "%":
        return f"{fixed(low * 100, 1)} – {fixed(high * 100, 1)}%"
    places = _places(value, low, high)
    return f"{fixed(low, places)} – {fixed(high, places)}"


def with_interval(figure: Mapping[str, float | None], unit: str) -> str:
    """`54.1% [46.3 – 61.9%]` of {value, low, high}."""
    value, low, high = (figure[key] for key in ("value", "low", "high"))
    if value is None:
        return MISSING
    span = interval(value, low, high, unit)
    return score(value, unit, low, high) + (f" [{span}]" if span else "")


def kappa(value: float | None, low: float | None, high: float | None) -> str:
    """`0.43 [0.35 – 0.50]`: an agreement beyond chance, or another figure between -1 and 1."""
    if value is None:
        return MISSING
    span = "" if low is None or high is None else f" [{fixed(low, 2)} – {fixed(high, 2)}]"
    return fixed(value, 2) + span


def margin(value: float, low: float | None, high: float | None, unit: str) -> str:
    """`±0.4`, half the interval's width, for places with little room; `[38.9 – 128]` where it is skewed."""
    if low is None or high is None:
        return ""
    shorter, longer = sorted((value - low, high - value))
    if longer > _SKEWED * shorter:
        return f"[{interval(value, low, high, unit)}]"
    half = (high - low) / 2
    return "±" + (fixed(half * 100, 1) if unit == "%" else fixed(half, _places(value, low, high)))


def difference(value: float | None, unit: str, low: float | None = None, high: float | None = None) -> str:
    """A signed difference, with the decimals of its interval; that of two percentages is in points (pt)."""
    if value is None:
        return MISSING
    if unit == "%":
        return _signed(fixed(value * 100, 1)) + " pt"
    return _signed(fixed(value, _difference_places(value, low, high)))


def difference_interval(value: float, low: float | None, high: float | None, unit: str) -> str:
    """`+0.4 to +1.2`, with the decimals of the difference it belongs to; empty where there is none."""
    if low is None or high is None:
        return ""
    scale, suffix = (100.0, " pt") if unit == "%" else (1.0, "")
    places = 1 if unit == "%" else _difference_places(value, low, high)
    return f"{_signed(fixed(low * scale, places))} to {_signed(fixed(high * scale, places))}{suffix}"


def p_value(value: float | None) -> str:
    """`p = 0.032`, or `p < 0.001`."""
    if value is None or math.isnan(value):
        return ""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def p_figure(value: float | None) -> str:
    """A p-value for a column that says so: `0.032`, or `< 0.001`."""
    return p_value(value).removeprefix("p ").removeprefix("= ")


def seconds(value: float | None) -> str:
    """A duration: 0.8s, 42s, 1m 23s, 2h 05m."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value < 9.95:
        return f"{value:.1f}s"
    whole = round(value)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(value / 60)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def size(value: float | None) -> str:
    """Bytes in decimal units: 430 kB, 12.3 MB, 1.20 GB."""
    return _scaled(value, (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)), "B")


def energy(value: float | None) -> str:
    """Joules in decimal units: 430 J, 12.3 kJ, 1.20 MJ."""
    return _scaled(value, (("GJ", 1e9), ("MJ", 1e6), ("kJ", 1e3)), "J")


def parameters(value: float | None) -> str:
    """A number of parameters: 12.3k, 1.05M, 6.74B."""
    return _scaled(value, (("B", 1e9), ("M", 1e6), ("k", 1e3)), "", gap="")


def dollars(value: float | None) -> str:
    """US dollars; cents below a hundred."""
    if value is None:
        return MISSING
    return "$0" if value == 0 else f"${value:,.4f}" if value < 0.1 else f"${value:,.2f}"


def ranks(rank: tuple[int, int] | list[int] | None) -> str:
    """The ranks that cannot be excluded: `1`, or `1–3`."""
    if rank is None:
        return ""
    low, high = rank
    return str(low) if low == high else f"{low}–{high}"


def _places(value: float, low: float | None, high: float | None) -> int:
    """Decimals shared by a value and its interval: three significant digits of the value, and at least
    one of the interval's half width."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return decimals(value)
    return max(decimals(value or max(abs(low), abs(high))), decimals((high - low) / 2, 1))


def settings(values: Mapping[str, object]) -> str:
    """Dotted keys and what they are set to: `learning_rate=0.0001, r=8`; whole keys where words recur."""
    last = [key.rpartition(".")[2] for key in values]
    names = last if len(set(last)) == len(last) else list(values)
    texts = (value if isinstance(value, str) else json.dumps(value) for value in values.values())
    return ", ".join(f"{name}={text}" for name, text in zip(names, texts, strict=True))


def _difference_places(value: float, low: float | None, high: float | None) -> int:
    """Decimals shared by a difference and its interval: three significant digits of the largest of them,
    since a difference near zero would ask for more than its interval can bear."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return decimals(value)
    return max(decimals(max(map(abs, (value, low, high)))), decimals((high - low) / 2, 1))


def _signed(text: str) -> str:
    return text if text.startswith("−") or text.strip("0.,") == "" or text == MISSING else "+" + text


def _scaled(value: float | None, units: tuple[tuple[str, float], ...], base: str, gap: str = " ") -> str:
    if value is None or not math.isfinite(value):
        return MISSING
    for name, factor in units:
        if value >= factor:
            return f"{fixed(value / factor, decimals(value / factor))}{gap}{name}"
    return f"{value:,.0f}{gap + base if base else ''}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
