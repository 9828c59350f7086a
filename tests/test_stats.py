"""Statistics against closed forms, scipy and published figures."""

from __future__ import annotations

import csv
import gzip
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.protocols import FloatArray
from harness.records import Choice
from harness.stats import resampling
from harness.stats.crossed import Part, Spread, spread
from harness.stats.multiplicity import holm
from harness.stats.paired import sign_flip
from harness.stats.pairwise import (
    FIRST,
    SECOND,
    TIE,
    UNPARSED,
    WinRate,
    aggregate,
    encode,
    p_value_of_even,
)
from harness.stats.proportions import binomial_p_value, wilson
from harness.stats.resampling import bootstrap, paired_bootstrap


def ratio(totals: FloatArray) -> FloatArray:
    return totals[:, 0] / totals[:, 1]


def sample(n: int, seed: int = 0, shift: float = 0.0) -> FloatArray:
    """(n, 2): a token-weighted mean whose per-prompt value is lognormal."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(5, 60, size=n).astype(float)
    return np.stack([tokens * generator.lognormal(shift, 0.5, size=n), tokens], axis=1)


class TestBootstrap:
    def test_agrees_with_scipy(self) -> None:
        from scipy import stats

        data = sample(200)
        ours = bootstrap(data, ratio, draws=20_000)
        theirs = stats.bootstrap(
            (data[:, 0], data[:, 1]),
            lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
            paired=True,
            vectorized=True,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        width = theirs.high - theirs.low
        assert ours.value == pytest.approx(data[:, 0].sum() / data[:, 1].sum(), rel=1e-12)
        assert abs(ours.low - theirs.low) < 0.03 * width
        assert abs(ours.high - theirs.high) < 0.03 * width

    def test_paired_difference_agrees_with_scipy(self) -> None:
        from scipy import stats

        a, b = sample(150, seed=1), sample(150, seed=2, shift=0.1)
        ours = paired_bootstrap(a, b, ratio, draws=20_000)
        theirs = stats.bootstrap(
            (a[:, 0], a[:, 1], b[:, 0], b[:, 1]),
            lambda p, q, r, s, axis: p.sum(axis) / q.sum(axis) - r.sum(axis) / s.sum(axis),
            paired=True,
            vectorized=True,
            n_resamples=20_000,
            method="percentile",
            rng=np.random.default_rng(1),
        ).confidence_interval
        width = theirs.high - theirs.low
        assert abs(ours.low - theirs.low) < 0.03 * width
        assert abs(ours.high - theirs.high) < 0.03 * width

    def test_systems_in_between_axes_equal_one_by_one(self) -> None:
        systems = [sample(40, seed=seed) for seed in range(3)]
        together = bootstrap(np.stack(systems, axis=1), ratio)
        for index, system in enumerate(systems):
            alone = bootstrap(system, ratio)
            assert [end[index] for end in together] == pytest.approx([float(end) for end in alone], rel=1e-12)

    def test_paired_uses_the_draws_of_the_unpaired(self) -> None:
        a = sample(30)
        assert [float(x) for x in paired_bootstrap(a, a, ratio)] == [0.0, 0.0, 0.0]
        constant = np.stack([np.zeros(30), np.ones(30)], axis=1)
        np.testing.assert_allclose(paired_bootstrap(a, constant, ratio), bootstrap(a, ratio), rtol=1e-12)

    def test_block_size_does_not_change_the_draws(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = sample(37), sample(37, seed=5, shift=0.1)
        whole = bootstrap(a, ratio), sign_flip(a, b, ratio)
        monkeypatch.setattr(resampling, "BLOCK_BYTES", 37 * 8 * 7)
        np.testing.assert_allclose(bootstrap(a, ratio), whole[0], rtol=1e-12)
        assert sign_flip(a, b, ratio) == whole[1]

    @pytest.mark.parametrize("n", [1, 20])
    def test_constant_data_has_width_zero(self, n: int) -> None:
        interval = bootstrap(np.tile([3.0, 4.0], (n, 1)), ratio)
        assert [float(end) for end in interval] == [0.75, 0.75, 0.75]

    def test_undefined_draws(self) -> None:
        half_empty = np.array([[1.0, 2.0], [0.0, 0.0]])  # 0/0 in a quarter of the resamples
        interval = bootstrap(half_empty, ratio)
        assert interval.value == 0.5
        assert np.isnan([interval.low, interval.high]).all()
        rarely = np.concatenate([np.tile([1.0, 2.0], (4, 1)), [[0.0, 0.0]]])  # in 1 of 3,125
        assert [float(end) for end in bootstrap(rarely, ratio)] == [0.5, 0.5, 0.5]

    @pytest.mark.parametrize("bad", [np.empty((0, 2)), np.array([[1.0, math.nan]])])
    def test_refuses_what_it_cannot_resample(self, bad: FloatArray) -> None:
        with pytest.raises(ValueError, match=r"no prompts|finite"):
            bootstrap(bad, ratio)

    def test_coverage(self) -> None:
        truth = math.exp(0.5**2 / 2)
        intervals = [bootstrap(sample(100, seed=seed), ratio, draws=1000) for seed in range(600)]
        covered = np.mean([low <= truth <= high for _, low, high in intervals])
        assert 0.915 < covered < 0.97


def crossed(seeds: int, between: float, generator: np.random.Generator, n: int = 100) -> FloatArray:
    """(seeds, n, 2): trials of a token-weighted mean of 2.

    `between` is the standard deviation between seeds, relative to the standard error over prompts.
    """
    tokens = generator.integers(20, 40, size=n).astype(float)
    prompts, both = generator.normal(0, 0.5, size=n), generator.normal(0, 0.25, size=(seeds, n))
    trials = 2 + prompts + generator.normal(0, between * 0.5 / math.sqrt(n), size=(seeds, 1)) + both
    return np.stack([trials * tokens, np.broadcast_to(tokens, (seeds, n))], axis=-1)


def pooled(trials: FloatArray) -> float:
    return float(ratio(trials.sum(axis=(0, 1))[None])[0])


class TestCrossed:
    @pytest.mark.slow
    @pytest.mark.parametrize("seeds", [2, 3, 5])
    @pytest.mark.parametrize("between", [0.0, 1.0, 3.0, 10.0])
    def test_coverage(self, seeds: int, between: float) -> None:
        """Of a score, and of a difference to base, which has one trial."""
        generator = np.random.default_rng([seeds, int(between)])
        covered, rejected, worlds = 0, 0, 1000
        for _ in range(worlds):
            trials, base = crossed(seeds, between, generator), crossed(1, 0.0, generator)
            low, high = spread([trials], ratio, draws=400).interval(pooled(trials))
            covered += low <= 2 <= high
            apart = spread([trials, base], ratio, draws=400)
            rejected += apart.p_value(pooled(trials) - pooled(base)) < 0.05
        assert 0.93 < covered / worlds < 0.99
        assert 0.01 < rejected / worlds < 0.07

    def test_resampled_seeds_would_cover_too_little(self) -> None:
        """Why seeds are not drawn: of 3 that differ, such intervals miss one time in eight or more."""
        generator = np.random.default_rng(0)
        ours = drawn = 0
        for _ in range(300):
            trials = crossed(3, 3.0, generator)
            low, high = spread([trials], ratio, draws=300).interval(pooled(trials))
            ours += low <= 2 <= high
            low, high = np.quantile(pigeonhole(trials, 300, generator), [0.025, 0.975])
            drawn += low <= 2 <= high
        assert ours / 300 > 0.93
        assert drawn / 300 < 0.90

    def test_one_trial_each_is_the_variance_over_prompts(self) -> None:
        a, b = sample(80, seed=1), sample(80, seed=2)
        found = spread([a[None], b[None]], ratio, draws=20_000)
        value, low, high = paired_bootstrap(a, b, ratio, draws=20_000)
        assert [part.degrees_of_freedom for part in found.parts] == [79]
        assert found.interval(float(value)) == pytest.approx((float(low), float(high)), abs=0.05)

    def test_parts_are_those_of_obuchowski_and_rockette(self) -> None:
        """Plain means, where the covariance over prompts has a closed form."""
        generator = np.random.default_rng(3)
        values = generator.normal(size=(3, 400)) + generator.normal(size=400)
        trials = np.stack([values, np.ones_like(values)], axis=-1)
        prompts, between = spread([trials], ratio, draws=20_000).parts
        covariance = np.cov(values) / 400
        shared = (covariance.sum() - np.trace(covariance)) / 6
        assert prompts.variance == pytest.approx(shared, rel=0.05)
        assert between.variance == pytest.approx(values.mean(axis=1).var(ddof=1) / 3)
        assert (prompts.degrees_of_freedom, between.degrees_of_freedom) == (399, 2)

    @pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
    def test_p_value_and_interval_agree(self, level: float) -> None:
        found = Spread((Part(0.3, 99), Part(0.2, 1)))
        low, high = found.interval(1.0, level)
        assert found.p_value(1.0 - low) == pytest.approx(1 - level, rel=1e-6)
        assert high - 1.0 == pytest.approx(1.0 - low)

    def test_with_one_part_it_is_students_t(self) -> None:
        from scipy import stats

        found = Spread((Part(0.25, 4),))
        assert found.p_value(1.1) == pytest.approx(2 * stats.t.sf(1.1 / 0.5, 4), rel=1e-9)
        assert found.interval(3.0)[1] == pytest.approx(3.0 + 0.5 * stats.t.ppf(0.975, 4), rel=1e-9)

    @pytest.mark.parametrize(("share", "most"), [(0.5, math.inf), (0.98, math.inf), (0.02, 40)])
    def test_a_share_stays_one(self, share: float, most: float) -> None:
        low, high = Spread((Part(1e-4, 39), Part(0.01, 1))).share_interval(share, most=most)
        assert 0 <= low < share < high <= 1

    def test_a_share_is_worth_no_more_than_its_examples(self) -> None:
        nearly_sure = Spread((Part(1e-9, 39),))
        assert nearly_sure.share_interval(0.5, most=40) == pytest.approx(wilson(20, 40), abs=0.01)
        assert Spread((Part(0.0, 39),)).share_interval(1.0, most=40) == wilson(40, 40)
        assert Spread((Part(0.0, 39),)).share_interval(1.0) == (1.0, 1.0)

    def test_what_is_undefined_stays_so(self) -> None:
        trials = np.tile([[1.0, 2.0], [0.0, 0.0]], (2, 1, 1))
        found = spread([trials], ratio)
        assert all(math.isnan(end) for end in found.interval(0.5))
        assert math.isnan(found.p_value(0.5))


def pigeonhole(trials: FloatArray, draws: int, generator: np.random.Generator) -> FloatArray:
    """(draws,): scores when both seeds and prompts are drawn with replacement (Owen 2007)."""
    seeds, n, _ = trials.shape
    of_seeds = generator.multinomial(seeds, [1 / seeds] * seeds, size=draws)
    of_prompts = generator.multinomial(n, [1 / n] * n, size=draws)
    return ratio(np.einsum("ds,dn,snk->dk", of_seeds, of_prompts, trials, optimize=True))


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
        assert p_value_of_even(np.array([1.0] * 8 + [0.0] * 2)) == binomial_p_value(8, 2)
        assert p_value_of_even(np.full(30, 0.5)) == 1.0
        assert p_value_of_even(np.array([0.75] * 6)) == 2 / 2**6
        assert math.isnan(p_value_of_even(np.array([])))


VERDICTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


class TestPairwise:
    def test_a_judge_that_always_says_first(self) -> None:
        rate = aggregate(np.full(20, FIRST), np.full(20, FIRST))
        assert rate.average.value == rate.tie_on_disagreement.value == 0.5
        assert rate.consistent_only.n == 0
        assert math.isnan(rate.consistent_only.value)
        assert (rate.consistency, rate.flips_to_first, rate.flips_to_second) == (0.0, 1.0, 0.0)
        assert rate.p_value == 1.0
        assert rate.position_p_value < 0.001

    def test_identical_answers_tie(self) -> None:
        rate = aggregate(np.full(20, TIE), np.full(20, TIE))
        assert (rate.average.value, rate.consistency, rate.consistent_ties) == (0.5, 1.0, 1.0)
        assert rate.consistent_only.n == 0
        assert rate.p_value == 1.0

    def test_a_clear_winner_has_wilson_intervals(self) -> None:
        rate = aggregate(np.full(30, FIRST), np.full(30, SECOND))
        for rule in (rate.average, rate.tie_on_disagreement, rate.consistent_only):
            assert (rule.value, rule.n) == (1.0, 30)
            assert (rule.low, rule.high) == wilson(30, 30)
        assert rate.p_value == 2 / 2**30

    @pytest.mark.parametrize(
        ("candidate_first", "opponent_first", "average", "tie_rule", "consistent"),
        [
            (FIRST, SECOND, 1.0, 1.0, 1.0),
            (SECOND, FIRST, 0.0, 0.0, 0.0),
            (FIRST, FIRST, 0.5, 0.5, None),
            (SECOND, SECOND, 0.5, 0.5, None),
            (FIRST, TIE, 0.75, 0.5, None),
            (TIE, FIRST, 0.25, 0.5, None),
            (TIE, TIE, 0.5, 0.5, None),
        ],
    )
    def test_one_pair(
        self,
        candidate_first: int,
        opponent_first: int,
        average: float,
        tie_rule: float,
        consistent: float | None,
    ) -> None:
        rate = aggregate(np.array([candidate_first]), np.array([opponent_first]))
        assert (rate.average.value, rate.tie_on_disagreement.value) == (average, tie_rule)
        assert rate.consistent_only.n == (0 if consistent is None else 1)
        if consistent is not None:
            assert rate.consistent_only.value == consistent

    def test_unparsed_is_counted_not_guessed(self) -> None:
        first = np.array([FIRST, FIRST, UNPARSED, UNPARSED])
        second = np.array([SECOND, UNPARSED, FIRST, UNPARSED])
        rate = aggregate(first, second)
        assert (rate.average.value, rate.average.n) == (1.0, 1)
        assert (rate.pairs, rate.incomplete) == (1, 3)
        assert (rate.unparsed_candidate_first, rate.unparsed_opponent_first) == (0.5, 0.5)

    def test_nothing_parsed(self) -> None:
        rate = aggregate(np.full(3, UNPARSED), np.full(3, UNPARSED))
        assert rate.pairs == rate.average.n == 0
        assert math.isnan(rate.average.value)
        assert math.isnan(rate.consistency)
        assert math.isnan(rate.p_value)

    def test_seeds_of_a_prompt_are_one_observation(self) -> None:
        one = aggregate(np.array([FIRST, SECOND, TIE] * 8), np.array([SECOND, SECOND, FIRST] * 8))
        three = aggregate(
            np.tile([FIRST, SECOND, TIE] * 8, (3, 1)), np.tile([SECOND, SECOND, FIRST] * 8, (3, 1))
        )
        assert (three.average.value, three.average.n) == (one.average.value, one.average.n)
        ends = (three.average.low, three.average.high)
        assert ends == pytest.approx((one.average.low, one.average.high), abs=0.03)
        assert three.p_value == pytest.approx(one.p_value, abs=0.02)
        assert three.pairs == 3 * one.pairs
        assert three.position_p_value == one.position_p_value

    def test_seeds_that_differ_widen_the_interval(self) -> None:
        """One seed wins 3 of 4, the other loses 3 of 4: over prompts alone this would be a sure draw."""
        one, other = np.array([FIRST] * 30 + [SECOND] * 10), np.array([SECOND] * 30 + [FIRST] * 10)
        mirrored = {FIRST: SECOND, SECOND: FIRST}

        def turned(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return np.array([mirrored[int(code)] for code in codes])

        both = np.stack([one, other])
        apart = aggregate(both, np.stack([turned(one), turned(other)]))
        assert apart.average.value == 0.5
        assert 0 <= apart.average.low < 0.1
        assert 0.9 < apart.average.high <= 1

    def test_a_lead_of_one_seed_alone_is_no_lead(self) -> None:
        """Of two seeds, one wins nearly always and one half of the time."""
        first = np.stack([np.tile([FIRST], 60), np.tile([FIRST, SECOND], 30)])
        second = np.stack([np.tile([SECOND], 60), np.tile([SECOND, FIRST], 30)])
        alone = aggregate(first[0], second[0])
        together = aggregate(first, second)
        assert alone.p_value < 0.001
        assert together.average.value == 0.75
        assert together.p_value > 0.05
        assert together.average.low < 0.5

    def test_a_prompt_flips_once_for_the_side_of_most_of_its_seeds(self) -> None:
        """By prompt: to first in 3, 2 and 2 of 3 seeds; as often to either side; to second; never."""
        both_orders = [
            [FIRST, FIRST, FIRST, FIRST, SECOND, TIE],
            [FIRST, FIRST, FIRST, SECOND, SECOND, TIE],
            [FIRST, SECOND, TIE, TIE, SECOND, TIE],
        ]
        rate = aggregate(np.array(both_orders), np.array(both_orders))
        assert rate.position_p_value == binomial_p_value(3, 1)

    @settings(deadline=None)
    @given(VERDICTS)
    def test_the_opponents_view_is_the_mirror_image(self, verdicts: list[tuple[int, int]]) -> None:
        first, second = (np.array(column) for column in zip(*verdicts, strict=True))
        ours, theirs = aggregate(first, second), aggregate(second, first)
        for rule in ("average", "tie_on_disagreement", "consistent_only"):
            a, b = getattr(ours, rule), getattr(theirs, rule)
            assert a.n == b.n
            assert a.value == pytest.approx(1 - b.value, nan_ok=True)
            assert (a.low, a.high) == pytest.approx((1 - b.high, 1 - b.low), nan_ok=True)
            if a.n:
                assert a.low - 1e-12 <= a.value <= a.high + 1e-12
        assert ours.p_value == pytest.approx(theirs.p_value, nan_ok=True)
        shares = ours.consistency + ours.flips_to_first + ours.flips_to_second + ours.win_tie
        assert shares == pytest.approx(1.0) or ours.pairs == 0

    def test_encode(self) -> None:
        assert encode(["first", "second", "tie", "unparsed"]).tolist() == [FIRST, SECOND, TIE, UNPARSED]


Verdicts = dict[tuple[str, str, str], Choice]


@pytest.fixture(scope="module")
def published(shared: Path) -> Verdicts:
    """(example, shown first, shown second) -> GPT-4's verdict on QLoRA's eight systems."""
    with gzip.open(shared / "oracles" / "qlora_vicuna_pairwise.csv.gz", "rt") as file:
        return {
            (row["example_id"], row["first"], row["second"]): row["verdict"] for row in csv.DictReader(file)
        }


def both_orders(verdicts: Verdicts, chosen: list[tuple[str, str, str]]) -> WinRate:
    return aggregate(
        encode([verdicts[key] for key in chosen]), encode([verdicts[i, b, a] for i, a, b in chosen])
    )


class TestPublishedVerdicts:
    """The figures of oracles/README.md."""

    def test_guanaco_against_chatgpt(self, published: Verdicts) -> None:
        rate = both_orders(published, [key for key in published if key[1:] == ("65b-guanaco", "gpt35")])
        assert rate.average.value == pytest.approx(0.541, abs=5e-4)
        assert rate.tie_on_disagreement.value == pytest.approx(0.512, abs=5e-4)
        assert rate.consistent_only.value == pytest.approx(0.528, abs=5e-4)
        assert rate.consistent_only.n == 36

    def test_order_swaps(self, published: Verdicts) -> None:
        rate = both_orders(published, [key for key in published if key[1] < key[2]])
        assert rate.pairs == 2227
        assert rate.consistency - rate.consistent_ties == pytest.approx(0.571, abs=5e-4)
        assert rate.consistent_ties == pytest.approx(0.043, abs=5e-4)
        assert rate.flips_to_first == pytest.approx(0.196, abs=5e-4)
        assert rate.flips_to_second == pytest.approx(0.009, abs=5e-4)
        assert rate.win_tie == pytest.approx(0.181, abs=5e-4)
