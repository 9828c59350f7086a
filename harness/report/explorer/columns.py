"""What the page holds of every example, as columns: ids, scores, what became of each answer, verdicts.

A verdict is one character, seen from the first of its two players: w a win, l a loss, t a tie, u unparsed,
- none. Of a judge to which the order means nothing only that of the order it was asked in is there. An answer
is o ok, e empty, c cut off at the limit, f failed, - not there.
"""

from __future__ import annotations

import math
import string
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import ALL
from harness.report.board import Column, figure, metric_columns
from harness.report.text import name as shown_name
from harness.report.text import script_json, visible
from harness.validity import is_finite

Json = Mapping[str, Any]
ABSENT = -1
"""The place of an opponent that is no candidate: the reference."""
_OUTCOMES: dict[tuple[str, bool], str] = {
    ("first", True): "w",
    ("second", False): "w",
    ("first", False): "l",
    ("second", True): "l",
    **{(choice, first): choice[0] for choice in ("tie", "unparsed") for first in (True, False)},
}
"""What (choice, candidate shown first) means for the candidate."""
_LETTERS = string.digits + string.ascii_letters
_RAW_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Told:
    """What judges said of one example: did any flip; [judge, pair, reason, reason] of those who told why."""

    flipped: bool
    reasons: list[list[Any]]


class Columns:
    """Grows by one example at a time."""

    def __init__(self, results: Json) -> None:
        self._candidates = results["candidates"]
        self._places = {c["name"]: place for place, c in enumerate(self._candidates)}
        self._metrics = metric_columns(results)
        self._judges = results["judges"]
        self._incomparable = {
            m.key: [i for i, c in enumerate(self._candidates) if figure(c, m).get("incomparable")]
            for m in self._metrics
        }
        """Metric -> places of candidates whose values are on another scale than the others'."""
        self._ids: list[str] = []
        self._states: list[list[str]] = [[] for _ in self._candidates]
        self._alike: list[list[str]] = [[] for _ in self._candidates]
        """Of each answer, = where it is the reference, else the letter of the first candidate to give it."""
        self._scores = [[array("d") for _ in self._metrics] for _ in self._candidates]
        self._pairs: list[dict[tuple[int, int], _Pair]] = [{} for _ in self._judges]
        self._pooled: set[str] = set()

    def add(self, entry: Json) -> Told:
        """Take in the next line of examples.jsonl."""
        self._ids.append(visible(entry["id"]))
        seen: dict[str | None, str] = {} if entry["reference"] is None else {entry["reference"]: "="}
        for place, candidate in enumerate(self._candidates):
            answer = entry["answers"].get(candidate["name"])
            text = None if answer is None else answer["text"]
            self._states[place].append(_state(answer))
            self._alike[place].append(seen.setdefault(text, _letter(place)))
            self._pooled |= _pooled(answer)
            found = (answer or {}).get("scores") or {}
            for metric, column in zip(self._metrics, self._scores[place], strict=True):
                column.append(_number(found.get(metric.key), metric.unit))
        return self._judged(entry["verdicts"])

    def _judged(self, verdicts: Json) -> Told:
        number, flipped, reasons = len(self._ids), False, []
        for judge, (told, pairs) in enumerate(zip(self._judges, self._pairs, strict=True)):
            for name, given in (verdicts.get(told["name"]) or {}).items():
                for key, orders in self._by_opponent(name, given, once=told["symmetric"]):
                    if key not in pairs:
                        pairs[key] = _Pair(len(pairs), [], [])
                    flipped |= pairs[key].add(number, orders)
                    why = [_reason(verdict) for verdict in orders]
                    if any(why):
                        reasons.append([judge, pairs[key].place, *why])
        return Told(flipped, reasons)

    def _by_opponent(
        self, name: str, given: Sequence[Json], *, once: bool
    ) -> Iterator[tuple[tuple[int, int], tuple[Json | None, Json | None]]]:
        """((candidate, opponent), (verdict with the candidate shown first, second)) of each opponent.

        With `once` the second of two is the first one mirrored, which says nothing more.
        """
        if name not in self._places:
            return
        found: dict[str, dict[bool, Json]] = {}
        for verdict in given:
            orders = found.setdefault(verdict["opponent"], {})
            if not (once and orders):
                orders.setdefault(bool(verdict["candidate_first"]), verdict)
        for opponent, orders in found.items():
            yield (
                (self._places[name], self._places.get(opponent, ABSENT)),
                (orders.get(True), orders.get(False)),
            )

    @property
    def pooled(self) -> tuple[str, ...]:
        """Labels of the metrics whose value over all examples is not the mean of those of single ones."""
        return tuple(metric.label for metric in self._metrics if metric.key in self._pooled)

    def json(self) -> str:
        """All columns, as the inner of a JSON object that can stand in a script element."""
        total = len(self._ids)
        parts = {
            "candidates": _list(self._candidate(place) for place in range(len(self._candidates))),
            "metrics": script_json([self._metric(metric) for metric in self._metrics]),
            "judges": _list(self._judge(judge, total) for judge in range(len(self._judges))),
            "ids": script_json(self._ids),
        }
        return ",".join(f'"{key}":{text}' for key, text in parts.items())

    def _candidate(self, place: int) -> str:
        states = "".join(self._states[place])
        answered = bool(states.strip("-"))
        told = {
            "name": shown_name(self._candidates[place]["name"]),
            "answered": answered,
            "rank": (self._candidates[place].get("rank") or [None])[0],
            "states": states if answered else "",
            "alike": "".join(self._alike[place]) if answered else "",
        }
        scores = _list(map(_numbers, self._scores[place])) if answered else "[]"
        return f'{script_json(told)[:-1]},"scores":{scores}}}'

    def _metric(self, metric: Column) -> dict[str, Any]:
        return {
            "name": visible(metric.key),
            "label": visible(metric.label),
            "unit": visible(metric.unit),
            "direction": metric.direction,
            "incomparable": self._incomparable[metric.key],
        }

    def _judge(self, judge: int, total: int) -> str:
        told = self._judges[judge]
        pairs = [
            {"a": a, "b": b, **{key: "".join(column).ljust(total, "-") for key, column in pair.columns()}}
            for (a, b), pair in self._pairs[judge].items()
        ]
        return script_json(
            {"name": shown_name(told["name"]), "robin": told["against"] == ALL, "pairs": pairs}
        )


