"""Published figures from published verdicts, and figures of a small set of verdicts that lies here.

The small set was drawn for this file. Its figures were made apart from the project's code: shares by counting
by hand, abilities by statsmodels' GLM, Elo by a loop over 20,000 shuffles.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from judging_tables import seen_from

from harness.records import Choice
from harness.stats.bradley_terry import bradley_terry
from harness.stats.elo import elo, to_elo
from harness.stats.pairwise import WinRate, aggregate, encode

WORTH = {"first": 1.0, "second": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Verdicts:
    """(example, shown first, shown second) -> verdict."""

    choices: Mapping[tuple[str, str, str], Choice]

    def both_orders(self, chosen: Sequence[tuple[str, str, str]]) -> WinRate:
        """The first player of each key against the second."""
        turned = [(example, b, a) for example, a, b in chosen]
        return aggregate(*(encode([self.choices[key] for key in keys]) for keys in (chosen, turned)))

    def against(self, a: str, b: str) -> WinRate:
        return self.both_orders([key for key in self.choices if key[1:] == (a, b)])

    def all_pairs(self) -> WinRate:
        return self.both_orders([key for key in self.choices if key[1] < key[2]])

    def players(self) -> list[str]:
        return sorted({key[1] for key in self.choices})

    def columns(self) -> tuple[np.ndarray, ...]:
        """first, second, worth, prompt of the verdicts that were understood."""
        understood = {key: choice for key, choice in self.choices.items() if choice in WORTH}
        examples, first, second = zip(*understood, strict=True)
        names = self.players()
        worth = np.array([WORTH[choice] for choice in understood.values()])
        prompt = np.unique(examples, return_inverse=True)[1]
        return (
            np.array([names.index(a) for a in first]),
            np.array([names.index(b) for b in second]),
            worth,
            prompt,
        )


@pytest.fixture(scope="module")
def published(shared: Path) -> Verdicts:
    """GPT-4's verdicts on QLoRA's eight systems."""
    with gzip.open(shared / "oracles" / "qlora_vicuna_pairwise.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    return Verdicts({(row["example_id"], row["first"], row["second"]): row["verdict"] for row in rows})


class TestQlora:
    """Elo by Dettmers et al., QLoRA (2023), table 1; the others counted from their published verdicts."""

    def test_guanaco_against_chatgpt(self, published: Verdicts) -> None:
        rate = published.against("65b-guanaco", "gpt35")
        assert rate.average.value == pytest.approx(0.541, abs=5e-4)
        assert rate.tie_on_disagreement.value == pytest.approx(0.512, abs=5e-4)
        assert rate.consistent_only.value == pytest.approx(0.528, abs=5e-4)
        assert rate.consistent_only.n == 36

    def test_order_swaps(self, published: Verdicts) -> None:
        rate = published.all_pairs()
        assert rate.pairs == 2227
        assert rate.consistency - rate.consistent_ties == pytest.approx(0.571, abs=5e-4)
        assert rate.consistent_ties == pytest.approx(0.043, abs=5e-4)
        assert rate.flips_to_first == pytest.approx(0.196, abs=5e-4)
        assert rate.flips_to_second == pytest.approx(0.009, abs=5e-4)
        assert rate.win_tie == pytest.approx(0.181, abs=5e-4)

    def test_elo(self, published: Verdicts) -> None:
        first, second, worth, _ = published.columns()
        found = dict(zip(published.players(), elo(first, second, worth, players=8).tolist(), strict=True))
        assert found == pytest.approx(
            {
                "gpt4": 1348,
                "65b-guanaco": 1022,
                "30b-guanaco": 992,
                "vicuna-13b": 974,
                "gpt35": 966,
                "13b-guanaco": 916,
                "bard": 902,
                "7b-guanaco": 879,
            },
            abs=1,
        )

    def test_bradley_terry(self, published: Verdicts) -> None:
        plain = bradley_terry(*published.columns(), players=8, position=False, ridge=0.0)
        points = to_elo(plain.value, centre=1000.0)
        assert points[published.players().index("gpt4")] == pytest.approx(1366.3, abs=0.05)

    def test_position(self, published: Verdicts) -> None:
        found = bradley_terry(*published.columns(), players=8)
        assert found.position == pytest.approx(0.68, abs=0.005)
        assert 0.5 < found.position_low < 0.6
        assert 0.75 < found.position_high < 0.85

    def test_rows_are_not_independent(self, published: Verdicts) -> None:
        """Rows taken as independent claim too much: 65b-guanaco's win rate is 1.2 times less certain."""
        first, second, worth, prompt = published.columns()
        ours = first == published.players().index("65b-guanaco")
        theirs = second == published.players().index("65b-guanaco")
        mine = np.where(ours, worth, 1 - worth)[ours | theirs]
        alone = 1.96 * mine.std() / np.sqrt(len(mine))
        sums = np.bincount(prompt[ours | theirs], weights=mine)
        counts = np.bincount(prompt[ours | theirs])
        residuals = sums - mine.mean() * counts
        together = 1.99 * np.sqrt((residuals**2).sum()) / len(mine)
        assert together > 1.2 * alone


