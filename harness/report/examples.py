"""examples.jsonl as the page's data: every verdict seen from its candidate, every text made visible.

A page that holds all answers stays pleasant up to some 20 MB. Beyond that the examples are sampled,
those on which a judge changed its mind first, and the page says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.records import ALL
from harness.report.board import Column, figure, metric_columns
from harness.report.text import script_json, visible

Json = Mapping[str, Any]
TEXT_LIMIT = 20_000_000
"""Bytes of examples that a page may hold."""
_OUTCOMES: dict[tuple[str, bool], str] = {
    ("first", True): "win",
    ("second", False): "win",
    ("first", False): "loss",
    ("second", True): "loss",
}
"""What (choice, candidate shown first) means for the candidate."""
_RAW_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Examples:
    """What the page holds of examples.jsonl: JSON for its script, and how much of the whole it is."""

    json: str
    shown: int
    total: int
    flips: int


def load_examples(results: Json, entries: Iterable[Json], limit: int) -> Examples:
    """The examples of a run, at most `limit` bytes of them; the order of the eval set is kept."""
    packer = _Packer(results)
    packed = [packer.pack(number, entry) for number, entry in enumerate(entries, start=1)]
    chosen = _sample([(flipped, len(text)) for flipped, text in packed], limit)
    body = ",".join(packed[i][1] for i in chosen)
    head = script_json(packer.head(len(packed)))
    return Examples(
        json=f'{head[:-1]},"examples":[{body}]}}',
        shown=len(chosen),
        total=len(packed),
        flips=sum(flipped for flipped, _ in packed),
    )


class _Packer:
    """Turns one line of examples.jsonl into what the page needs, by position instead of by name."""

    def __init__(self, results: Json) -> None:
        self.candidates = [c["name"] for c in results["candidates"]]
        self.places = {name: place for place, name in enumerate(self.candidates)}
        self.metrics = metric_columns(results)
        self.incomparable = {
            m.key: [i for i, c in enumerate(results["candidates"]) if figure(c, m).get("incomparable")]
            for m in self.metrics
        }
        """Metric -> positions of candidates whose values are on another scale than the others'."""
        self.judges = results["judges"]
        self.answered: set[str] = set()

    def head(self, total: int) -> dict[str, Any]:
        return {
            "total": total,
            "candidates": [
                {"name": visible(name), "answered": name in self.answered} for name in self.candidates
            ],
            "metrics": [{**_column(m), "incomparable": self.incomparable[m.key]} for m in self.metrics],
            "judges": [
                {
                    "name": visible(j["name"]),
                    "against": visible(j["against"]),
                    "robin": j["against"] == ALL,
                }
                for j in self.judges
            ],
        }

    def pack(self, number: int, entry: Json) -> tuple[bool, str]:
        """Whether any judge flipped on this example, and the example as JSON."""
        answers = entry["answers"]
        self.answered.update(answers)
        verdicts = [self._judge(entry["verdicts"].get(j["name"]) or {}) for j in self.judges]
        packed = {
            "number": number,
            "id": visible(entry["id"]),
            "prompt": [[visible(m["role"]), visible(m["content"])] for m in entry["prompt"]],
            "reference": visible(entry["reference"] or ""),
            "answers": [self._answer(answers.get(name)) for name in self.candidates],
            "verdicts": verdicts,
        }
        flips = any(v["flip"] for judge in verdicts for row in judge for v in row)
        return flips, script_json(packed)

    def _answer(self, answer: Json | None) -> dict[str, Any] | None:
        if answer is None:
            return None
        return {
            "text": None if answer["text"] is None else visible(answer["text"]),
            "error": visible(answer.get("error") or ""),
            "cut": answer.get("finish_reason") == "length",
            "tokens": answer.get("tokens"),
            "scores": [_shown((answer.get("scores") or {}).get(m.key), m.unit) for m in self.metrics],
        }

    def _judge(self, verdicts: Json) -> list[list[dict[str, Any]]]:
        """By candidate, what the judge said of it and each opponent; of a round robin's pairs, one side."""
        return [list(self._by_opponent(verdicts.get(name) or ())) for name in self.candidates]

    def _by_opponent(self, verdicts: Sequence[Json]) -> Iterator[dict[str, Any]]:
        opponents: dict[str, list[Json]] = {}
        for verdict in verdicts:
            opponents.setdefault(verdict["opponent"], []).append(verdict)
        for name, given in opponents.items():
            yield {"opponent": self.places.get(name, -1), **_orders(given)}


def _column(metric: Column) -> dict[str, Any]:
    return {"label": visible(metric.label), "unit": visible(metric.unit), "direction": metric.direction}


def _orders(verdicts: Sequence[Json]) -> dict[str, Any]:
    """Both orders of one pair as [position of the candidate, outcome for it, reason].

    An outcome is win, loss, tie or unparsed; a flip is a win in one order and a loss in the other.
    """
    orders = []
    for verdict in sorted(verdicts, key=lambda v: not v["candidate_first"]):
        first, choice = verdict["candidate_first"], verdict["choice"]
        outcome = _OUTCOMES.get((choice, first), choice)
        orders.append(["first" if first else "second", outcome, _reason(verdict)])
    return {"flip": {"win", "loss"} <= {outcome for _, outcome, _ in orders}, "orders": orders}


def _reason(verdict: Json) -> str:
    # The raw reply repeats the reason; only where none could be read is it worth its bytes.
    text = verdict.get("reason") or ""
    if not text and verdict["choice"] == "unparsed":
        text = (verdict.get("raw") or "")[:_RAW_LIMIT]
    return visible(text)


def _shown(value: float | None, unit: str) -> float | None:
    """A score as the page prints it: percentages times 100, rounded to what can be read."""
    if value is None or not math.isfinite(value):
        return None
    return round(value * 100, 1) if unit == "%" else float(f"{value:.4g}")


def _sample(sizes: Sequence[tuple[bool, int]], limit: int) -> list[int]:
    """Positions to keep, in order: all if they fit; else flips first, then the others, evenly spaced."""
    if sum(size for _, size in sizes) <= limit:
        return list(range(len(sizes)))
    chosen: list[int] = []
    for wanted in (True, False):
        pool = [i for i, (flipped, _) in enumerate(sizes) if flipped is wanted]
        for position in _evenly(len(pool)):
            if sizes[pool[position]][1] <= limit:
                chosen.append(pool[position])
                limit -= sizes[pool[position]][1]
    return sorted(chosen)


def _evenly(n: int) -> Iterator[int]:
    """All of 0..n-1, so ordered that every beginning is spread over the whole (bit reversal)."""
    bits = max(n - 1, 0).bit_length()
    for i in range(1 << bits):
        position = int(f"{i:0{bits}b}"[::-1], 2) if bits else 0
        if position < n:
            yield position