@dataclass(frozen=True, slots=True)
class _Pair:
    """One judge's verdicts on one pair, a character an example, in both orders."""

    place: int
    first: list[str]
    second: list[str]

    def columns(self) -> tuple[tuple[str, list[str]], ...]:
        return ("first", self.first), ("second", self.second)

    def add(self, number: int, orders: Sequence[Json | None]) -> bool:
        """Take in the verdicts on the example of this number (from 1); whether they are a win and a loss."""
        outcomes = ["-" if verdict is None else _outcome(verdict) for verdict in orders]
        for (_, column), outcome in zip(self.columns(), outcomes, strict=True):
            column.extend("-" * (number - 1 - len(column)))
            column.append(outcome)
        return {"w", "l"} <= set(outcomes)


def _outcome(verdict: Json) -> str:
    return _OUTCOMES.get((verdict["choice"], bool(verdict["candidate_first"])), "-")


def _state(answer: Json | None) -> str:
    if answer is None:
        return "-"
    if answer["text"] is None:
        return "f"
    if not answer["text"]:
        return "e"
    return "c" if answer.get("finish_reason") == "length" else "o"


def _pooled(answer: Json | None) -> set[str]:
    """Metrics with other statistics than a value and the one example that it is of."""
    found = (answer or {}).get("statistics") or {}
    return {name for name, (row, *_) in found.items() if row is not None and (len(row) > 2 or row[-1] != 1)}


def _letter(place: int) -> str:
    return _LETTERS[place] if place < len(_LETTERS) else chr(0x100 + place)


def _reason(verdict: Json | None) -> str:
    # The raw reply repeats the reason; only where none could be read is it worth its bytes.
    if verdict is None:
        return ""
    text = verdict.get("reason") or ""
    if not text and verdict["choice"] == "unparsed":
        text = (verdict.get("raw") or "")[:_RAW_LIMIT]
    return visible(text)


def _number(value: Any, unit: str) -> float:
    """A score in the unit that the page prints, NaN where it is missing."""
    if not is_finite(value):
        return math.nan
    return value * 100 if unit == "%" else value


def _numbers(values: array[float]) -> str:
    """JSON of four significant digits each, null for NaN."""
    return _list("null" if value != value else f"{value:.4g}" for value in values)


def _list(texts: Iterator[str]) -> str:
    return f"[{','.join(texts)}]"