SMALL = ["211121", "21211=", "21=112", "==?121", "222111", "21212=", "1222=1", "=121=2"]
"""Eight prompts by xy, yx, xz, zx, yz, zy: 1 the first, 2 the second, = a tie, ? nothing understood."""


@pytest.fixture(scope="module")
def small() -> Verdicts:
    words: dict[str, Choice] = {"1": "first", "2": "second", "=": "tie", "?": "unparsed"}
    orders = ("xy", "yx", "xz", "zx", "yz", "zy")
    return Verdicts(
        {
            (str(example), first, second): words[verdict]
            for example, row in enumerate(SMALL)
            for (first, second), verdict in zip(orders, row, strict=True)
        }
    )


class TestSmallSet:
    @pytest.mark.parametrize(
        ("a", "b", "n", "average", "tie_on_disagreement", "consistent_only", "kept"),
        [
            ("z", "x", 7, 5.75 / 7, 5.5 / 7, 1.0, 4),
            ("y", "x", 8, 5.75 / 8, 5.5 / 8, 4 / 5, 5),
            ("z", "y", 8, 4.5 / 8, 4.5 / 8, 2 / 3, 3),
        ],
    )
    def test_rules(
        self,
        small: Verdicts,
        a: str,
        b: str,
        n: int,
        average: float,
        tie_on_disagreement: float,
        consistent_only: float,
        kept: int,
    ) -> None:
        rate = small.against(a, b)
        assert (rate.pairs, rate.incomplete, rate.consistent_only.n) == (n, 8 - n, kept)
        assert rate.average.value == pytest.approx(average)
        assert rate.tie_on_disagreement.value == pytest.approx(tie_on_disagreement)
        assert rate.consistent_only.value == pytest.approx(consistent_only)

    def test_swaps(self, small: Verdicts) -> None:
        rate = small.all_pairs()
        counted = (
            rate.consistency,
            rate.consistent_ties,
            rate.flips_to_first,
            rate.flips_to_second,
            rate.win_tie,
        )
        assert counted == pytest.approx(tuple(count / 23 for count in (13, 1, 2, 2, 6)))
        assert (rate.pairs, rate.incomplete) == (23, 1)

    def test_abilities(self, small: Verdicts) -> None:
        found = bradley_terry(*small.columns(), players=3, ridge=0.0, draws=0)
        value, error = seen_from(found, 0)
        assert value == pytest.approx([0.0, 1.0696982, 1.4248651], abs=1e-6)
        assert error == pytest.approx([0.0, 0.4718869, 0.4980726], abs=1e-6)
        assert found.position == pytest.approx(0.1290371, abs=1e-6)

    def test_elo(self, small: Verdicts) -> None:
        first, second, worth, _ = small.columns()
        found = elo(first, second, worth, players=3, orders=20_000)
        assert found == pytest.approx([969.987, 1008.792, 1021.221], abs=0.02)
