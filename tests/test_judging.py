"""What a judge's verdicts say: against the statistics of one pair, by hand, and on simulated judges."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from judging_tables import join, pair, simulated, table_of

from harness.judging.agreement import agreement
from harness.judging.analysis import analyse
from harness.judging.duels import lay_out
from harness.judging.findings import findings
from harness.judging.leading import led_by
from harness.judging.table import UNPARSED_LIMIT, Verdicts, tabulate
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.multiplicity import NO_DIFFERENCE, holm
from harness.stats.pairwise import RULES, UNPARSED, aggregate
from harness.stats.proportions import wilson

SHARES = ("consistency", "consistent_ties", "flips_to_first", "flips_to_second", "win_tie", "kappa")


class TestLattice:
    @pytest.mark.parametrize("n", [1, 2, 7, 12])
    @pytest.mark.parametrize("largest", [1, 2, 5])
    def test_is_the_share_of_all_signs(self, n: int, largest: int) -> None:
        units = np.random.default_rng(n).integers(-largest, largest + 1, size=n)
        sums = [abs(np.dot(signs, units)) for signs in itertools.product((1, -1), repeat=n)]
        assert exact_sign_flip(units) == pytest.approx(np.mean(np.array(sums) >= abs(units.sum())), rel=1e-12)

    def test_agrees_with_scipy(self) -> None:
        from scipy import stats

        units = np.array([2, 2, 1, -1, 0, 2, 1, 1, -2, 1, 2])
        theirs = stats.permutation_test(
            (units,), np.sum, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
        )
        assert exact_sign_flip(units) == pytest.approx(theirs.pvalue, rel=1e-12)

    def test_is_never_nothing(self) -> None:
        assert exact_sign_flip(np.full(250, 2)) == pytest.approx(2.0**-249, rel=1e-9)

    @pytest.mark.parametrize(
        ("differences", "units"),
        [
            ([0.5, -0.25, 0.0], [2, -1, 0]),
            ([0.5, -0.5], [1, -1]),
            ([1 / 3, 0.25], [4, 3]),
            ([], []),
            ([0.1234567, 0.5], None),
        ],
    )
    def test_finds_the_unit(self, differences: Sequence[float], units: Sequence[int] | None) -> None:
        found = units_of(np.array(differences, dtype=float))
        assert (None if found is None else found.tolist()) == units


def codes(table: Verdicts, a: int, b: int) -> list[np.ndarray[Any, Any]]:
    """(seeds, prompts) codes where a stood first and where b did, as `aggregate` takes them."""
    seeds = sorted(set(table.seed.tolist()))
    found = np.full((2, len(seeds), len(table.examples)), UNPARSED, dtype=np.int8)
    for prompt, seed, first, second, choice in zip(
        table.prompt, table.seed, table.first, table.second, table.choice, strict=True
    ):
        if {first, second} == {a, b}:
            found[int(first == b), seeds.index(seed), prompt] = choice
    return list(found)


class TestPairs:
    @pytest.mark.parametrize("seeds", [1, 3])
    def test_say_what_aggregate_says_of_one(self, seeds: int) -> None:
        table = simulated([0.4, 0, -0.3], prompts=40, position=0.6, ties=0.15, unparsed=0.03, seeds=seeds)
        rows = analyse(table)["pairs"]
        assert len(rows) == 3
        for row in rows:
            a, b = (table.players.index(row[side]) for side in ("a", "b"))
            alone = aggregate(*codes(table, a, b))
            for rule in RULES:
                one = getattr(alone, rule)
                assert row["rules"][rule]["n"] == one.n
                for end in ("value", "low", "high"):
                    assert row["rules"][rule][end] == pytest.approx(getattr(one, end), abs=1e-12)
            for share in SHARES:
                assert row[share] == pytest.approx(getattr(alone, share), rel=1e-12), share
            assert (row["pairs"], row["incomplete"]) == (alone.pairs, alone.incomplete)
            assert row["unparsed_a_first"] == pytest.approx(alone.unparsed_candidate_first)
            assert row["unparsed_b_first"] == pytest.approx(alone.unparsed_opponent_first)
            assert row["position_p_value"] == pytest.approx(alone.position_p_value)
            assert row["p_value"] == pytest.approx(alone.p_value, abs=1e-12)

    def test_by_hand(self) -> None:
        # In both orders a; flipped to first; flipped to second; tie in both; win and tie; half unparsed.
        (row,) = analyse(pair(["12", "11", "22", "==", "1=", "1?"]))["pairs"]
        values = [(row["rules"][rule]["value"], row["rules"][rule]["n"]) for rule in RULES]
        assert values == [((1 + 0.5 + 0.5 + 0.5 + 0.75) / 5, 5), ((1 + 4 * 0.5) / 5, 5), (1.0, 1)]
        assert [row[share] for share in SHARES[:5]] == [0.4, 0.2, 0.2, 0.2, 0.2]
        assert (row["pairs"], row["incomplete"], row["unparsed_b_first"]) == (5, 1, pytest.approx(1 / 6))

    def test_soft_preferences_count_in_the_average_alone(self) -> None:
        table = tabulate(["1", "1"], ["a", "b"], ["b", "a"], ["first", "second"], preference=[0.9, 0.2])
        rules = analyse(table)["pairs"][0]["rules"]
        assert [rules[rule]["value"] for rule in RULES] == [pytest.approx(0.85), 1.0, 1.0]

    def test_are_corrected_over_the_whole_family(self) -> None:
        table = simulated([0.5, 0.2, 0, -0.7], prompts=30)
        everyone, against = analyse(table)["pairs"], analyse(table, against="p0")["pairs"]
        assert (len(everyone), len(against)) == (6, 3)
        smallest = min(everyone, key=lambda row: row["p_value"])
        assert smallest["p_adjusted"] == pytest.approx(min(1, 6 * smallest["p_value"]))
        smallest = min(against, key=lambda row: row["p_value"])
        assert smallest["p_adjusted"] == pytest.approx(min(1, 6 * smallest["p_value"]))

    def test_pairs_and_differences_that_rank_together_are_one_family(self) -> None:
        found = analyse(simulated([0.9, 0.2, 0, -0.7], prompts=40), against="p0")
        rows = [*found["pairs"], *found["differences"]]
        assert [row["p_adjusted"] for row in rows] == holm([row["p_value"] for row in rows]).tolist()

    def test_no_verdict_on_a_pair_of_which_too_much_is_unread(self) -> None:
        clear = pair(["12"] * 40, "a", "b")
        half = pair(["1?", "12", "12", "12"] * 5, "a", "c")
        found = analyse(join([clear, half, pair(["12"] * 40, "b", "c")]))
        verdicts = {row["b"]: row["verdict"] for row in found["pairs"] if row["a"] == "a"}
        assert found["refused"] is None
        assert verdicts == {"b": "a", "c": NO_DIFFERENCE}

    def test_differences_are_paired_by_prompt(self) -> None:
        table = join(
            [pair(["12"] * 20 + ["21"] * 20, "a", "base"), pair(["12"] * 14 + ["21"] * 26, "b", "base")]
        )
        (row,) = analyse(table, against="base")["differences"]
        assert (row["a"], row["b"], row["n"], row["verdict"]) == ("a", "b", 40, NO_DIFFERENCE)
        assert row["value"] == pytest.approx(0.15)
        assert row["p_value"] == pytest.approx(2.0**-5)
        assert 0 < row["low"] < 0.15 < row["high"] < 0.3

    def test_a_difference_of_prompts_that_are_all_alike_is_not_known_for_certain(self) -> None:
        table = join([pair(["11"] * 60, "a", "base"), pair(["11"] * 60, "b", "base")])
        (row,) = analyse(table, against="base")["differences"]
        assert (row["value"], row["low"]) == (0.0, -row["high"])
        assert row["high"] == pytest.approx(wilson(0, 60)[1])


def equals(n: int, random: int, unread: float = 0.0) -> list[str]:
    """Prompts of two equals whom the judge never contradicts, that share of a's losses left unread."""
    generator = np.random.default_rng(random)
    won, lost = generator.random(n) < 0.5, generator.random(n) < unread
    return ["12" if win else "??" if gone else "21" for win, gone in zip(won, lost, strict=True)]


