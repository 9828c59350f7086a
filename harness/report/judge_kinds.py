"""What judges are whose verdicts are not opinions of their own, in the words of the page's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of verdicts: in a word, as a fact about the judge, and for the methods paragraph."""

    word: str
    fact: str
    method: str


KINDS: Mapping[str | None, Kind] = {
    "people": Kind("people", "what people said", "labels by people"),
    "likeness": Kind(
        "no judge of quality",
        "measures likeness to the reference answer, not quality",
        "the answer nearer to the reference by chrF, no judge of quality",
    ),
    "length": Kind("a canary", "counts words and nothing else", "the longer answer, no judge of quality"),
}
"""`verdicts_of` of a judge -> what that is; the verdicts of all others are opinions."""
