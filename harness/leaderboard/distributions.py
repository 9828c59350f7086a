"""How single examples differ from base, and how long answers are: what a mean does not show.

All of it follows from examples.jsonl alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from harness.protocols import FloatArray

Json = dict[str, Any]
Column = Sequence[float | None]
"""A metric's value of each example alone, in the order of the eval set; None where it has none."""

BINS = 24
TRIMMED = (1.0, 99.0)
"""The percentiles between which the bins lie."""
FAR = 5
"""So many times the median size of a difference the bins reach, at most: a few examples whose perplexity is
thousands of times the others' would leave all of those in one bin."""
QUANTILES = (5, 25, 50, 75, 95)


def per_example(
    columns: Mapping[str, Column], base: str, *, higher_is_better: bool
) -> tuple[list[float] | None, dict[str, Json]]:
    """The edges of a metric's bins, and candidate -> how its examples differ from `base`'s.

    `columns` has base and the candidates that may be compared with it. A difference is the candidate's value
    minus base's, over the examples of which both have one; a candidate without any is left out.
    """
    apart = {
        name: found
        for name, column in columns.items()
        if name != base and base in columns and len(found := differences(column, columns[base]))
    }
    edges = edges_of(apart.values())
    return edges, {
        name: distribution(found, edges or (), higher_is_better=higher_is_better)
        for name, found in apart.items()
    }


def differences(mine: Column, others: Column) -> FloatArray:
    """Mine minus the other's, of the examples of which both have a value."""
    one, other = (np.array([np.nan if v is None else v for v in column], float) for column in (mine, others))
    apart = one - other
    return np.asarray(apart[np.isfinite(apart)])


def edges_of(found: Iterable[FloatArray]) -> list[float] | None:
    """The edges of BINS bins of one width for all candidates' differences; None where none is other than 0.

    They reach over the percentiles TRIMMED of the differences other than 0, so that examples that came out
    equal, often most of them, do not narrow the view, and no farther than FAR. 0 is always an edge: nothing
    better shares a bin with anything worse. Where the percentiles lie on both sides of 0 the edges are
    symmetric around it; else they reach from 0 to the farther one.
    """
    every = np.concatenate([np.empty(0), *found])
    apart = every[every != 0]
    if not len(apart):
        return None
    reach = FAR * np.median(np.abs(apart))
    low, high = np.percentile(apart, TRIMMED).clip(-reach, reach)
    if low < 0 < high:
        ends = np.linspace(0, max(-low, high), BINS // 2 + 1)
        return [*(-ends[:0:-1]).tolist(), *ends.tolist()]
    edges = np.linspace(0, high if low >= 0 else -low, BINS + 1)
    return [float(edge) for edge in (edges if low >= 0 else 0 - edges[::-1])]


def distribution(apart: FloatArray, edges: Sequence[float], *, higher_is_better: bool) -> Json:
    """How many examples are better and worse than base's, and by how much; at least one difference.

    `same` counts the differences that are exactly 0: they are in no bin, so that better + worse + same = n
    and below + above + sum(counts) = better + worse. A bin holds its edge nearer to 0 and not the farther
    one; the outermost bins hold both. `below` and `above` count what lies beyond the edges.
    """
    up, down = apart[apart > 0], apart[apart < 0]
    right = np.array([edge for edge in edges if edge >= 0])
    left = np.array([-edge for edge in edges if edge <= 0])[::-1]
    falling, rising = _counts(-down, left)[::-1], _counts(up, right)
    counts = [*falling, *rising]
    better, worse = (up, down) if higher_is_better else (down, up)
    return {
        "n": len(apart),
        "better": len(better),
        "worse": len(worse),
        "same": len(apart) - len(up) - len(down),
        "below": len(down) - sum(falling),
        "counts": counts,
        "above": len(up) - sum(rising),
        "median": float(np.median(apart)),
    }


def _counts(sizes: FloatArray, edges: FloatArray) -> list[int]:
    """How many lie in each bin of edges that begin at 0; none where there is no bin."""
    return np.histogram(sizes, edges)[0].tolist() if len(edges) > 1 else []


def lengths(texts: Iterable[str | None]) -> Json | None:
    """How many characters (Unicode code points) the texts have that are there; None where none is."""
    counts = [len(text) for text in texts if text is not None]
    if not counts:
        return None
    found = np.percentile(counts, QUANTILES)
    return {
        "unit": "characters",
        "n": len(counts),
        "mean": float(np.mean(counts)),
        "quantiles": {str(q): float(value) for q, value in zip(QUANTILES, found, strict=True)},
    }
