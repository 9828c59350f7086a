"""Bradley-Terry and Elo against other implementations, and against judges whose habits are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging_tables import seen_from
from stats_samples import BiasedJudge

from harness.protocols import FloatArray
from harness.stats.bradley_terry import Abilities, bradley_terry
from harness.stats.elo import elo, to_elo

IntArray = npt.NDArray[np.int64]
Games = tuple[IntArray, IntArray, FloatArray, IntArray]

JOURNALS = np.array([[714, 730, 498, 221], [33, 425, 68, 17], [320, 813, 1072, 142], [284, 276, 325, 188]])
"""Citations of Biometrika, Comm Statist, JASA and JRSS-B (rows are cited): Agresti, Categorical Data
Analysis (2002), page 448."""


def games(n: int = 60, seed: int = 0, abilities: tuple[float, ...] = (-0.6, 0.0, 0.1, 0.9)) -> Games:
    return BiasedJudge(abilities).round_robin(n, np.random.default_rng(seed))


def swapped(data: Games) -> Games:
    first, second, worth, prompt = data
    return second, first, 1 - worth, prompt


def ends(found: Abilities) -> FloatArray:
    return np.stack([found.value, found.low, found.high])


class TestBradleyTerry:
    def test_citations_between_journals(self) -> None:
        cited, citing = np.nonzero(~np.eye(4, dtype=bool))
        counts = JOURNALS[cited, citing]
        wins = np.repeat(cited, counts), np.repeat(citing, counts)
        m = len(wins[0])
        found = bradley_terry(
            *wins, np.ones(m), np.arange(m), players=4, position=False, ridge=0.0, draws=200
        )
        value, error = seen_from(found, 0)
        assert value == pytest.approx([0.0, -2.9491, -0.4796, 0.2690], abs=5e-5)
        assert error == pytest.approx([0.0, 0.1025, 0.0606, 0.0708], abs=5e-5)
        by_resampling = (found.draws - found.draws[:, :1]).std(axis=0, ddof=1)
        assert by_resampling == pytest.approx(error, rel=0.15)

    def test_is_the_binomial_glm_of_statsmodels(self) -> None:
        """With the position as its constant; standard errors too."""
        import statsmodels.api as sm

        first, second, worth, prompt = games()
        design = np.eye(4)[first] - np.eye(4)[second]
        design[:, 0] = 1.0
        fit = sm.GLM(worth, design, family=sm.families.Binomial()).fit(tol=1e-12)
        found = bradley_terry(first, second, worth, prompt, players=4, ridge=0.0, draws=0)
        value, error = seen_from(found, 0)
        assert found.position == pytest.approx(fit.params[0], abs=1e-8)
        assert value[1:] == pytest.approx(fit.params[1:], abs=1e-8)
        assert error[1:] == pytest.approx(fit.bse[1:], abs=1e-6)

    def test_equals_evalica_with_ties_as_half_a_win(self) -> None:
        import evalica

        first, second, worth, prompt = games()
        kind = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}
        theirs = evalica.bradley_terry(
            first.tolist(), second.tolist(), [kind[w] for w in worth.tolist()], tolerance=1e-12, limit=10_000
        ).scores
        logits = np.log([theirs[player] for player in range(4)])
        found = bradley_terry(first, second, worth, prompt, players=4, position=False, ridge=0.0, draws=0)
        assert found.value == pytest.approx(logits - logits.mean(), abs=1e-5)

    def test_the_ridge_is_that_of_its_definition(self) -> None:
        from scipy.optimize import minimize

        first, second, worth, prompt = games(n=8)

        def loss(x: FloatArray) -> float:
            logits = x[first] - x[second] + x[4]
            return float((np.logaddexp(0, logits) - worth * logits).sum() + 0.7 / 2 * (x**2).sum())

        expected = minimize(loss, np.zeros(5), tol=1e-12).x
        found = bradley_terry(first, second, worth, prompt, players=4, ridge=0.7, draws=0)
        assert [*found.value, found.position] == pytest.approx(expected, abs=1e-5)

    def test_resamples_are_refitted(self) -> None:
        """Each draw is the fit to the judgments of the prompts that it drew, as often as it drew them."""
        from harness.stats.resampling import resampled_weights

        first, second, worth, prompt = games(n=12)
        found = bradley_terry(first, second, worth, prompt, players=4, draws=3, seed=7)
        (weights,) = resampled_weights(12, draws=3, seed=7)
        for row, counts in zip(found.draws, weights, strict=True):
            often = np.repeat(np.arange(len(worth)), counts[prompt].astype(int))
            again = bradley_terry(
                first[often], second[often], worth[often], prompt[often], players=4, draws=0
            )
            assert row == pytest.approx(again.value, abs=1e-7)

    def test_prompts_are_the_unit(self) -> None:
        """Asking everything four times makes nothing more certain, and one prompt in all knows no spread."""
        data = games()
        once = bradley_terry(*data, players=4, ridge=0.0)
        often = bradley_terry(*(np.tile(column, 4) for column in data), players=4, ridge=0.0)
        np.testing.assert_allclose(ends(often), ends(once), atol=1e-7)

    def test_a_position_bias_is_found_and_taken_off(self) -> None:
        judge = BiasedJudge((0.0, 0.0, 0.0), position=1.0)
        found = bradley_terry(*judge.round_robin(400, np.random.default_rng(1)), players=3)
        assert 0.5 < found.position_low < found.position < found.position_high < 1.2
        assert np.abs(found.value).max() < 0.2
        without = bradley_terry(*judge.round_robin(40, np.random.default_rng(1)), players=3, position=False)
        assert without.position == 0.0
        assert math.isnan(without.position_low)

    @settings(deadline=None, max_examples=25)
    @given(st.integers(0, 10_000), st.permutations(range(4)))
    def test_names_sides_and_the_order_of_prompts_mean_nothing(self, seed: int, names: list[int]) -> None:
        data = games(n=9, seed=seed)
        found = bradley_terry(*data, players=4, draws=30)
        mirrored = bradley_terry(*swapped(data), players=4, draws=30)
        np.testing.assert_allclose(ends(mirrored), ends(found), atol=1e-7)
        assert mirrored.position == pytest.approx(-found.position, abs=1e-7)
        renamed = np.array(names)
        first, second, worth, prompt = data
        other = bradley_terry(renamed[first], renamed[second], worth, prompt, players=4, draws=30)
        np.testing.assert_allclose(ends(other)[:, renamed], ends(found), atol=1e-7)
        shuffled = np.random.default_rng(seed).permutation(len(worth))
        again = bradley_terry(*(column[shuffled] for column in data), players=4, draws=30)
        np.testing.assert_allclose(ends(again), ends(found), atol=1e-7)

    def test_all_ties_are_all_alike(self) -> None:
        first, second, worth, prompt = games(n=5)
        found = bradley_terry(first, second, np.full(len(worth), 0.5), prompt, players=4, draws=20)
        assert np.abs(found.value).max() == found.position == 0.0
        assert found.high.min() > 0.5
        np.testing.assert_allclose(found.low, -found.high)
        assert (found.position_low, found.position_high) == pytest.approx(
            (-found.position_high, math.log(0.717 / 0.283)), abs=0.01
        )

    @pytest.mark.parametrize(("n", "at_least"), [(1, -1.4), (30, 2.0), (50, 2.5)])
    def test_a_judge_that_only_says_first_is_not_known_for_certain(self, n: int, at_least: float) -> None:
        """All resamples are alike: what is left is how many other prompts there may be."""
        once = np.zeros(n, dtype=int)
        first, second = np.concatenate([once, once + 1]), np.concatenate([once + 1, once])
        found = bradley_terry(first, second, np.ones(2 * n), np.tile(np.arange(n), 2), players=2)
        assert at_least < found.position_low < at_least + 0.2
        assert found.position_low < found.position <= found.position_high
        assert (found.high - found.low).min() > 0.2

    def test_what_no_judgment_puts_an_end_to(self) -> None:
        """0 always beats 1 and 2, who beat each other; nobody met 3 and 4, who beat each other."""
        first, second = np.array([0, 0, 1, 2, 3, 4]), np.array([1, 2, 2, 1, 4, 3])
        ones, below, above = np.ones(6), [True, False, False], [False, True, True]
        met = bradley_terry(first[:4], second[:4], ones[:4], np.arange(4), players=3, position=False)
        assert (met.bounded_below.tolist(), met.bounded_above.tolist()) == (below, above)
        apart = bradley_terry(first, second, ones, np.arange(6), players=5, position=False)
        assert not apart.bounded_below.any()
        assert not apart.bounded_above.any()

    def test_who_always_wins_stays_finite_and_uncertain(self) -> None:
        first, second, worth, prompt = games(abilities=(0.0, 0.0, 0.0, 40.0))
        found = bradley_terry(first, second, worth, prompt, players=4)
        assert not found.bounded
        assert 4 < found.value[3] < 12
        assert found.high[3] - found.low[3] > 4
        assert found.high[0] - found.low[0] > 1
        with pytest.raises(ValueError, match="always win or never meet"):
            bradley_terry(first, second, worth, prompt, players=4, ridge=0.0)

    def test_players_that_never_meet(self) -> None:
        """Two islands: the ridge alone sets them side by side, and says so."""
        first, second = np.tile([0, 2], 40), np.tile([1, 3], 40)
        worth = np.tile([1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 10)
        found = bradley_terry(first, second, worth, np.arange(80), players=4, position=False)
        assert not found.bounded
        assert (found.high - found.low).min() > 10
        with pytest.raises(ValueError, match="never meet"):
            bradley_terry(first, second, worth, np.arange(80), players=4, position=False, ridge=0.0)

    @pytest.mark.parametrize("worth", [[], [1.5], [math.nan]])
    def test_refuses_what_is_no_worth(self, worth: list[float]) -> None:
        with pytest.raises(ValueError, match=r"in 0\.\.1"):
            bradley_terry([0] * len(worth), [1] * len(worth), worth, [0] * len(worth), players=2)

    def test_resamples_without_an_estimate_are_left_out(self) -> None:
        """One loss in 60: a third of the resamples has none, and a ridge of 0 no ability for them."""
        worth = np.array([0.0] + [1.0] * 59)
        zeros, ones = np.zeros(60, dtype=int), np.ones(60, dtype=int)
        found = bradley_terry(zeros, ones, worth, np.arange(60), players=2, position=False, ridge=0.0)
        assert 0.2 < np.isnan(found.draws).any(axis=1).mean() < 0.5
        assert np.isnan(found.low).all()
        assert found.value == pytest.approx([math.log(59) / 2, -math.log(59) / 2])


class TestSeveralTrials:
    def test_trainings_that_differ_widen_the_interval(self) -> None:
        generator = np.random.default_rng(2)
        trainings = [BiasedJudge((-0.5, 0.0, shift)).round_robin(60, generator) for shift in (-0.5, 0.5, 1.5)]
        data = tuple(np.concatenate(columns) for columns in zip(*trainings, strict=True))
        trial = np.repeat([0, 1, 2], len(trainings[0][0]))
        prompts_alone = bradley_terry(*data, players=3)
        both = bradley_terry(*data, players=3, trial=trial)
        np.testing.assert_array_equal(both.value, prompts_alone.value)
        widths = (both.high - both.low) / (prompts_alone.high - prompts_alone.low)
        assert widths[2] > 3

    def test_trainings_that_are_alike_hardly_widen_it(self) -> None:
        generator = np.random.default_rng(3)
        judge = BiasedJudge((-0.5, 0.0, 0.5))
        trainings = [judge.round_robin(100, generator) for _ in range(5)]
        data = tuple(np.concatenate(columns) for columns in zip(*trainings, strict=True))
        both = bradley_terry(*data, players=3, trial=np.repeat(np.arange(5), len(trainings[0][0])))
        alone = bradley_terry(*data, players=3)
        assert ((both.high - both.low) / (alone.high - alone.low)).max() < 2

    def test_a_training_that_lacks_a_player_is_not_set_against_the_others(self) -> None:
        first, second, worth, prompt = games()
        trial = np.where((first == 3) | (second == 3), 1, 0)
        found = bradley_terry(first, second, worth, prompt, players=4, trial=trial)
        np.testing.assert_array_equal(
            ends(found), ends(bradley_terry(first, second, worth, prompt, players=4))
        )

    @pytest.mark.parametrize("draws", [0, 20])
    def test_one_prompt_or_no_resamples(self, draws: int) -> None:
        first, second, worth, prompt = games(n=1)
        trial = np.arange(len(worth)) % 2
        found = bradley_terry(first, second, worth, prompt, players=4, trial=trial, draws=draws)
        assert np.isfinite(found.value).all()
        assert len(found.draws) == draws


class TestElo:
    def test_the_mean_over_all_orders(self) -> None:
        """Against every order of six games, one by one."""
        first, second = [0, 1, 2, 0, 2, 1], [1, 2, 0, 2, 1, 0]
        worth = [1.0, 0.5, 0.0, 1.0, 1.0, 0.0]
        expected = np.zeros(3)
        for order in itertools.permutations(range(6)):
            ratings = [1000.0] * 3
            for game in order:
                one, other = first[game], second[game]
                gain = 32 * (worth[game] - 1 / (1 + 10 ** ((ratings[other] - ratings[one]) / 400)))
                ratings[one] += gain
                ratings[other] -= gain
            expected += np.array(ratings) / math.factorial(6)
        found = elo(np.array(first), np.array(second), np.array(worth), players=3, k=32, orders=20_000)
        assert found == pytest.approx(expected, abs=0.05)

    def test_equals_evalica(self) -> None:
        """Games that are all alike, so that their order means nothing."""
        import evalica

        for winner, worth in ((evalica.Winner.X, 1.0), (evalica.Winner.Draw, 0.5)):
            theirs = evalica.elo(["a"] * 50, ["b"] * 50, [winner] * 50, k=16).scores
            zeros = np.zeros(50, dtype=np.int64)
            ours = elo(zeros, zeros + 1, np.full(50, worth), players=2, k=16, orders=3)
            assert ours == pytest.approx([theirs["a"], theirs["b"]], rel=1e-9)

    def test_the_scale(self) -> None:
        assert to_elo([0.0, math.log(10)], centre=1000.0) == pytest.approx([1000.0, 1400.0])

    def test_points_are_neither_made_nor_lost(self) -> None:
        first, second, worth, _ = games(n=5)
        assert elo(first, second, worth, players=6, orders=10).sum() == pytest.approx(6000.0)