class TestUnread:
    """Losses of a that could not be read, a being as good as the others."""

    def test_says_nothing_of_differences(self) -> None:
        losses = {"a": 0.0, "b": 0.6, "c": 0.0, "d": 0.0}
        contests = [pair(equals(400, i, losses[name]), name, "base") for i, name in enumerate(losses)]
        found = analyse(join(contests), against="base")
        assert found["refused"] is None
        of_b = [row for row in found["differences"] if "b" in (row["a"], row["b"])]
        assert max(row["p_value"] for row in of_b) < 1e-3
        assert {(row["verdict"], row["withheld"]) for row in of_b} == {(NO_DIFFERENCE, "unread")}
        assert found["rates"]["b"]["withheld"] == "unread"

    def test_in_one_pair_withholds_what_is_said_of_the_field(self) -> None:
        contests = [
            pair(equals(400, 100 + 10 * i + j, 0.7 if (i, j) == (0, 1) else 0.0), "abcde"[i], "abcde"[j])
            for i, j in itertools.combinations(range(5), 2)
        ]
        rate = analyse(join(contests))["rates"]["a"]
        assert rate["p_adjusted"] < 0.05
        assert rate["unparsed"] < UNPARSED_LIMIT < rate["most_unparsed"]
        assert (rate["verdict"], rate["withheld"]) == (NO_DIFFERENCE, "unread")

    def test_below_the_limit_a_verdict_that_hangs_on_it_is_marked(self) -> None:
        (row,) = analyse(pair(equals(1000, 1, 0.15)))["pairs"]
        assert row["unparsed"] < UNPARSED_LIMIT
        assert (row["verdict"], row["survives"]) == ("a", False)

    @pytest.mark.parametrize(("both", "survives"), [(["12"] * 40 + ["21"] * 5, True), (["12"] * 5, None)])
    def test_a_clear_one_survives(self, both: list[str], survives: bool | None) -> None:
        (row,) = analyse(pair([*both, "1?", "??"] if survives else both))["pairs"]
        assert row["survives"] is survives

    def test_of_a_difference_the_worst_is_counted_on_both_sides(self) -> None:
        contests = [pair(["12"] * 30 + ["21"] * 12 + ["?1"] * 3, "a", "base")]
        contests += [pair(["12"] * 15 + ["21"] * 27 + ["2?"] * 3, "b", "base")]
        (row,) = analyse(join(contests), against="base")["differences"]
        assert row["p_value"] < row["worst_p_value"] < 1


