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
from harness.judging.findings import findings, led_by
from harness.judging.pairs import NO_DIFFERENCE
from harness.judging.table import UNPARSED_LIMIT, Verdicts, tabulate
from harness.stats.lattice import exact_sign_flip, units_of
from harness.stats.pairwise import UNPARSED, aggregate

RULES = ("average", "tie_on_disagreement", "consistent_only")
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
        for row in analyse(table)["pairs"]:
            a, b = (table.players.index(row[side]) for side in ("a", "b"))
            alone = aggregate(*codes(table, a, b))
            for rule in RULES:
                one = getattr(alone, rule)
                assert row["rules"][rule]["n"] == one.n
                for end in ("value", "low", "high"):
                    assert row["rules"][rule][end] == pytest.approx(getattr(one, end), abs=0.02)
                assert row["rules"][rule]["value"] == pytest.approx(one.value, rel=1e-12)
            for share in SHARES:
                assert row[share] == pytest.approx(getattr(alone, share), rel=1e-12), share
            assert (row["pairs"], row["incomplete"]) == (alone.pairs, alone.incomplete)
            assert row["unparsed_a_first"] == pytest.approx(alone.unparsed_candidate_first)
            assert row["unparsed_b_first"] == pytest.approx(alone.unparsed_opponent_first)
            assert row["position_p_value"] == pytest.approx(alone.position_p_value)
            assert row["p_value"] == pytest.approx(alone.p_value, abs=0.02)

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
        assert smallest["p_adjusted"] == pytest.approx(min(1, 3 * smallest["p_value"]))

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
        assert (row["a"], row["b"], row["n"], row["verdict"]) == ("a", "b", 40, "a")
        assert row["value"] == pytest.approx(0.15)
        assert row["p_value"] == pytest.approx(2.0**-5)
        assert 0 < row["low"] < 0.15 < row["high"] < 0.3


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
            assert findings(found)[0].startswith("No ranking: ")

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
        assert any("one order only" in sentence for sentence in findings(found))

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
        assert "Consistency is not known: each pair was judged in one order only." in findings(found)


class TestPosition:
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
        assert found["length_controlled"]["a"]["low"] < 0.5 < found["length_controlled"]["a"]["high"]


class TestAgreement:
    def test_of_two_by_hand(self) -> None:
        # Wins, losses and ties of a, averaged over the orders; the last is unparsed by one judge.
        one, other = pair(["12", "21", "11", "12"]), pair(["12", "21", "12", "1?"])
        found = agreement({"x": one, "y": other})
        (row,) = found["pairs"]
        assert (row["n"], row["same"]) == (3, pytest.approx(2 / 3))
        assert row["kappa"] == pytest.approx((2 / 3 - 1 / 3) / (1 - 1 / 3))
        assert found["krippendorff"]["n"] == 3

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
        assert all(isinstance(sentence, str) for sentence in findings(found))

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
    return " ".join(findings(analyse(table, against=against)))


@pytest.mark.parametrize(
    ("table", "against", "told"),
    [
        (pair(["12"] * 20), None, "a is ahead of every other player."),
        (pair(["12"] * 20), None, "In both orders 100.0% of 20 pairs are judged alike"),
        (pair(["21"] * 20), "b", "Nobody wins half against b: a, the nearest, wins 0.0%"),
        (pair(["11"] * 20), None, "the judge prefers what stands first (p < 0.001)"),
        (pair(["12", "21"] * 9), None, "b cannot be told apart from a"),
        (pair(["12"] * 3 + ["21"] * 2), None, "more prompts would show a difference of that size"),
        (pair(["12"] * 19 + ["1?"]), None, "2.5% of 40 verdicts could not be read; they count as nothing."),
        (pair(["1="] * 3 + ["21"]), None, "Who is ahead depends on the rule of aggregation between a and b"),
    ],
)
def test_findings(table: Verdicts, against: str | None, told: str) -> None:
    assert told in sentences(table, against)
