"""Resampling over prompts, and over seeds and prompts, against closed forms and scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from stats_samples import ratio, sample

from harness.protocols import FloatArray
from harness.stats import resampling
from harness.stats.crossed import Part, Spread, spread
from harness.stats.paired import sign_flip
from harness.stats.proportions import wilson
from harness.stats.resampling import bootstrap, paired_bootstrap, percentile_ends


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


class TestPercentiles:
    @pytest.mark.parametrize(("n", "tail"), [(1, 0.025), (50, 0.02118), (100_000, 0.025)])
    def test_tails_are_those_of_student_for_the_variance_over_n(self, n: int, tail: float) -> None:
        drawn = np.linspace(0, 1, 10_001)
        low, high = percentile_ends(drawn, n)
        assert float(low) == pytest.approx(tail, abs=2e-5)
        assert float(high) == pytest.approx(1 - tail, abs=2e-5)

    def test_a_mean_has_students_interval(self) -> None:
        """The expanded percentiles of a mean of near-normal values are Student's ends."""
        from harness.stats.proportions import t_interval

        values = np.random.default_rng(0).normal(size=12)
        _, low, high = bootstrap(np.stack([values, np.ones(12)], axis=1), ratio, draws=200_000)
        assert (float(low), float(high)) == pytest.approx(t_interval(values), abs=0.04)