class TestField:
    def test_opponents_are_averaged_within_a_prompt_first(self) -> None:
        # a meets b and c on prompt 0, and b alone, which it loses to, on prompt 1.
        table = join([pair(["12", "21"], "a", "b"), pair(["12"], "a", "c")])
        rate = analyse(table)["rates"]["a"]["rules"]["average"]
        assert (rate["value"], rate["n"]) == (0.5, 2)

    def test_diagnostics_count_pairs(self) -> None:
        table = simulated([0.3, 0, -0.3], prompts=20, position=0.5)
        found = analyse(table)
        assert found["swaps"]["pairs"] == 60
        assert {rate["pairs"] for rate in found["rates"].values()} == {40}


class TestRanks:
    @given(st.integers(0, 10_000))
    @settings(max_examples=15, deadline=None)
    def test_contradict_no_verdict(self, random: int) -> None:
        generator = np.random.default_rng(random)
        table = simulated(generator.normal(0, 0.8, 5).tolist(), prompts=15, random=random)
        found = analyse(table)
        place = {row["player"]: row for row in found["abilities"]}
        for row in found["pairs"]:
            a, b = place[row["a"]], place[row["b"]]
            assert bool(set(a["group"]) & set(b["group"])) == (row["verdict"] == NO_DIFFERENCE)
        for name, row in place.items():
            won = sum(p["verdict"] != NO_DIFFERENCE and p[p["verdict"]] == name for p in found["pairs"])
            lost = sum(
                p["verdict"] != NO_DIFFERENCE and name in (p["a"], p["b"]) and p[p["verdict"]] != name
                for p in found["pairs"]
            )
            assert row["rank"] == [1 + lost, 5 - won]

    def test_against_one_the_others_are_ranked_by_their_differences(self) -> None:
        table = simulated([1.5, 0.0, -1.5, 0.0], prompts=60)
        found = analyse(table, against="p1")
        ranks = {row["player"]: row["rank"] for row in found["abilities"]}
        assert ranks["p0"] == [1, 1]
        assert ranks["p2"] == [4, 4]

    def test_what_no_verdict_puts_an_end_to_has_none(self) -> None:
        even = ["12", "21"] * 20
        table = join([pair(["12"] * 40, "a", "b"), pair(["12"] * 40, "a", "c"), pair(even, "b", "c")])
        ends = {
            row["player"]: (row["low"] is None, row["high"] is None) for row in analyse(table)["abilities"]
        }
        assert ends == {"a": (False, True), "b": (True, False), "c": (True, False)}
        apart = analyse(join([pair(even, "a", "b"), pair(even, "c", "d")]))["abilities"]
        assert {(row["low"], row["high"]) for row in apart} == {(None, None)}

    def test_two_players_have_none(self) -> None:
        assert analyse(pair(["12"] * 9))["abilities"] is None

    def test_hundreds_of_pairs_can_be_told_apart(self) -> None:
        table = simulated(np.linspace(2, -2, 24).tolist(), prompts=24)
        verdicts = {(row["a"], row["b"]): row["verdict"] for row in analyse(table)["pairs"]}
        assert len(verdicts) == 276
        assert verdicts["p0", "p23"] == "a"


