"""Win rates by three rules with their diagnostics, and what length has to do with them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stats_samples import judged_by_length

from harness.protocols import FloatArray
from harness.stats.length import length_adjusted, length_preference
from harness.stats.pairwise import FIRST, RULES, SECOND, TIE, UNPARSED, aggregate, encode
from harness.stats.proportions import binomial_p_value, wilson
from harness.stats.rates import p_value_of_even, rate
from harness.stats.separation import Separation

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
        for rule in RULES:
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

    @settings(deadline=None, max_examples=30)
    @given(VERDICTS, st.randoms(use_true_random=False))
    def test_the_order_of_the_prompts_means_nothing(
        self, verdicts: list[tuple[int, int]], random: Random
    ) -> None:
        shuffled = random.sample(verdicts, len(verdicts))
        ours, theirs = (
            asdict(aggregate(*(np.array(column) for column in zip(*pairs, strict=True))))
            for pairs in (verdicts, shuffled)
        )
        rules = [ours.pop(rule) for rule in RULES], [theirs.pop(rule) for rule in RULES]
        assert ours == pytest.approx(theirs, nan_ok=True)
        for one, other in zip(*rules, strict=True):
            assert one == pytest.approx(other, nan_ok=True)


class TestPreferences:
    def test_only_the_average_is_soft(self) -> None:
        """Shown first the candidate is preferred by 0.9, shown second its opponent by 0.8."""
        rate = aggregate(
            np.array([FIRST]),
            np.array([FIRST]),
            preference_first=np.array([0.9]),
            preference_second=np.array([0.8]),
        )
        assert rate.average.value == pytest.approx((0.9 + 0.2) / 2)
        assert rate.tie_on_disagreement.value == 0.5
        assert (rate.consistent_only.n, rate.flips_to_first) == (0, 1.0)

    def test_where_there_is_none_the_choice_counts(self) -> None:
        first, second = np.array([FIRST, SECOND, TIE]), np.array([SECOND, SECOND, TIE])
        hard = aggregate(first, second)
        unsaid = np.full(3, math.nan)
        assert aggregate(first, second, preference_first=unsaid, preference_second=unsaid) == hard
        said = aggregate(first, second, preference_first=np.array([1.0, math.nan, 0.5]))
        assert said == hard

    def test_of_an_unparsed_pair_it_means_nothing(self) -> None:
        rate = aggregate(
            np.array([UNPARSED, FIRST]), np.array([SECOND, SECOND]), preference_first=np.array([0.1, 1.0])
        )
        assert (rate.average.value, rate.average.n) == (1.0, 1)


class TestKappaBetweenOrders:
    @pytest.mark.parametrize(
        ("first", "second", "kappa"),
        [
            ([FIRST, SECOND, TIE], [SECOND, FIRST, TIE], 1.0),
            ([FIRST, SECOND], [FIRST, SECOND], -1.0),
            ([FIRST, FIRST, SECOND, SECOND], [SECOND, FIRST, FIRST, SECOND], 0.0),
            ([FIRST, SECOND, UNPARSED], [SECOND, FIRST, FIRST], 1.0),
            ([FIRST, FIRST], [SECOND, SECOND], math.nan),
            ([UNPARSED], [FIRST], math.nan),
        ],
    )
    def test_table(self, first: list[int], second: list[int], kappa: float) -> None:
        assert aggregate(np.array(first), np.array(second)).kappa == pytest.approx(kappa, nan_ok=True)


class TestRate:
    def test_intervals(self) -> None:
        worths = np.array([0.0, 0.25, 0.5, 0.75, 1.0] * 20)
        by_method = {method: rate(worths, interval=method) for method in ("wilson", "t", "bootstrap")}
        assert {found.value for found in by_method.values()} == {0.5}
        for found in by_method.values():
            assert (found.low, found.high) == pytest.approx((0.43, 0.57), abs=0.005)

    def test_bootstrap_and_t_know_nothing_where_all_are_alike(self) -> None:
        assert rate(np.ones(30), interval="t").low == rate(np.ones(30), interval="bootstrap").low == 1.0
        assert rate(np.ones(30)).low == wilson(30, 30)[0]

    def test_all_ties_are_half_of_all(self) -> None:
        found = aggregate(np.full(250, TIE), np.full(250, TIE))
        assert (found.average.value, found.p_value) == (0.5, 1.0)
        assert found.average.low == pytest.approx(0.492, abs=5e-4)
        assert found.average.high == pytest.approx(0.508, abs=5e-4)

    def test_seeds_that_are_all_alike_are_no_proof(self) -> None:
        found = rate(np.full((3, 40), 0.5))
        assert found.low < 0.5 < found.high

    def test_p_values_go_below_one_in_the_draws(self) -> None:
        assert p_value_of_even(np.array([1.0, 0.75] * 40)) == pytest.approx(2 * 0.5**80)

    def test_worths_of_no_common_unit_are_sampled(self) -> None:
        worths = np.random.default_rng(0).random(60) * 0.6 + 0.3
        from scipy import stats

        expected = stats.ttest_1samp(worths, 0.5).pvalue
        assert p_value_of_even(worths) == pytest.approx(expected, abs=0.01)


def length_data(n: int, **habits: float) -> dict[str, FloatArray]:
    return judged_by_length(n, np.random.default_rng(0), **habits)


class TestLengthPreference:
    def test_a_judge_that_only_likes_length(self) -> None:
        found = length_preference(
            np.array([1.0, 0.0, 1.0]), np.array([9.0, 3, 7]), np.array([1.0, 8, 2]), [0, 1, 2]
        )
        assert (found.value, found.n, found.p_value) == (1.0, 3, 2 / 2**3)
        assert (found.low, found.high) == wilson(3, 3)

    def test_equal_and_unknown_lengths_are_left_out(self) -> None:
        lengths = np.array([5.0, math.nan, 5, 9])
        found = length_preference(
            np.array([1.0, 1, 0, 1]), lengths, np.array([5.0, 5, math.nan, 4]), [0, 1, 2, 3]
        )
        assert (found.value, found.n) == (1.0, 1)
        nothing = length_preference(np.ones(1), np.ones(1), np.ones(1), [0])
        assert nothing.n == 0
        assert math.isnan(nothing.value)
        assert math.isnan(nothing.p_value)

    def test_the_prompt_is_the_unit(self) -> None:
        data = length_data(100)
        del data["candidate_first"]
        once = length_preference(**data)
        thrice = length_preference(**{key: np.tile(values, 3) for key, values in data.items()})
        assert thrice.n == 3 * once.n
        assert thrice.p_value == pytest.approx(once.p_value)
        assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))

    def test_who_stood_first_means_nothing(self) -> None:
        data = length_data(60)
        turned = length_preference(
            1 - data["worth"], data["length_second"], data["length_first"], data["prompt"]
        )
        straight = length_preference(
            data["worth"], data["length_first"], data["length_second"], data["prompt"]
        )
        assert asdict(turned) == pytest.approx(asdict(straight))


class TestSeparation:
    @pytest.mark.parametrize(
        ("gaps", "worths", "expected"),
        [
            ([-2, -1, 1, 2], [1, 1, 0, 0], True),
            ([-2, -1, 1, 2], [0, 0, 1, 1], True),
            ([-2, -1, 1, 2], [1, 0, 1, 0], False),
            ([-2, 1, 1, 2], [1, 1, 0, 0], True),  # they meet at one length
            ([-2, 0, 0, 2], [1, 0.5, 0.5, 0], True),
            ([-2, 0, 1, 2], [1, 0.5, 0.5, 0], False),  # ties at two lengths
            ([-2, -1, 1, 2], [1, 1, 1, 1], True),
            ([0, 0, 0, 0], [1, 1, 0, 0], False),  # of no difference in length nothing can be its doing
        ],
    )
    def test_by_hand(self, gaps: list[float], worths: list[float], expected: bool) -> None:
        zeros = np.zeros(4, dtype=np.int64)
        found = Separation.of(np.array(worths), np.array(gaps, float), zeros > 0, np.arange(4), zeros)
        assert found.among(np.ones((1, 4), dtype=bool)).tolist() == [expected]

    @pytest.mark.parametrize("opponents", [1, 2, 3])
    def test_is_what_a_linear_program_finds(self, opponents: int) -> None:
        """A direction in which length counts, every win gains and every loss loses."""
        from scipy.optimize import linprog

        generator = np.random.default_rng(opponents)
        answers = set()
        for _ in range(40):
            m = 8 * opponents
            opponent = np.arange(m) % opponents
            term, first = generator.integers(-4, 5, m) / 4, generator.random(m) < 0.5
            # Near separation: the order and the opponent count, and little chance.
            worth = (term + 0.5 * first + 0.3 * opponent + generator.normal(0, 0.3, m) > 0.4).astype(float)
            worth[generator.random(m) < 0.1] = 0.5
            prompt = generator.integers(0, 6, m)
            prompt = np.unique(prompt, return_inverse=True)[1]
            drawn = generator.random((5, prompt.max() + 1)) < 0.7
            design = np.column_stack([np.eye(opponents)[opponent], np.where(first, 0.5, -0.5), term])
            found = Separation.of(worth, term, first, prompt, opponent).among(drawn)
            for separated, chosen in zip(found.tolist(), drawn, strict=True):
                here = chosen[prompt]
                won, lost = design[here & (worth > 0)], design[here & (worth < 1)]
                below = np.concatenate([-won, lost])
                free = [(None, None)] * (opponents + 1)
                possible = term[here].any() and any(
                    linprog(
                        np.zeros(opponents + 2),
                        A_ub=below,
                        b_ub=np.zeros(len(below)),
                        bounds=[*free, (way, way)],
                    ).status
                    == 0
                    for way in (1.0, -1.0)
                )
                assert separated == possible
                answers.add(separated)
        assert answers == {True, False}


class TestLengthAdjusted:
    def test_the_length_is_taken_off(self) -> None:
        data = length_data(4000, better=0.4)
        raw = np.where(data["candidate_first"], data["worth"], 1 - data["worth"]).mean()
        plain = length_data(4000, likes_length=0.0, better=0.4)
        even = np.where(plain["candidate_first"], plain["worth"], 1 - plain["worth"]).mean()
        found = length_adjusted(**data)
        assert raw > even + 0.05
        assert found.low < even < found.high
        assert found.value == pytest.approx(even, abs=0.02)

    def test_without_any_difference_in_length_it_is_the_win_rate(self) -> None:
        data = length_data(200) | {"length_first": np.ones(400), "length_second": np.ones(400)}
        raw = np.where(data["candidate_first"], data["worth"], 1 - data["worth"])
        found = length_adjusted(**data, draws=4000)
        whole = rate((raw[:200] + raw[200:]) / 2)
        assert found == pytest.approx((whole.value, whole.low, whole.high), abs=0.003)

    def test_is_the_glm_of_statsmodels(self) -> None:
        import statsmodels.api as sm

        data = length_data(150, better=0.3)
        sign = np.where(data["candidate_first"], 1.0, -1.0)
        gap = sign * (data["length_first"] - data["length_second"])
        design = np.column_stack([np.ones(300), sign / 2, np.tanh(gap / np.sqrt(np.mean(gap**2)))])
        worth = np.where(sign > 0, data["worth"], 1 - data["worth"])
        fit = sm.GLM(worth, design, family=sm.families.Binomial()).fit()
        in_order = fit.predict([[1.0, 0.5, 0.0], [1.0, -0.5, 0.0]])
        expected = in_order.mean()
        assert length_adjusted(**data, ridge=0.0).value == pytest.approx(expected, abs=1e-8)
        assert length_adjusted(**data).value == pytest.approx(expected, abs=1e-3)
        by_prompt = sm.GLM(worth, design, family=sm.families.Binomial()).fit(
            cov_type="cluster", cov_kwds={"groups": data["prompt"]}
        )
        error = by_prompt.bse[0] * (in_order * (1 - in_order)).mean()
        found = length_adjusted(**data, draws=4000)
        assert (found.high - found.low) / 2 == pytest.approx(1.976 * error, rel=0.06)

    def test_the_opponent_has_the_rest(self) -> None:
        data = length_data(120)
        ours = length_adjusted(**data)
        theirs = length_adjusted(**data | {"candidate_first": ~data["candidate_first"]})
        assert theirs == pytest.approx((1 - ours.value, 1 - ours.high, 1 - ours.low), abs=1e-9)

    def test_opponents_count_as_often_as_they_occur(self) -> None:
        """A strong and a weak opponent, answers of equal length."""
        worth = np.array([1.0] * 30 + [0.0] * 10 + [1.0] * 10 + [0.0] * 10)
        found = length_adjusted(
            worth, np.ones(60), np.ones(60), np.arange(60), opponent=np.repeat([0, 1], [40, 20]), ridge=1e-6
        )
        assert found.value == pytest.approx(2 / 3 * 0.75 + 1 / 3 * 0.5, abs=1e-6)

    def test_of_outcomes_that_are_all_alike_nothing_is_told(self) -> None:
        lengths = np.random.default_rng(0).permutation(30).astype(float)
        assert all(map(math.isnan, length_adjusted(np.ones(30), np.full(30, 9.0), lengths, np.arange(30))))

    @pytest.mark.parametrize(
        ("shorter", "told"), [(0, False), (4, False), (5, True), (95, True), (96, False)]
    )
    def test_equal_length_must_lie_within_the_data(self, shorter: int, told: bool) -> None:
        """Where nearly all answers of one side are longer, the rate at equal length is a guess."""
        lengths = np.where(np.arange(100) < shorter, 50.0, 150.0) + np.arange(100) % 7
        worth = (np.arange(100) % 3 > 0).astype(float)
        found = length_adjusted(worth, lengths, np.full(100, 100.0), np.arange(100))
        assert math.isfinite(found.value) == told

    @pytest.mark.parametrize(
        ("flipped", "told"), [([], False), ([20], False), ([20, 25], False), (range(16, 24), True)]
    )
    def test_a_rate_that_the_ridge_alone_would_make_is_missing(
        self, flipped: Sequence[int], told: bool
    ) -> None:
        """The shorter answer wins, and no two are about equally long; some verdicts are the other way."""
        gap = np.concatenate([np.arange(-40.0, -6.0), [-7.0, -7.0, 87.0, 110.0], np.arange(130.0, 260.0, 20)])
        worth = (gap < 0).astype(float)
        worth[list(flipped)] = 0.0
        found = length_adjusted(worth, gap, np.zeros(len(gap)), np.arange(len(gap)))
        assert [math.isfinite(end) for end in found] == [told] * 3

    @pytest.mark.parametrize("ties", [1, 3, 8])
    def test_ties_of_equally_long_answers_do_not_make_it_known(self, ties: int) -> None:
        """Equal is a tie, else the shorter wins: the true rate is one half, the ridge made 76.5% of three."""
        gap = np.concatenate([np.arange(-40.0, -6.0), np.arange(87.0, 260.0, 20), np.zeros(ties)])
        worth = np.where(gap == 0, 0.5, gap < 0)
        found = length_adjusted(worth, gap, np.zeros(len(gap)), np.arange(len(gap)))
        assert all(map(math.isnan, found))

    def test_verdicts_that_overlap_are_told_with_any_ridge(self) -> None:
        """What is given is the verdicts': a tenth of the ridge moves no figure that is shown."""
        data = length_data(60, better=0.8)
        given, less = length_adjusted(**data), length_adjusted(**data, ridge=0.001)
        assert given == pytest.approx(less, abs=2e-3)

    def test_unknown_lengths_are_left_out(self) -> None:
        nothing = length_adjusted(np.ones(2), np.full(2, math.nan), np.ones(2), [0, 1])
        assert all(math.isnan(number) for number in nothing)
        data = length_data(50)
        half = {key: values[data["prompt"] < 25] for key, values in data.items()}
        data["length_first"][data["prompt"] >= 25] = math.nan
        assert length_adjusted(**data) == pytest.approx(length_adjusted(**half))
