"""Tests of differences, corrections for many of them, intervals of shares, power and ranks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from stats_samples import ratio, sample

from harness.protocols import FloatArray
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.multiplicity import benjamini_hochberg, holm
from harness.stats.paired import mcnemar, paired_t, sign_flip
from harness.stats.power import power_of, prompts_needed, smallest_effect
from harness.stats.proportions import binomial_p_value, share_interval, t_interval, wilson
from harness.stats.ranks import groups, rank_intervals
from harness.stats.rates import p_value_of_even


class TestSignFlip:
    def test_agrees_with_scipy_where_it_samples(self) -> None:
        from scipy import stats

        a, b = sample(60, seed=1)[:, :1], sample(60, seed=2, shift=0.25)[:, :1]
        theirs = stats.permutation_test(
            (a[:, 0] - b[:, 0],),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=50_000,
            rng=np.random.default_rng(0),
        ).pvalue
        ours = sign_flip(a, b, lambda totals: totals[:, 0] / 60, draws=50_000)
        assert 0.005 < theirs < 0.9
        assert ours == pytest.approx(theirs, abs=0.01)

    def test_equals_scipy_where_it_enumerates(self) -> None:
        from scipy import stats

        a, b = sample(9, seed=3)[:, :1], sample(9, seed=4, shift=0.4)[:, :1]
        theirs = stats.permutation_test(
            (a[:, 0] - b[:, 0],),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        ).pvalue
        assert sign_flip(a, b, lambda totals: totals[:, 0]) == pytest.approx(theirs, rel=1e-12)

    def test_agrees_with_its_definition_for_a_ratio(self) -> None:
        a, b = sample(300, seed=1), sample(300, seed=2, shift=0.04)
        generator, extreme, draws = np.random.default_rng(9), 0, 4000
        observed = abs(ratio(a.sum(0, keepdims=True)) - ratio(b.sum(0, keepdims=True)))[0]
        for _ in range(draws):
            swap = generator.random(300) < 0.5
            x, y = np.where(swap[:, None], b, a).sum(0), np.where(swap[:, None], a, b).sum(0)
            extreme += abs(x[0] / x[1] - y[0] / y[1]) >= observed
        assert sign_flip(a, b, ratio) == pytest.approx((extreme + 1) / (draws + 1), abs=0.025)

    @pytest.mark.parametrize("n", [1, 12, 50])
    def test_identical_systems(self, n: int) -> None:
        a = sample(n)
        assert sign_flip(a, a.copy(), ratio) == 1.0

    def test_equal_sums_in_another_order_are_a_tie(self) -> None:
        a = np.stack([np.array([0.1, 0.2, 0.3] * 20), np.ones(60)], axis=1)
        assert sign_flip(a, np.roll(a, 1, axis=0), ratio) == 1.0

    def test_smallest_p_values(self) -> None:
        better = np.stack([np.ones(40), np.ones(40)], axis=1)
        worse = better * [0.0, 1.0]
        assert sign_flip(better, worse, ratio, draws=999) == 1 / 1000
        assert sign_flip(better[:5], worse[:5], ratio) == 2 / 2**5

    def test_batches_equal_one_by_one(self) -> None:
        a = np.stack([sample(30, seed=seed) for seed in range(3)], axis=1)
        b = np.stack([sample(30, seed=seed + 9, shift=0.1) for seed in range(3)], axis=1)
        assert sign_flip(a, b, ratio).tolist() == [
            float(sign_flip(a[:, i], b[:, i], ratio)) for i in range(3)
        ]

    def test_undefined(self) -> None:
        empty, full = np.zeros((20, 2)), np.ones((20, 2))
        assert math.isnan(sign_flip(empty, full, ratio))
        with pytest.raises(ValueError, match="no prompts"):
            sign_flip(empty[:0], full[:0], ratio)

    def test_rejects_at_its_level_under_the_null(self) -> None:
        p_values = [
            float(sign_flip(sample(40, seed=2 * i), sample(40, seed=2 * i + 1), ratio, draws=400))
            for i in range(200)
        ]
        assert 2 <= sum(p < 0.05 for p in p_values) <= 20


class TestHolm:
    @pytest.mark.parametrize(
        ("p_values", "expected"),
        [
            ([], []),
            ([0.03], [0.03]),
            ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
            ([0.9, 0.8], [1.0, 1.0]),
            ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),
        ],
    )
    def test_table(self, p_values: list[float], expected: list[float]) -> None:
        assert holm(p_values).tolist() == pytest.approx(expected, nan_ok=True)

    @settings(deadline=None)
    @given(hnp.arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
    def test_is_monotone_and_never_smaller(self, p: FloatArray) -> None:
        adjusted = holm(p)
        assert (adjusted >= p).all()
        assert (adjusted <= np.minimum(1, len(p) * p + 1e-12)).all()
        assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


class TestProportions:
    @pytest.mark.parametrize(("wins", "n"), [(0, 30), (30, 30), (34, 250), (1, 1), (5, 9)])
    def test_wilson_equals_scipy(self, wins: int, n: int) -> None:
        from scipy.stats import binomtest

        theirs = binomtest(wins, n).proportion_ci(method="wilson")
        assert wilson(wins, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)

    def test_wilson_published(self) -> None:
        assert wilson(0, 30) == pytest.approx((0.0, 0.114), abs=5e-4)
        assert wilson(34, 250) == pytest.approx((0.099, 0.184), abs=5e-4)

    @pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (7, 7), (3, 12), (400, 300)])
    def test_binomial_equals_scipy(self, wins: int, losses: int) -> None:
        from scipy.stats import binomtest

        expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        assert binomial_p_value(wins, losses) == pytest.approx(expected, rel=1e-9)

    def test_even_contest(self) -> None:
        assert p_value_of_even(np.array([1.0] * 8 + [0.0] * 2)) == pytest.approx(
            binomial_p_value(8, 2), rel=1e-12
        )
        assert p_value_of_even(np.full(30, 0.5)) == 1.0
        assert p_value_of_even(np.array([0.75] * 6)) == 2 / 2**6
        assert math.isnan(p_value_of_even(np.array([])))

    @pytest.mark.parametrize("n", [2, 5, 40])
    def test_t_interval_equals_scipy(self, n: int) -> None:
        from scipy import stats

        values = np.random.default_rng(n).exponential(size=n)
        theirs = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert t_interval(values) == pytest.approx((theirs.low, theirs.high), rel=1e-12)

    def test_t_interval_of_one_is_not_known(self) -> None:
        assert all(math.isnan(end) for end in t_interval(np.array([1.0])))

    def test_shares_of_wins_and_losses_are_wilsons(self) -> None:
        assert share_interval(np.array([1.0, 0.0, 1.0, 1.0])) == wilson(3, 4)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.75, 1.0])
    def test_prompts_that_are_all_alike_prove_little(self, share: float) -> None:
        low, high = share_interval(np.full(40, share))
        assert 0 <= low <= share <= high <= 1
        assert high - low == pytest.approx(wilson(0, 40)[1])

    def test_a_share_of_counts_has_the_variance_of_a_ratio(self) -> None:
        """Against the linearised variance of survey sampling, by its definition."""
        generator = np.random.default_rng(1)
        counts = generator.integers(1, 9, size=300).astype(float)
        sums = generator.binomial(counts.astype(int), 0.4).astype(float)
        low, high = share_interval(sums, counts)
        share = sums.sum() / counts.sum()
        error = math.sqrt(np.var(sums - share * counts, ddof=1) / 300) / counts.mean()
        assert (low + high) / 2 == pytest.approx(share, abs=0.002)
        assert (high - low) / 2 == pytest.approx(1.968 * error, rel=0.01)


class TestExactSignFlip:
    @pytest.mark.parametrize("n", [1, 6, 11])
    def test_equals_all_signs_by_name(self, n: int) -> None:
        units = np.random.default_rng(n).integers(-3, 4, size=n)
        sums = [
            sum(s * u for s, u in zip(signs, units, strict=True))
            for signs in itertools.product((1, -1), repeat=n)
        ]
        expected = np.mean([abs(total) >= abs(units.sum()) for total in sums])
        assert exact_sign_flip(units) == pytest.approx(expected, rel=1e-12)

    def test_agrees_with_the_sampled_test(self) -> None:
        worths = np.random.default_rng(3).choice(
            [0.0, 0.25, 0.5, 0.75, 1.0], p=[0.2, 0.1, 0.2, 0.2, 0.3], size=80
        )
        units = units_of(worths - 0.5)
        assert units is not None
        sampled = sign_flip(worths[:, None], 1 - worths[:, None], lambda totals: totals[:, 0], draws=100_000)
        assert exact_sign_flip(units) == pytest.approx(float(sampled), abs=0.005)

    @pytest.mark.parametrize(
        ("differences", "units"),
        [
            ([0.5, -0.25, 0.0], [2, -1, 0]),
            ([1 / 3, -0.5], [2, -3]),
            ([1.0, 2.0], [1, 2]),
            ([], []),
            ([math.pi], None),
        ],
    )
    def test_units(self, differences: list[float], units: list[int] | None) -> None:
        found = units_of(np.array(differences))
        assert (None if found is None else found.tolist()) == units

    def test_what_would_take_long_is_left_to_sampling(self) -> None:
        assert units_of(np.arange(1.0, 5000.0)) is None


class TestPaired:
    def test_t_equals_scipy(self) -> None:
        from scipy import stats

        a, b = (np.random.default_rng(seed).normal(shift, 1, size=30) for seed, shift in ((1, 0.4), (2, 0.0)))
        theirs = stats.ttest_rel(a, b)
        ends = theirs.confidence_interval(0.95)
        assert paired_t(a - b) == pytest.approx(
            (np.mean(a - b), ends.low, ends.high, theirs.pvalue), rel=1e-10
        )

    @pytest.mark.parametrize(
        ("differences", "expected"),
        [([], math.nan), ([0.3], math.nan), ([0.0, 0.0], 1.0), ([0.5, 0.5], 0.0)],
    )
    def test_t_at_the_edges(self, differences: list[float], expected: float) -> None:
        assert paired_t(np.array(differences)).p_value == pytest.approx(expected, nan_ok=True)

    @pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (12, 5), (30, 41)])
    def test_mcnemar_equals_statsmodels(self, wins: int, losses: int) -> None:
        from statsmodels.stats.contingency_tables import mcnemar as theirs

        expected = theirs([[20, wins], [losses, 7]], exact=True).pvalue
        assert mcnemar(wins, losses) == pytest.approx(expected if wins + losses else 1.0, rel=1e-9)

    def test_mcnemar_is_the_sign_flip_of_right_and_wrong(self) -> None:
        right = np.random.default_rng(4).random((60, 2)) < [0.7, 0.5]
        differences = right[:, 0].astype(int) - right[:, 1]
        wins, losses = int((differences == 1).sum()), int((differences == -1).sum())
        assert mcnemar(wins, losses) == pytest.approx(exact_sign_flip(differences), rel=1e-12)

    def test_sign_flip_of_bleu_is_sacrebleus_approximate_randomisation(self) -> None:
        """The same statistics, resampled the same way; p-values differ by their draws alone."""
        from sacrebleu.metrics import BLEU
        from sacrebleu.significance import PairedTest

        words = np.array(list("abcdefghijklmnop"))
        generator = np.random.default_rng(5)
        references = [" ".join(generator.choice(words, size=12)) for _ in range(60)]

        def answers(noise: float) -> list[str]:
            texts = [np.array(text.split()) for text in references]
            return [
                " ".join(np.where(generator.random(12) < noise, generator.choice(words, 12), t))
                for t in texts
            ]

        systems = [("one", answers(0.30)), ("two", answers(0.36))]
        scorer = BLEU()
        statistics = [
            np.array(scorer._extract_corpus_statistics(texts, [references]), dtype=float)
            for _, texts in systems
        ]
        ours = float(sign_flip(*statistics, bleu_of, draws=10_000))
        tested = PairedTest(
            systems, {"BLEU": BLEU(references=[references])}, None, test_type="ar", n_samples=10_000
        )
        theirs = tested()[1]["BLEU"]
        assert theirs[0].score == pytest.approx(bleu_of(statistics[0].sum(axis=0)[None])[0])
        assert 0.005 < theirs[1].p_value < 0.5
        assert ours == pytest.approx(theirs[1].p_value, abs=0.02)


def bleu_of(totals: FloatArray) -> FloatArray:
    from harness.evaluators.bleu import Bleu

    return Bleu().score(totals)


class TestBenjaminiHochberg:
    def test_equals_statsmodels(self) -> None:
        from statsmodels.stats.multitest import multipletests

        p = np.random.default_rng(0).random(30) ** 2
        assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])

    @pytest.mark.parametrize(
        ("p_values", "expected"),
        [
            ([], []),
            ([0.03], [0.03]),
            ([0.01, 0.04, 0.03], [0.03, 0.04, 0.04]),
            ([0.02, math.nan, 0.01], [0.02, math.nan, 0.02]),
        ],
    )
    def test_table(self, p_values: list[float], expected: list[float]) -> None:
        assert benjamini_hochberg(p_values).tolist() == pytest.approx(expected, nan_ok=True)

    @settings(deadline=None)
    @given(hnp.arrays(float, st.integers(1, 12), elements=st.floats(0, 1)))
    def test_lies_between_the_p_values_and_holms(self, p: FloatArray) -> None:
        adjusted = benjamini_hochberg(p)
        assert (adjusted >= p).all()
        assert (adjusted <= holm(p) + 1e-12).all()


class TestPower:
    def test_the_smallest_effect_that_250_prompts_show(self) -> None:
        assert smallest_effect(0.5, 250) == pytest.approx(0.0896, abs=5e-5)

    @pytest.mark.parametrize(("sd", "n"), [(0.0, 30), (0.2, 5), (0.2, 1)])
    def test_nothing_is_told_of_no_spread_or_of_too_few_prompts(self, sd: float, n: int) -> None:
        assert math.isnan(smallest_effect(sd, n))
        assert power_of(0.1, sd, n, 1)["smallest_effect"] is None

    def test_a_difference_of_rounding_takes_no_number_of_prompts(self) -> None:
        assert power_of(1e-16, 0.4, 60, 1)["more_prompts"] is None
        assert power_of(1e-3, 0.4, 60, 1)["more_prompts"] is not None

    def test_prompts_are_its_inverse(self) -> None:
        assert prompts_needed(smallest_effect(0.5, 250), 0.5) in (250, 251)
        assert prompts_needed(-0.05, 0.5) == 791
        assert prompts_needed(0.0, 0.5) == math.inf

    @pytest.mark.parametrize(("level", "fewest"), [(0.95, 6), (0.99, 8), (1 - 0.05 / 45, 11)])
    def test_as_many_as_can_show_anything(self, level: float, fewest: int) -> None:
        found = prompts_needed(9.0, 0.0, level=level)
        assert found == max(fewest, math.ceil(NormalDist().inv_cdf((1 + level) / 2) ** 2))
        assert exact_sign_flip(np.ones(fewest - 1, dtype=np.int64)) > 1 - level

    @pytest.mark.parametrize(
        ("shares", "family"),
        [
            ((0.2, 0.1, 0.2, 0.15, 0.35), 1),
            ((0.05, 0.05, 0.1, 0.2, 0.6), 1),
            ((0.05, 0.05, 0.1, 0.2, 0.6), 28),
            ((0.0, 0.0, 0.1, 0.2, 0.7), 28),
            ((0.3, 0.0, 0.0, 0.0, 0.7), 45),
        ],
    )
    def test_are_enough_for_the_exact_test_of_win_rates(self, shares: Sequence[float], family: int) -> None:
        """Prompts worth 0 to 4 quarters; the formula for small differences is far too low for most."""
        generator, worths, alpha = np.random.default_rng(5), np.arange(5) / 4 - 0.5, 0.05 / family
        lead = float(np.dot(worths, shares))
        sd = math.sqrt(np.dot((worths - lead) ** 2, shares))
        n = int(prompts_needed(lead, sd, level=1 - alpha))
        drawn = (4 * generator.choice(worths, p=shares, size=(600, n))).astype(np.int64)
        assert 0.75 < np.mean([exact_sign_flip(units) <= alpha for units in drawn]) < 0.98

    def test_agrees_with_statsmodels(self) -> None:
        from statsmodels.stats.power import TTestPower

        exact = TTestPower().solve_power(effect_size=None, nobs=250, alpha=0.05, power=0.8)
        assert smallest_effect(1.0, 250) == pytest.approx(exact, rel=0.01)

    def test_such_an_effect_is_found_that_often(self) -> None:
        generator = np.random.default_rng(0)
        effect = smallest_effect(0.5, 60, power=0.9)
        found = [paired_t(generator.normal(effect, 0.5, size=60)).p_value < 0.05 for _ in range(1000)]
        assert np.mean(found) == pytest.approx(0.9, abs=0.03)


def better_than(k: int, *pairs: tuple[int, int]) -> np.ndarray:
    better = np.zeros((k, k), dtype=bool)
    for winner, loser in pairs:
        better[winner, loser] = True
    return better


class TestRanks:
    @pytest.mark.parametrize(
        ("k", "pairs", "ranks", "letters"),
        [
            (1, [], [[1, 1]], ["a"]),
            (3, [], [[1, 3], [1, 3], [1, 3]], ["a", "a", "a"]),
            (3, [(0, 1), (0, 2), (1, 2)], [[1, 1], [2, 2], [3, 3]], ["a", "b", "c"]),
            (3, [(0, 2)], [[1, 2], [1, 3], [2, 3]], ["a", "ab", "b"]),
            (4, [(0, 2), (0, 3), (1, 3)], [[1, 2], [1, 3], [2, 4], [3, 4]], ["a", "ab", "bc", "c"]),
        ],
    )
    def test_table(
        self, k: int, pairs: list[tuple[int, int]], ranks: list[list[int]], letters: list[str]
    ) -> None:
        better = better_than(k, *pairs)
        assert rank_intervals(better).tolist() == ranks
        assert groups(better, range(k)) == letters

    def test_letters_start_with_the_best(self) -> None:
        assert groups(better_than(3, (2, 0), (2, 1), (1, 0)), [2, 1, 0]) == ["c", "b", "a"]

    @settings(deadline=None)
    @given(st.integers(1, 7), st.data())
    def test_two_share_a_letter_where_nothing_separates_them(self, k: int, data: st.DataObject) -> None:
        scores = data.draw(st.lists(st.integers(0, 9), min_size=k, max_size=k))
        apart = np.array([[i != j and data.draw(st.booleans()) for j in range(k)] for i in range(k)])
        better = apart & (np.array(scores)[:, None] > np.array(scores))
        order = sorted(range(k), key=lambda player: -scores[player])
        letters = groups(better, order)
        for i, j in itertools.combinations(range(k), 2):
            assert bool(set(letters[i]) & set(letters[j])) == (not better[i, j] and not better[j, i])
        for low, high in rank_intervals(better):
            assert 1 <= low <= high <= k
