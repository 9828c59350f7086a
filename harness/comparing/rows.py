"""What the other modules ask of figures and their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def compared_rows(figures: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Json]]:
    """(figure, row) of each candidate that a figure could be compared of."""
    for figure in figures:
        yield from ((figure, row) for row in figure["rows"] if "value" in row)
