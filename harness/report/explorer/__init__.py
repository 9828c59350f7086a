"""examples.jsonl as the page's data: scores and verdicts of every example, texts of as many as fit.

A page stays pleasant up to some 20 MB. Scores and verdicts are whole at any size, in columns; texts beyond
the limit are sampled, those on which a judge changed its mind first, and the page says so. The file is read
once, line by line; what is kept of a line is a few numbers, its texts lie on disk until they are chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.report.explorer.columns import Columns
from harness.report.explorer.texts import Shelf, choose
from harness.report.text import script_json

__all__ = ["DATA_LIMIT", "Examples", "load_examples"]

Json = Mapping[str, Any]
DATA_LIMIT = 18_000_000
"""Bytes of examples that a page may hold, so that with all else it stays under 20 MB."""
LEAST_SHARE = 0.1
"""Of it, what texts may have even where scores and verdicts alone reach the limit."""


@dataclass(frozen=True, slots=True)
class Examples:
    """What the page holds of examples.jsonl, and how much of the whole it is.

    `json` are the columns of all examples; `texts` has a line of JSON for each of the `shown` examples
    whose texts are on the page. `flips` counts the examples on which a judge flipped, `reasoned` those of
    which a judge gave reasons; `flips_shown` and `reasons_shown` those of them that are there with texts.
    `pooled` are the labels of metrics whose value over all examples is not the mean of those of single ones.
    """

    json: str
    texts: str
    shown: int
    total: int
    flips: int
    flips_shown: int
    reasoned: int
    reasons_shown: int
    pooled: tuple[str, ...]


def load_examples(results: Json, entries: Iterable[Json], limit: int = DATA_LIMIT) -> Examples:
    """The examples of a run, in the order of the eval set: at most `limit` bytes if texts can give way."""
    columns = Columns(results)
    with Shelf([c["name"] for c in results["candidates"]]) as shelf:
        for entry in entries:
            shelf.put(entry, columns.add(entry))
        whole = columns.json()
        room = max(limit - len(whole.encode()), int(LEAST_SHARE * limit))
        chosen = choose(shelf.sizes, room)
        texts = "\n".join(shelf.read(place, reasons=place in chosen.reasons) for place in chosen.places)
    total = len(shelf.sizes)
    places = None if len(chosen.places) == total else chosen.places
    return Examples(
        json=f'{{"total":{total},"places":{script_json(places)},{whole}}}',
        texts=texts,
        shown=len(chosen.places),
        total=total,
        flips=sum(size.flipped for size in shelf.sizes),
        flips_shown=sum(shelf.sizes[place].flipped for place in chosen.places),
        reasoned=sum(size.reasons > 0 for size in shelf.sizes),
        reasons_shown=sum(shelf.sizes[place].reasons > 0 for place in chosen.reasons),
        pooled=columns.pooled,
    )
