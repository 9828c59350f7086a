"""Do 95% intervals cover 93% to 97%, and do corrected tests err once in twenty suites or less?

A thousand suites each, of 50 and of 250 prompts that differ, with ties and a judge who likes the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import pytest
from stats_samples import BiasedJudge, judged_by_length, ratio

from harness.protocols import FloatArray
from harness.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha
from harness.stats.bradley_terry import bradley_terry
from harness.stats.length import LengthPreference, length_adjusted, length_preference
from harness.stats.multiplicity import holm
from harness.stats.paired import paired_t
from harness.stats.proportions import Estimate, wilson
from harness.stats.rates import p_value_of_even, rate
from harness.stats.resampling import bootstrap, paired_bootstrap

pytestmark = pytest.mark.slow

SUITES = 1000
DRAWS = 500
"""Fewer than users have, and with more noise in the ends: coverage is a little lower than theirs."""
Ends = tuple[float, float]
Sizes = pytest.mark.parametrize("n", [50, 250])


def covers(intervals: Iterable[Ends], truth: FloatArray | float) -> FloatArray:
    """The share of intervals that hold the truth; of rows of ends where the truth is several numbers."""
    low, high = np.array(list(intervals)).transpose(1, 0, *range(2, 2 + np.ndim(truth)))
    return ((low <= truth) & (truth <= high)).mean(axis=0)


def holds(coverage: FloatArray) -> bool:
    return bool(np.all((np.asarray(coverage) >= 0.93) & (np.asarray(coverage) <= 0.97)))


def rules(first: FloatArray, second: FloatArray) -> dict[str, FloatArray]:
    """Rule -> worth of each prompt, NaN where it is left out."""
    agree = first == second
    return {
        "average": (first + second) / 2,
        "tie_on_disagreement": np.where(agree, first, 0.5),
        "consistent_only": np.where(agree & (first != 0.5), first, np.nan),
    }


class TestWinRates:
    @Sizes
    @pytest.mark.parametrize("gap", [0.0, 1.0, 1.8])
    @pytest.mark.parametrize("rule", ["average", "tie_on_disagreement", "consistent_only"])
    def test_wilson(self, rule: str, gap: float, n: int) -> None:
        judge, generator = BiasedJudge((gap, 0.0)), np.random.default_rng([n, int(10 * gap)])
        truth = float(np.nanmean(rules(*judge.both_orders(2_000_000, generator))[rule]))
        found = (rate(rules(*judge.both_orders(n, generator))[rule]) for _ in range(SUITES))
        assert holds(covers(((one.low, one.high) for one in found), truth))

    @Sizes
    def test_t_and_bootstrap(self, n: int) -> None:
        judge, generator = BiasedJudge((0.7, 0.0)), np.random.default_rng(n)
        truth = float(np.mean(judge.both_orders(2_000_000, generator)))
        worths = np.mean(judge.both_orders(n * SUITES, generator), axis=0).reshape(n, SUITES)
        students = (rate(column, interval="t") for column in worths.T)
        assert holds(covers(((one.low, one.high) for one in students), truth))
        resampled = bootstrap(np.stack([worths, np.ones_like(worths)], axis=-1), ratio, draws=DRAWS)
        assert holds(covers(zip(resampled.low, resampled.high, strict=True), truth))


class TestScores:
    """Many suites at once, as systems between prompts and statistics."""

    @Sizes
    def test_bootstrap_of_a_mean_and_of_a_ratio(self, n: int) -> None:
        generator = np.random.default_rng(n)
        tokens = np.round(generator.lognormal(4, 0.8, size=(n, SUITES))) + 1
        loss = tokens * generator.normal(2.0, 0.5, size=(n, SUITES))
        per_token = bootstrap(np.stack([loss, tokens], axis=-1), ratio, draws=DRAWS)
        assert holds(covers(zip(per_token.low, per_token.high, strict=True), 2.0))
        score = np.stack([generator.normal(size=(n, SUITES)), np.ones((n, SUITES))], axis=-1)
        mean = bootstrap(score, ratio, draws=DRAWS)
        assert holds(covers(zip(mean.low, mean.high, strict=True), 0.0))

    @Sizes
    def test_differences(self, n: int) -> None:
        """Two systems that share what is hard about a prompt; worths as a judge gives against a third."""
        generator = np.random.default_rng(n)
        judge = BiasedJudge((0.6, 0.2))
        quality = judge.qualities(n * SUITES, generator) + generator.normal(size=(n * SUITES, 1))
        worth = (judge.worths(quality, generator) + 1 - judge.worths(-quality, generator)) / 2
        far = judge.qualities(2_000_000, generator) + generator.normal(size=(2_000_000, 1))
        both = (judge.worths(far, generator) + 1 - judge.worths(-far, generator)) / 2
        truth = float(both[:, 0].mean() - both[:, 1].mean())
        a, b = (
            np.stack([worth[:, side].reshape(n, SUITES), np.ones((n, SUITES))], axis=-1) for side in (0, 1)
        )
        resampled = paired_bootstrap(a, b, ratio, draws=DRAWS)
        assert holds(covers(zip(resampled.low, resampled.high, strict=True), truth))
        students = (paired_t(one - other) for one, other in zip(a[..., 0].T, b[..., 0].T, strict=True))
        assert holds(covers(((found.low, found.high) for found in students), truth))

    @Sizes
    def test_wilson_of_independent_wins(self, n: int) -> None:
        wins = np.random.default_rng(n).binomial(n, 0.7, size=SUITES)
        assert holds(covers((wilson(count, n) for count in wins.tolist()), 0.7))


@Sizes
def test_abilities_and_position(n: int) -> None:
    """The truth is the model that fits endless prompts best, which the ridge hardly moves."""
    judge, generator = BiasedJudge((-0.8, 0.1, 0.7)), np.random.default_rng(n)
    far = bradley_terry(*judge.round_robin(200_000, generator), players=3, draws=0)
    found = [bradley_terry(*judge.round_robin(n, generator), players=3, draws=DRAWS) for _ in range(SUITES)]
    abilities = ((one.low, one.high) for one in found)
    assert holds(covers(abilities, far.value))
    positions = ((one.position_low, one.position_high) for one in found)
    assert holds(covers(positions, far.position))


@pytest.mark.parametrize("between", [0.0, 0.3])
def test_abilities_of_players_trained_three_times(between: float) -> None:
    """Trainings differ by `between` and answer the same prompts; over prompts alone six in ten are covered.

    More than 97% is allowed where trainings do not differ: three cannot tell that.
    """
    judge, n, trials, suites = BiasedJudge((0.0, 0.0, 0.0)), 60, 3, 200
    first, second = np.nonzero(~np.eye(3, dtype=bool))
    abilities = np.array([-0.6, 0.0, 0.6])

    def suite(n: int, trials: int) -> tuple[npt.NDArray[np.int64] | FloatArray, ...]:
        trained = abilities + generator.normal(0, between, size=(trials, 1, 3))
        quality = (
            trained + generator.normal(0, 0.8, size=(n, 3)) + generator.normal(0, 0.3, size=(trials, n, 3))
        )
        worth = judge.worths(quality[..., first] - quality[..., second], generator).ravel()
        trial, prompt, cell = (index.ravel() for index in np.indices((trials, n, len(first))))
        return first[cell], second[cell], worth, prompt, trial

    generator = np.random.default_rng(int(10 * between))
    truth = bradley_terry(*suite(300, 300)[:4], players=3, draws=0).value
    truth = (truth - truth[::-1]) / 2
    found = []
    for _ in range(suites):
        *columns, trial = suite(n, trials)
        found.append(bradley_terry(*columns, players=3, trial=trial, draws=250))
    coverage = covers(((one.low, one.high) for one in found), truth)
    assert coverage.min() > 0.93
    assert coverage.max() < (0.99 if between else 1.0)


def codes(raters: int, n: int, generator: np.random.Generator, agree: float = 0.7) -> npt.NDArray[np.int64]:
    """(raters, n): wins, losses and some ties, by raters who see the truth with probability `agree`."""
    likely = [0.45, 0.45, 0.1]
    truth, guesses = generator.choice(3, size=n, p=likely), generator.choice(3, size=(raters, n), p=likely)
    return np.where(generator.random((raters, n)) < agree, truth, guesses)


def fleiss(ratings: npt.NDArray[np.int64], draws: int) -> Estimate:
    return fleiss_kappa((ratings[..., None] == np.arange(3)).sum(axis=0), draws=draws)


AGREEMENTS: dict[str, tuple[int, Callable[[npt.NDArray[np.int64], int], Estimate]]] = {
    "cohen": (2, lambda ratings, draws: cohen_kappa(*ratings, categories=3, draws=draws)),
    "fleiss": (4, fleiss),
    "krippendorff": (3, lambda ratings, draws: krippendorff_alpha(ratings, draws=draws)),
}


@Sizes
@pytest.mark.parametrize("name", AGREEMENTS)
def test_agreement(name: str, n: int) -> None:
    """All three estimate the same: raters who see the truth with probability 0.7 agree 0.49 beyond chance."""
    raters, coefficient = AGREEMENTS[name]
    generator = np.random.default_rng(n)
    found = (coefficient(codes(raters, n, generator), DRAWS) for _ in range(SUITES))
    assert holds(covers(((one.low, one.high) for one in found), 0.49))


class TestLength:
    """A judge that likes length, and a candidate that is longer, in both orders."""

    @Sizes
    def test_adjusted_rate(self, n: int) -> None:
        generator = np.random.default_rng(n)
        truth = length_adjusted(**judged_by_length(400_000, generator), draws=1).value
        found = (length_adjusted(**judged_by_length(n, generator), draws=DRAWS) for _ in range(SUITES))
        assert holds(covers(((one.low, one.high) for one in found), truth))

    @Sizes
    def test_preference(self, n: int) -> None:
        def preference() -> LengthPreference:
            columns = judged_by_length(n, generator)
            del columns["candidate_first"]
            return length_preference(**columns)

        generator = np.random.default_rng(n)
        far = judged_by_length(400_000, generator)
        longer = far["length_first"] > far["length_second"]
        truth = float(np.where(longer, far["worth"], 1 - far["worth"]).mean())
        found = (preference() for _ in range(SUITES))
        assert holds(covers(((one.low, one.high) for one in found), truth))


@Sizes
def test_ten_equal_candidates_are_told_apart_in_one_suite_of_twenty_at_most(n: int) -> None:
    """All 45 pairs of a suite, judged in both orders, after Holm."""
    generator, suites = np.random.default_rng(n), SUITES // 2
    judge = BiasedJudge((0.0,) * 10)
    a, b = np.triu_indices(10, 1)
    wrong = 0
    for _ in range(suites):
        quality = judge.qualities(n, generator)
        gap = quality[:, a] - quality[:, b]
        worth = (judge.worths(gap, generator) + 1 - judge.worths(-gap, generator)) / 2
        wrong += bool((holm([p_value_of_even(column) for column in worth.T]) < 0.05).any())
    assert 0.005 < wrong / suites <= 0.05