class TestRefusal:
    @pytest.mark.parametrize(("unread", "refused"), [(0, False), (4, False), (5, True), (40, True)])
    def test_above_the_limit_nobody_is_ranked(self, unread: int, refused: bool) -> None:
        table = pair(
            [f"?{'?' if unread == 40 else '2'}"] * (unread if unread < 40 else 20)
            + ["12"] * (20 - min(unread, 20))
        )
        found = analyse(join([table, pair(["12"] * 0 or ["12"], "a", "c")]))
        share = found["unparsed"]
        assert (share > UNPARSED_LIMIT) == refused == (found["refused"] is not None)
        if refused:
            assert found["abilities"] is None
            assert {row["verdict"] for row in found["pairs"]} == {NO_DIFFERENCE}
            assert {rate["verdict"] for rate in found["rates"].values()} == {NO_DIFFERENCE}
            assert findings("v", found)[0].startswith("Judge v is not believed: ")

    def test_faults_are_counted(self) -> None:
        table = tabulate(
            ["1", "2", "3"], ["a"] * 3, ["b"] * 3, ["unparsed", "unparsed", "first"], fault=["cut", "cut", ""]
        )
        assert analyse(table)["faults"] == {"cut": 2}


class TestOneOrder:
    def test_has_an_average_and_no_consistency(self) -> None:
        table = tabulate(list("1234"), ["a"] * 4, ["b"] * 4, ["first", "first", "tie", "unparsed"])
        found = analyse(table)
        row = found["pairs"][0]
        assert row["rules"]["average"]["value"] == pytest.approx(2.5 / 3)
        assert row["rules"]["consistent_only"]["value"] is None
        assert (row["pairs"], row["incomplete"], row["consistency"]) == (3, 1, None)
        assert (found["position"], found["swapped"]) == (None, False)
        assert any("one order only" in sentence for sentence in findings("v", found))

    def test_a_symmetric_judge_has_no_position(self) -> None:
        rows = list("1234"), ["a", "b", "a", "b"], ["b", "a", "b", "a"], ["first", "second", "first", "tie"]
        found = analyse(tabulate(*rows, symmetric=True))  # type: ignore[arg-type]
        assert found["pairs"][0]["rules"]["average"]["value"] == pytest.approx(3.5 / 4)
        assert (found["position"], found["swaps"]["consistency"]) == (None, None)

    def test_orders_at_random_show_the_position(self) -> None:
        both = simulated([0.5, 0.0, -0.5], prompts=300, position=0.8)
        once = both.select(np.random.default_rng(0).random(len(both)) < 0.5)
        kept = {}
        for index, (prompt, *players) in enumerate(zip(once.prompt, once.first, once.second, strict=True)):
            kept.setdefault((prompt, *sorted(players)), index)
        found = analyse(once.select(np.isin(np.arange(len(once)), list(kept.values()))))
        assert found["position"]["low"] < 0.8 < found["position"]["high"]
        assert "Consistency is not known: each pair was judged in one order only." in findings("v", found)

    @pytest.mark.parametrize(
        ("wins", "first", "withheld"),
        [(40, 60, "position"), (60, 60, "position"), (50, 30, None), (45, 45, "position")],
    )
    def test_a_lead_that_position_alone_would_give_is_none(
        self, wins: int, first: int, withheld: str | None
    ) -> None:
        """a stands first on the first of 60 prompts and wins on the first."""
        sides = [("a", "b") if n < first else ("b", "a") for n in range(60)]
        choice = ["first" if (n < wins) == (sides[n][0] == "a") else "second" for n in range(60)]
        ids = [str(n) for n in range(60)]
        rows = ids, [side[0] for side in sides], [side[1] for side in sides], choice
        (row,) = analyse(tabulate(*rows))["pairs"]  # type: ignore[arg-type]
        assert row["p_adjusted"] < 0.05
        assert row["by_position"] == pytest.approx(first / 60 - 0.5)
        assert row["withheld"] == withheld
        assert row["verdict"] == (NO_DIFFERENCE if withheld else "a")
        (of_symmetric,) = analyse(tabulate(*rows, symmetric=True))["pairs"]  # type: ignore[arg-type]
        assert of_symmetric["verdict"] == "a"

    def test_beside_both_it_is_counted_and_left_out(self) -> None:
        table = join([tabulate(list("1234"), ["a"] * 4, ["b"] * 4, ["first"] * 4), pair(["12"])])
        swaps = analyse(table)["swaps"]
        assert (swaps["pairs"], swaps["incomplete"], swaps["one_order"]) == (1, 4, 4)


