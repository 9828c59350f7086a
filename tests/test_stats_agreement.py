"""Agreement beyond chance against other implementations and textbook tables."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

IntArray = npt.NDArray[np.int64]

FLEISS = [
    [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
]  # fmt: skip
"""14 raters, 10 units, 5 categories: the worked example of the encyclopaedias, kappa 0.210."""
_ = -1
KRIPPENDORFF = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]
"""4 observers, 12 units with gaps: Krippendorff (2011), section C; nominal alpha 0.743."""


def ratings(raters: int, n: int, agree: float = 0.6, seed: int = 0) -> IntArray:
    """(raters, n) codes 0..2 of raters who see the truth with probability `agree`, and else guess."""
    generator = np.random.default_rng(seed)
    truth, guesses = generator.integers(3, size=n), generator.integers(3, size=(raters, n))
    return np.where(generator.random((raters, n)) < agree, truth, guesses)


class TestCohen:
    def test_a_table_by_hand(self) -> None:
        """20 both yes, 5 and 10 differ, 15 both no: observed 0.7, by chance 0.5."""
        a, b = np.repeat([0, 0, 1, 1], [20, 5, 10, 15]), np.repeat([0, 1, 0, 1], [20, 5, 10, 15])
        assert cohen_kappa(a, b, categories=2).value == pytest.approx(0.4)

    def test_value_and_error_equal_those_of_statsmodels(self) -> None:
        from statsmodels.stats.inter_rater import cohens_kappa

        a, b = ratings(2, 400)
        table = np.zeros((3, 3))
        np.add.at(table, (a, b), 1)
        theirs = cohens_kappa(table)
        found = cohen_kappa(a, b, categories=3, draws=4000)
        assert found.value == pytest.approx(theirs.kappa)
        assert (found.high - found.low) / 2 == pytest.approx(1.96 * theirs.std_kappa, rel=0.08)

    def test_missing_ratings_are_left_out(self) -> None:
        a, b = ratings(2, 40)
        more = np.append(a, [-1, 0, -1]), np.append(b, [1, -1, -1])
        assert cohen_kappa(*more, categories=3) == cohen_kappa(a, b, categories=3)

    @pytest.mark.parametrize(("a", "b"), [([], []), ([-1], [0]), ([1, 1], [1, 1])])
    def test_nothing_to_agree_on(self, a: list[int], b: list[int]) -> None:
        assert all(math.isnan(number) for number in cohen_kappa(a, b, categories=2))

    @settings(deadline=None)
    @given(hnp.arrays(np.int64, (2, 12), elements=st.integers(-1, 2)), st.permutations(range(3)))
    def test_raters_and_names_may_be_exchanged(self, codes: IntArray, names: list[int]) -> None:
        a, b = codes
        found = cohen_kappa(a, b, categories=3, draws=1).value
        assert cohen_kappa(b, a, categories=3, draws=1).value == pytest.approx(found, nan_ok=True)
        renamed = np.array([*names, -1])[codes]
        assert cohen_kappa(*renamed, categories=3, draws=1).value == pytest.approx(found, nan_ok=True)


class TestFleiss:
    def test_the_worked_example(self) -> None:
        from statsmodels.stats.inter_rater import fleiss_kappa as theirs

        found = fleiss_kappa(FLEISS)
        assert found.value == pytest.approx(0.210, abs=5e-4)
        assert found.value == pytest.approx(theirs(np.array(FLEISS)))
        assert found.low < found.value < found.high

    @pytest.mark.parametrize("counts", [[[1, 1], [1, 2]], [[1, 0], [0, 1]]])
    def test_refuses_units_it_cannot_take(self, counts: list[list[int]]) -> None:
        with pytest.raises(ValueError, match="same number of raters"):
            fleiss_kappa(counts)

    def test_no_units(self) -> None:
        assert math.isnan(fleiss_kappa(np.zeros((0, 3))).value)


class TestKrippendorff:
    def test_the_published_example(self) -> None:
        assert krippendorff_alpha(KRIPPENDORFF).value == pytest.approx(0.743, abs=5e-4)

    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_package(self, seed: int) -> None:
        import krippendorff

        codes = ratings(4, 50, seed=seed)
        codes[np.random.default_rng(seed).random(codes.shape) < 0.3] = -1
        theirs = krippendorff.alpha(np.where(codes < 0, np.nan, codes), level_of_measurement="nominal")
        assert krippendorff_alpha(codes).value == pytest.approx(theirs, rel=1e-12)

    def test_resamples_are_of_units(self) -> None:
        """The interval against the spread of alpha over many samples of units."""
        values = [krippendorff_alpha(ratings(3, 150, seed=seed), draws=1).value for seed in range(300)]
        found = krippendorff_alpha(ratings(3, 150))
        assert (found.high - found.low) / (2 * 1.98) == pytest.approx(np.std(values), rel=0.15)

    def test_units_with_one_rating_say_nothing(self) -> None:
        codes = ratings(3, 40)
        alone = np.column_stack([codes, [0, -1, -1], [-1, -1, -1]])
        assert krippendorff_alpha(alone) == krippendorff_alpha(codes)
        assert math.isnan(krippendorff_alpha(np.array([[0, -1], [-1, 1]])).value)
        assert math.isnan(krippendorff_alpha(np.full((2, 5), -1)).value)


class TestClusters:
    def test_units_of_a_prompt_are_resampled_together(self) -> None:
        """Each unit four times over: as four units they would halve the interval."""
        a, b = ratings(2, 80)
        again, cluster = np.repeat([a, b], 4, axis=1), np.repeat(np.arange(80), 4)
        once, together = cohen_kappa(a, b, categories=3), cohen_kappa(*again, categories=3, cluster=cluster)
        alone = cohen_kappa(*again, categories=3)
        assert together == pytest.approx(once)
        assert alone.high - alone.low == pytest.approx((once.high - once.low) / 2, rel=0.1)
        alpha = krippendorff_alpha(again, cluster=cluster)
        assert (alpha.low, alpha.high) == pytest.approx((once.low, once.high), abs=0.03)

    def test_clusters_go_with_their_units_when_some_are_left_out(self) -> None:
        a, b = ratings(2, 60)
        cluster = np.arange(60) // 3
        gone = np.where(np.arange(60) < 30, -1, a)
        half = cohen_kappa(a[30:], b[30:], categories=3, cluster=cluster[30:])
        assert cohen_kappa(gone, b, categories=3, cluster=cluster) == half
