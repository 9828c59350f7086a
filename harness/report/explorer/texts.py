"""The texts of examples, packed for the page, and which of them it holds where not all fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import Any, NamedTuple

from harness.report.explorer.columns import Told
from harness.report.text import script_json, visible

Json = Mapping[str, Any]
_IN_MEMORY = 32_000_000


class Size(NamedTuple):
    """One example on the shelf: where it begins, bytes of its texts and of the judges' reasons (0: none)."""

    start: int
    texts: int
    reasons: int
    flipped: bool


@dataclass(frozen=True, slots=True)
class Chosen:
    """Places of the examples whose texts are on the page, in order; of those, which have judges' reasons."""

    places: list[int]
    reasons: frozenset[int]


class Shelf:
    """Packed texts in the order they came, in a temporary file where they are many; any can be read back."""

    def __init__(self, candidates: Sequence[str]) -> None:
        self._candidates = candidates
        self._file = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._end = 0
        self.sizes: list[Size] = []

    def __enter__(self) -> Shelf:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, entry: Json, told: Told) -> None:
        """Keep the texts of a line of examples.jsonl and what judges said of it."""
        texts = script_json(_texts(entry, self._candidates)).encode()
        reasons = script_json(told.reasons).encode() if told.reasons else b""
        self._file.write(texts)
        self._file.write(reasons)
        self.sizes.append(Size(self._end, len(texts), len(reasons), told.flipped))
        self._end += len(texts) + len(reasons)

    def read(self, place: int, *, reasons: bool) -> str:
        """One example's JSON; without the key `reasons` where they are not wanted."""
        size = self.sizes[place]
        self._file.seek(size.start)
        texts = self._file.read(size.texts).decode()
        if not reasons:
            return texts
        return f'{texts[:-1]},"reasons":{self._file.read(size.reasons).decode() or "[]"}}}'


def _texts(entry: Json, candidates: Sequence[str]) -> dict[str, Any]:
    """By candidate, the answer (null where there is none) and its tokens; why there is none, by place."""
    answers = [entry["answers"].get(name) for name in candidates]
    errors = {
        str(place): visible(answer["error"])
        for place, answer in enumerate(answers)
        if answer is not None and answer["text"] is None and answer.get("error")
    }
    texts = [
        None if answer is None or answer["text"] is None else visible(answer["text"]) for answer in answers
    ]
    return {
        "prompt": [[visible(m["role"]), visible(m["content"])] for m in entry["prompt"]],
        "reference": visible(entry["reference"] or ""),
        "answers": texts,
        "tokens": [answer.get("tokens") if answer else None for answer in answers],
        **({"errors": errors} if errors else {}),
    }


def choose(sizes: Sequence[Size], limit: int) -> Chosen:
    """What fits into `limit` bytes.

    Reasons give way before answers: they are left out of some examples if so the texts of all fit; else
    texts and reasons of some examples are left out. Flips are kept first, then others, evenly spaced.
    """
    everywhere = list(range(len(sizes)))
    texts = [size.texts + 1 for size in sizes]  # with its newline
    whole = [size.texts + size.reasons + len(',"reasons":[]') + 1 for size in sizes]
    if sum(whole) <= limit:
        return Chosen(everywhere, frozenset(everywhere))
    flips = [size.flipped for size in sizes]
    if sum(texts) <= limit:
        extra = [w - t for w, t in zip(whole, texts, strict=True)]
        return Chosen(everywhere, frozenset(_sample(flips, extra, limit - sum(texts))))
    chosen = sorted(_sample(flips, whole, limit))
    return Chosen(chosen, frozenset(chosen))


def _sample(flips: Sequence[bool], sizes: Sequence[int], limit: int) -> Iterator[int]:
    """Places of what fits: flips first, then the others, evenly spaced among their like."""
    for wanted in (True, False):
        pool = [place for place, flipped in enumerate(flips) if flipped is wanted]
        for position in _evenly(len(pool)):
            if sizes[pool[position]] <= limit:
                yield pool[position]
                limit -= sizes[pool[position]]


def _evenly(n: int) -> Iterator[int]:
    """All of 0..n-1, so ordered that every beginning is spread over the whole (bit reversal)."""
    bits = max(n - 1, 0).bit_length()
    for i in range(1 << bits):
        position = int(f"{i:0{bits}b}"[::-1], 2) if bits else 0
        if position < n:
            yield position