class TestPosition:
    def test_its_direction_is_that_of_the_prompts_that_are_counted(self) -> None:
        """Two prompts flip to the first in all pairs, ten to the second in one each."""
        contests = [
            pair(["11", "11", *("22" if n == place else "12" for n in range(10))], *names)
            for place, names in enumerate(itertools.combinations("abcde", 2))
        ]
        swaps = analyse(join(contests))["swaps"]
        assert (swaps["flipped_to_first"], swaps["flipped_to_second"]) == (2, 10)
        assert swaps["flips_to_first"] > swaps["flips_to_second"]
        assert swaps["position_p_value"] == pytest.approx(2 * 79 / 2**12)

    def test_its_interval_is_never_of_no_width(self) -> None:
        for both in (["12", "21"] * 9, ["11"] * 30, ["11"]):
            found = analyse(pair(both))["position"]
            assert found["high"] - found["low"] > 0.3

    @pytest.mark.parametrize("position", [-0.7, 0.0, 0.7, 2.0])
    def test_a_bias_is_recovered_within_its_interval(self, position: float) -> None:
        table = simulated([0.8, 0.3, 0.0, -0.4], prompts=120, position=position, random=1)
        found = analyse(table)["position"]
        assert found["low"] < position < found["high"]
        assert found["high"] - found["low"] < 0.5

    def test_the_interval_covers_the_bias_as_often_as_it_says(self) -> None:
        covered = 0
        for random in range(200):
            found = analyse(simulated([0.5, 0.0, -0.5], prompts=50, position=0.7, random=random))["position"]
            covered += found["low"] <= 0.7 <= found["high"]
        assert 0.90 < covered / 200 < 0.985

    def test_a_judge_that_always_takes_the_first_tells_nothing_of_players(self) -> None:
        found = analyse(pair(["11"] * 50))
        assert found["pairs"][0]["verdict"] == NO_DIFFERENCE
        assert found["pairs"][0]["rules"]["average"]["value"] == 0.5
        assert found["swaps"]["flips_to_first"] == 1.0
        assert found["position"]["low"] > 2


class TestSeeds:
    def test_several_trainings_widen_the_interval(self) -> None:
        # One training of a always wins, the other always loses: what a third would do is not known.
        rows = [
            (str(n), *order, "first" if (order[0] == "a") == (seed == 0) else "second", seed)
            for n in range(30)
            for seed in (0, 1)
            for order in (("a", "b"), ("b", "a"))
        ]
        rate = analyse(table_of(rows))["pairs"][0]  # type: ignore[arg-type]
        average = rate["rules"]["average"]
        assert (average["value"], average["n"]) == (0.5, 30)
        assert average["high"] - average["low"] > 0.9

    def test_are_no_further_prompts(self) -> None:
        table = simulated([0.5, 0.0], prompts=30, seeds=3)
        assert analyse(table)["pairs"][0]["n"] == 30


class TestControls:
    def test_stand_apart(self) -> None:
        plain = pair(["12", "21", "12"])
        rows = [
            ("0", "a", "a", "tie", "identical"),
            ("1", "a", "a", "first", "identical"),
            ("2", "b", "b", "unparsed", "identical"),
            ("0", "a", "b", "first", "repeat"),
            ("1", "a", "b", "first", "repeat"),
            ("9", "a", "b", "first", "repeat"),
        ]
        ids, first, second, choice, control = zip(*rows, strict=True)
        table = join([plain, tabulate(ids, first, second, choice, control=control)])  # type: ignore[arg-type]
        found, alone = analyse(table), analyse(plain)
        assert found["controls"] == {
            "identical": {"n": 3, "ties": 1, "to_first": 1, "to_second": 0, "unparsed": 1},
            "repeats": {"n": 3, "same": 1, "changed": 1},
        }
        for key in ("pairs", "rates", "judgments", "unparsed", "swaps"):
            assert found[key] == alone[key]


class TestLength:
    def test_unknown_lengths_say_nothing(self) -> None:
        found = analyse(pair(["12"] * 5))
        assert (found["length"], found["length_controlled"]) == (None, {})

    def test_a_judge_that_counts_characters(self) -> None:
        generator = np.random.default_rng(0)
        lengths = generator.integers(10, 400, size=(80, 2))
        rows = [
            (str(n), ("a", "b")[i], ("a", "b")[1 - i], (a, b)[i], (a, b)[1 - i])
            for n, (a, b) in enumerate(lengths.tolist())
            for i in (0, 1)
        ]
        ids, first, second, one, other = zip(*rows, strict=True)
        choice = ["first" if x > y else "second" for x, y in zip(one, other, strict=True)]
        found = analyse(tabulate(ids, first, second, choice, first_chars=one, second_chars=other))  # type: ignore[arg-type]
        assert found["length"]["longer_wins"] == 1.0
        assert found["length"]["p_value"] < 1e-3
        # Its verdicts never meet at one length: of equal lengths they say nothing.
        assert found["length_controlled"]["a"] == {"value": None, "low": None, "high": None}


