"""The verdicts of one judge as columns: what an analysis is made of, whoever asked for them."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from harness.protocols import BoolArray, FloatArray, IntArray
from harness.records import Choice, Control, Fault
from harness.stats.pairwise import FIRST, TIE, UNPARSED, Codes, encode

Words = npt.NDArray[np.str_]
Name = TypeVar("Name", bound=Hashable)
UNPARSED_LIMIT = 0.10
"""Above this share of unreadable verdicts no conclusion is drawn: they are not missing at random."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """`m` judgments of one judge, column by column; row i of every array is one judgment.

    `prompt` indexes `examples`; `first` and `second` index `players` and say whose answer stood where. `seed`
    tells apart judgments of the same two players on the same prompt, as their trials by seed. `choice` holds
    the codes of `harness.stats.pairwise`; `preference` (0 to 1, of the first) is NaN where the judge gave
    none, `length_first` and `length_second` (characters) where they are not known. `control` and `fault` are
    the words of `harness.records`. What is `settled` nobody was asked: the answers are identical. A
    `symmetric` judge was asked about each pair once.
    """

    examples: tuple[str, ...]
    players: tuple[str, ...]
    prompt: IntArray
    seed: IntArray
    first: IntArray
    second: IntArray
    choice: Codes
    preference: FloatArray
    length_first: FloatArray
    length_second: FloatArray
    control: Words
    fault: Words
    settled: BoolArray
    symmetric: bool = False

    def __len__(self) -> int:
        return len(self.choice)

    def select(self, chosen: BoolArray) -> Verdicts:
        """The judgments of a mask (m,), in their order, under the same examples and players."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in COLUMNS})

    @property
    def comparisons(self) -> Verdicts:
        """The judgments that compare: controls left out."""
        return self.select(self.control == "")

    @property
    def asked(self) -> Verdicts:
        """The judgments that say something of the judge: what was settled without it is left out."""
        return self.select(~self.settled)

    @cached_property
    def parsed(self) -> BoolArray:
        """(m,): whether the judge's reply was understood."""
        return np.asarray(self.choice != UNPARSED, dtype=np.bool_)

    @cached_property
    def worth(self) -> FloatArray:
        """(m,): what a judgment is worth to the first; NaN where unparsed."""
        by_choice = np.where(self.choice == TIE, 0.5, (self.choice == FIRST).astype(np.float64))
        stated = np.where(np.isnan(self.preference), by_choice, self.preference)
        return np.where(self.parsed, stated, np.nan)


COLUMNS = (
    "prompt",
    "seed",
    "first",
    "second",
    "choice",
    "preference",
    "length_first",
    "length_second",
    "control",
    "fault",
    "settled",
)
"""The fields of Verdicts that are (m,)."""


def tabulate(
    example_id: Sequence[str],
    first: Sequence[str],
    second: Sequence[str],
    choice: Sequence[Choice],
    *,
    seed: Sequence[int | None] | None = None,
    preference: Sequence[float | None] | None = None,
    control: Sequence[Control] | None = None,
    fault: Sequence[Fault] | None = None,
    first_chars: Sequence[float | None] | None = None,
    second_chars: Sequence[float | None] | None = None,
    settled: Sequence[bool] | None = None,
    players: Iterable[str] = (),
    symmetric: bool = False,
) -> Verdicts:
    """Verdicts out of lists of the same length m, one entry a judgment; None is what is not known.

    `players` come first in the table, in their order, whether judged or not; the others as they appear.
    """
    m = len(choice)
    examples, prompt = _index(example_id)
    named = itertools.chain.from_iterable(zip(first, second, strict=True))
    known, whose = _index(itertools.chain(players, named))
    places = whose[len(whose) - 2 * m :].reshape(m, 2)
    return Verdicts(
        examples=examples,
        players=known,
        prompt=prompt,
        seed=np.array([0] * m if seed is None else [trial or 0 for trial in seed], dtype=np.int64),
        first=places[:, 0].copy(),
        second=places[:, 1].copy(),
        choice=encode(choice),
        preference=_floats(preference, m),
        length_first=_floats(first_chars, m),
        length_second=_floats(second_chars, m),
        control=_words(control, m),
        fault=_words(fault, m),
        settled=np.zeros(m, dtype=np.bool_) if settled is None else np.array(settled, dtype=np.bool_),
        symmetric=symmetric,
    )


def _index(names: Iterable[Name]) -> tuple[tuple[Name, ...], IntArray]:
    """The distinct names in order of appearance, and for each entry which of them it is."""
    known: dict[Name, int] = {}
    numbers = np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)
    return tuple(known), numbers


def _floats(values: Sequence[float | None] | None, m: int) -> FloatArray:
    return np.full(m, np.nan) if values is None else np.array(values, dtype=np.float64)


def _words(values: Sequence[str] | None, m: int) -> Words:
    return np.full(m, "") if values is None else np.array(values, dtype=np.str_)
