"""What a judge must be, and what else it may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from harness.protocols.plugins import Progress
from harness.records import Question, Verdict

Pair = tuple[Question, str, str]
"""A question with the two answers to compare, first and second."""


class Judge(Protocol):
    """Says which of two answers is better. Must be thread-safe.

    The judge stage asks both orders, maps back, aggregates, counts and caches: a judge does none of it.
    A reply that cannot be understood is `Verdict("unparsed", raw=reply)`, never a guess. None means that
    the judge has no verdict on this pair, as people who did not label it: it is counted as not judged.

    The protocols below name what else a judge may have, and so do TRAITS.
    """

    def compare(self, question: Question, first: str, second: str) -> Verdict | None: ...


@runtime_checkable
class ComparesMany(Protocol):
    """A judge that compares faster in batches, as a model on a device does; `compare` is then not called."""

    batch_size: int

    def compare_many(self, pairs: Sequence[Pair]) -> list[Verdict]: ...


@runtime_checkable
class Combines(Protocol):
    """A judge made of other judges of the suite, named in `members`: it costs nothing but theirs."""

    members: Sequence[str]

    def combine(self, verdicts: Sequence[Verdict]) -> Verdict:
        """One verdict out of the members' on the same pair in the same order, in the order of `members`."""
        ...


@runtime_checkable
class Rereads(Protocol):
    """A judge that can read a stored reply again, perhaps better than when it came."""

    def reread(self, raw: str) -> Verdict:
        """The verdict in a Verdict's `raw`; its tokens and cost are left out."""
        ...


@runtime_checkable
class Prefetches(Protocol):
    """A judge that can have many replies made at once, before it is asked for them one by one."""

    def prefetch(self, pairs: Sequence[Pair], progress: Progress) -> None: ...