class TestAgreement:
    def test_of_two_by_hand(self) -> None:
        # Wins, losses and ties of a, averaged over the orders; the last is unparsed by one judge.
        one, other = pair(["12", "21", "11", "12"]), pair(["12", "21", "12", "1?"])
        found = agreement({"x": one, "y": other})
        (row,) = found["pairs"]
        assert (row["n"], row["same"]) == (3, pytest.approx(2 / 3))
        assert row["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
        assert found["krippendorff"]["n"] == 3

    @pytest.mark.parametrize("names", list(itertools.permutations("abc")))
    def test_the_names_of_players_mean_nothing(self, names: Sequence[str]) -> None:
        def judge(random: int) -> Verdicts:
            generator = np.random.default_rng(random)
            said = [["12" if generator.random() < 0.8 else "21" for _ in range(30)] for _ in range(3)]
            met = itertools.combinations(names, 2)
            return join([pair(both, *players) for both, players in zip(said, met, strict=True)])

        found = agreement({"x": judge(1), "y": judge(2), "z": judge(3)})
        assert found["pairs"][0]["kappa"] == pytest.approx(0.1556, abs=1e-4)
        assert found["krippendorff"]["value"] == pytest.approx(0.3050, abs=1e-4)

    def test_of_all_is_of_those_that_are_to_count(self) -> None:
        said = {"x": ["12", "21", "12"], "y": ["12", "21", "21"], "z": ["21", "12", "21"]}
        tables = {name: pair(both) for name, both in said.items()}
        two = agreement({name: tables[name] for name in "xy"})
        found = agreement(tables, together={"x", "y"})
        assert len(found["pairs"]) == 3
        assert (found["krippendorff"], found["fleiss"]) == (two["krippendorff"], two["fleiss"])
        assert agreement(tables, together={"x"})["krippendorff"] is None

    def test_names_of_players_not_their_order_match(self) -> None:
        one = pair(["12"] * 5 + ["21"] * 5, "a", "b")
        other = pair(["21"] * 5 + ["12"] * 5, "b", "a")
        assert agreement({"x": one, "y": other})["pairs"][0]["kappa"] == 1.0

    @pytest.mark.parametrize("judges", [{}, {"x": pair(["12"])}])
    def test_of_one_there_is_none(self, judges: dict[str, Verdicts]) -> None:
        assert agreement(judges) == {"pairs": [], "krippendorff": None, "fleiss": None}

    def test_of_strangers(self) -> None:
        found = agreement({"x": pair(["12"], "a", "b"), "y": pair(["12"], "c", "d")})
        assert (found["pairs"][0]["n"], found["pairs"][0]["same"]) == (0, None)


class TestIdenticalAnswers:
    """Nobody was asked about them: ties to the rates, and in no figure about the judge."""

    @staticmethod
    def tables(more: int = 26) -> tuple[Verdicts, Verdicts]:
        """What was asked alone, and with so many settled pairs beside it."""
        asked = ["12", "11", "11", "=1", "22", "12", "1?", "12"]
        settled = [False] * 2 * len(asked) + [True] * 2 * more
        lengths = {"first_chars": [5, 9] * (len(asked) + more), "second_chars": [9, 5] * (len(asked) + more)}
        alone = {key: values[: 2 * len(asked)] for key, values in lengths.items()}
        return pair(asked, **alone), pair([*asked, *["=="] * more], settled=settled, **lengths)

    def test_no_figure_about_the_judge_counts_them(self) -> None:
        alone, beside = (analyse(table) for table in self.tables())
        for key in ("judgments", "unparsed", "faults", "ties", "position", "length", "swaps", "refused"):
            expected = alone[key] if key != "swaps" else {**alone[key], "identical": 26}
            assert beside[key] == expected, key
        rows = alone["pairs"][0], beside["pairs"][0]
        for key in (*SHARES, "pairs", "incomplete", "unparsed", "unparsed_a_first", "position_p_value"):
            assert rows[0][key] == rows[1][key], key
        assert beside["identical"] == {"pairs": 26, "of": 34}
        assert alone["identical"] == {"pairs": 0, "of": 8}

    def test_the_win_rate_counts_them_as_ties(self) -> None:
        alone, beside = (analyse(table)["pairs"][0]["rules"]["average"] for table in self.tables(more=8))
        assert (alone["n"], beside["n"]) == (7, 15)
        assert beside["value"] == pytest.approx((7 * alone["value"] + 8 * 0.5) / 15)

    def test_they_do_not_bring_the_unparsed_below_the_limit(self) -> None:
        table = pair(["1?"] * 2 + ["12"] * 6 + ["=="] * 32, settled=[False] * 16 + [True] * 64)
        assert "12.5% of 16 verdicts" in analyse(table)["refused"]

    def test_two_judges_do_not_agree_on_them(self) -> None:
        settled = [False] * 8 + [True] * 40
        one, other = (pair([*said, *["=="] * 20], settled=settled) for said in (["12"] * 4, ["21"] * 4))
        assert agreement({"x": one, "y": other})["pairs"][0] | {"low": 0, "high": 0} == {
            "a": "x", "b": "y", "n": 4, "same": 0.0, "kappa": -1.0, "low": 0, "high": 0
        }  # fmt: skip

    def test_a_table_of_nothing_else(self) -> None:
        found = analyse(pair(["=="] * 4, settled=[True] * 8))
        json.dumps(found, allow_nan=False)
        assert (found["judgments"], found["unparsed"], found["ties"]) == (0, None, None)
        assert found["pairs"][0]["rules"]["average"]["value"] == 0.5


@pytest.mark.parametrize(
    ("said", "preference", "outcome"),
    [
        ("12", (0.9, 0.2), "win"),
        ("11", (0.9, 0.8), "tie"),  # a little more in one order than in the other is no verdict
        ("1=", (0.9, 0.5), "tie"),
        ("==", (0.501, 0.5), "tie"),
        ("21", (0.2, 0.9), "loss"),
    ],
)
def test_agreement_is_on_choices(said: str, preference: tuple[float, float], outcome: str) -> None:
    soft = pair([said], preference=list(preference))
    plain = pair([{"win": "12", "tie": "==", "loss": "21"}[outcome]])
    assert agreement({"x": soft, "y": plain})["pairs"][0]["same"] == 1.0


class TestJson:
    @pytest.mark.parametrize(
        "table",
        [
            pair(["12"]),
            pair(["??"] * 3),
            pair(["1?"]),
            pair(["=="] * 3),
            pair(["12"]).select(np.zeros(2, dtype=bool)),
            tabulate(["1"], ["a"], ["a"], ["tie"], control=["identical"]),
            join([pair(["12"] * 4, "a", "b"), pair(["12"] * 4, "c", "d")]),
        ],
        ids=["one prompt", "unparsed", "half", "ties", "empty", "controls alone", "strangers"],
    )
    def test_every_number_is_finite(self, table: Verdicts) -> None:
        found = analyse(table)
        json.dumps(found, allow_nan=False)
        assert all(isinstance(sentence, str) for sentence in findings("v", found))

    def test_is_the_same_twice(self) -> None:
        table = simulated([0.3, 0, -0.2], prompts=20, ties=0.2)
        assert analyse(table) == analyse(table)


class TestTable:
    def test_named_players_come_first(self) -> None:
        table = tabulate(["1"], ["b"], ["a"], ["first"], players=["base", "a"])
        assert table.players == ("base", "a", "b")
        assert (table.first.tolist(), table.second.tolist()) == ([2], [1])

    def test_of_two_judgments_in_one_place_the_first_stands(self) -> None:
        table = tabulate(["1", "1"], ["a", "a"], ["b", "b"], ["first", "second"])
        assert lay_out(table).worth[0].tolist() == [1.0]

    def test_an_unread_verdict_is_worth_nothing(self) -> None:
        table = tabulate(
            list("123"), list("aaa"), list("bbb"), ["unparsed", "tie", "second"], preference=[0.5, None, 0.2]
        )
        assert table.worth.tolist() == [pytest.approx(math.nan, nan_ok=True), 0.5, 0.2]


@pytest.mark.parametrize(("lost", "won"), [(20, 5), (9, 0)])
def test_a_pair_is_told_from_the_side_of_who_leads(lost: int, won: int) -> None:
    (row,) = analyse(pair(["21"] * lost + ["12"] * won))["pairs"]
    led = led_by(row)
    assert (row["verdict"], led["verdict"], led["a"]) == ("b", "a", "b")
    assert led["rules"]["average"]["value"] == pytest.approx(lost / (lost + won))
    assert led["rules"]["average"]["low"] == pytest.approx(1 - row["rules"]["average"]["high"])
    assert led_by(led) == led


def test_an_opponent_of_whom_only_controls_are_known() -> None:
    control = tabulate(["1"], ["c"], ["c"], ["tie"], control=["identical"])
    found = analyse(join([pair(["12"] * 4), control]), against="c")
    assert (found["pairs"], found["rates"], found["judgments"]) == ([], {}, 0)
    json.dumps(found, allow_nan=False)


def sentences(table: Verdicts, against: str | None = None) -> str:
    return " ".join(findings("v", analyse(table, against=against)))


@pytest.mark.parametrize(
    ("table", "against", "told"),
    [
        (pair(["12"] * 20), None, "a is ahead of every other player."),
        (pair(["12"] * 20), None, "In both orders 100.0% of 20 pairs are judged alike"),
        (pair(["21"] * 20), "b", "Judge v prefers b to every other; a, the nearest, wins 0.0%"),
        (
            pair(["11"] * 20),
            None,
            "The place of an answer moves v: of 20 pairs 100.0% flip to whatever stood",
        ),
        (pair(["12"] * 20), None, "No place is shown to move v: of 20 pairs 0.0% flip to whatever stood"),
        (pair(["12", "21"] * 9), None, "b cannot be told apart from a"),
        (pair(["12"] * 3 + ["21"] * 2), None, "more prompts would show a difference of that size"),
        (pair(["12"] * 24 + ["21"] * 14), None, "p = 0.143 after correction; about "),
        (pair(equals(1000, 1, 0.15)), None, "That a is better than b rests on what could be read"),
        (
            pair(["12"] * 30 + ["21"] * 10 + ["??"] * 9),
            None,
            "Judge v is not believed",
        ),
        (
            tabulate([str(n) for n in range(60)], ["a"] * 60, ["b"] * 60, ["first"] * 60),
            None,
            "a and b cannot be told apart although p < 0.05: one stood first more often",
        ),
        (
            join([tabulate(list("1234"), ["a"] * 4, ["b"] * 4, ["first"] * 4), pair(["12"])]),
            None,
            "4 pairs of answers were judged in one order only; they are left out",
        ),
        (
            join([pair(["12"] * 9, "a", "b"), pair(["12"] * 9, "a", "c"), pair(["12", "21"] * 9, "b", "c")]),
            None,
            "How far a, b and c lie apart in rating is not known",
        ),
        (
            join([pair(["12"] * 60, "a", "base"), pair(["21"] * 60, "b", "base")]),
            "base",
            "a is ahead of the others compared with base.",
        ),
        (pair(["11"] * 20), None, "Most verdicts follow the place, so that they tell little of the answers."),
        (pair(["11"] * 20), None, "(p < 0.001 over prompts, 20 to the first and 0 to the second)"),
        (pair(["11"] * 9 + ["12"] * 20), None, "Both orders are asked, so that this favours nobody."),
        (
            pair(["12"] * 9, preference=[0.3, 0.7] * 9),
            None,
            "In 18 of 18 verdicts v states a preference that contradicts its choice",
        ),
        (
            pair(["12"] * 9 + ["21"] * 3, first_chars=[9, 5] * 12, second_chars=[5, 9] * 12),
            None,
            "n = 12 prompts (12 pairs)",
        ),
        (pair(["12"] * 19 + ["1?"]), None, "2.5% of 40 verdicts could not be read; they count as nothing."),
        (pair(["1="] * 3 + ["21"]), None, "By v the rules disagree on a: "),
    ],
)
def test_findings(table: Verdicts, against: str | None, told: str) -> None:
    assert told in sentences(table, against)


def test_who_is_rated_highest_need_not_win_most() -> None:
    """a beats who is weak four times in five, b who is strong two times in three."""
    weak, strong = ["12"] * 48 + ["21"] * 12, ["12"] * 39 + ["21"] * 21
    contests = [pair(weak, "a", "weak"), pair(strong, "b", "strong")]
    told = sentences(join([*contests, pair(["12"] * 54 + ["21"] * 6, "strong", "weak")]))
    assert told.startswith("Judge v rates b highest, by whom it met: it wins 65.0% [")
    assert "against strong, n = 60" in told


def test_those_who_win_as_often_are_named_together() -> None:
    even = ["12", "21"] * 10
    told = sentences(join([pair(even, "a", "base"), pair(even, "b", "base")]), "base")
    assert "a and b, the nearest, each wins 50.0% against base." in told


def test_a_player_of_whom_too_much_is_unread_is_not_spoken_of() -> None:
    unread = [pair(equals(400, i, 0.6 * (name == "b")), name, "base") for i, name in enumerate("abcd")]
    told = sentences(join(unread), "base").split(" B and base")[0]
    assert "from b:" not in told
    assert "b and base; a and b; b and c; b and d cannot be told apart although p < 0.05: more than" in told
