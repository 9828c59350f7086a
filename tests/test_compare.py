"""`harness compare`: pairs two runs and says what is real."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from board_world import Entry, base
from click.testing import CliRunner
from compared_runs import (
    METRICS,
    WORSE,
    Json,
    N,
    edit,
    edit_examples,
    figure,
    finished,
    row,
    rows,
    run,
    wins,
)
from report_inputs import make_report_input

from harness.cli import main
from harness.comparing import compare
from harness.json_files import iter_json_lines, read_json, write_json
from harness.records import ALL
from harness.report.comparison import as_html, as_markdown
from harness.report.text import markdown
from harness.stats.multiplicity import NO_DIFFERENCE

pytest_plugins = ["compared_fixtures"]


class TestItself:
    """A run against itself."""

    def test_finds_nothing(self, old: Path) -> None:
        found = compare(str(old), str(old), gates=["any worse"])
        told = list(rows(found))
        assert len(told) == 4 * len(METRICS) + 3
        assert {row["value"] for row in told} == {0.0}
        assert {row["p_value"] for row in told} == {1.0}
        assert {row["p_adjusted"] for row in told} == {1.0}
        assert {row["verdict"] for row in told} == {NO_DIFFERENCE}
        assert {(row["examples"]["better"], row["examples"]["worse"]) for row in told} == {(0, 0)}
        assert found["configuration"] == []
        assert all(entry["configuration"] == [] for entry in found["candidates"])
        assert found["findings"][0].startswith("Nothing differs")
        (gate,) = found["gates"]
        assert (gate["status"], gate["reasons"]) == ("passed", [])
        assert found["family"] == 0
        assert all(row["unchanged"] for row in told)

    def test_by_the_command(self, old: Path) -> None:
        said = run(old, old, "--fail-if", "any worse", "--fail-if", "reference < -2pt")
        assert said.exit_code == 0
        assert "Nothing differs" in said.stdout
        assert said.stderr == ""


class TestFigures:
    """Two candidates of one run are compared as its board compares them."""

    @pytest.mark.parametrize("metric", METRICS)
    @pytest.mark.parametrize("name", ["lora", "full", "seeds"])
    def test_a_difference_is_the_boards(self, old: Path, metric: str, name: str) -> None:
        found = row(compare(f"{old}:base", f"{old}:{name}"), metric, f"base → {name}")
        (mine,) = [c for c in read_json(old / "results.json")["candidates"] if c["name"] == name]
        board = mine["differences"][metric]
        assert found["value"] == pytest.approx(board["value"], rel=1e-9)
        assert found["low"] == pytest.approx(board["low"], rel=1e-9)
        assert found["high"] == pytest.approx(board["high"], rel=1e-9)
        assert found["p_value"] == pytest.approx(board["p_value"], rel=1e-9)
        assert found["new"] == pytest.approx(mine["scores"][metric]["value"], rel=1e-9)
        assert found["n"] == board["n"] == N

    @pytest.mark.parametrize(("a", "b"), [("lora", "full"), ("lora", "seeds"), ("full", "seeds")])
    def test_a_difference_of_win_rates_is_the_boards(self, old: Path, a: str, b: str) -> None:
        found = row(compare(f"{old}:{b}", f"{old}:{a}"), "reference", f"{b} → {a}")
        (judge,) = read_json(old / "results.json")["judges"]
        (board,) = [pair for pair in judge["pairs"] if {pair["a"], pair["b"]} == {a, b}]
        sign = 1 if board["a"] == a else -1
        assert found["value"] == pytest.approx(sign * board["value"])
        assert sorted((found["low"], found["high"])) == pytest.approx(
            sorted((sign * board["low"], sign * board["high"]))
        )
        assert found["p_value"] == pytest.approx(board["p_value"])
        assert found["n"] == board["n"]

    def test_a_win_rate_against_all_others_is_the_boards(self, tmp_path: Path) -> None:
        folder = make_report_input(tmp_path)
        (local,) = [j for j in read_json(folder / "results.json")["judges"] if j["name"] == "local"]
        assert local["against"] == ALL
        told = figure(compare(str(folder), str(folder)), "local")["rows"]
        compared = {each["candidate"]: each for each in told if "value" in each}
        assert len(compared) > 4
        for name, each in compared.items():
            assert each["value"] == 0
            assert each["old"] == pytest.approx(local["analysis"]["rates"][name]["rules"]["average"]["value"])
            assert set(each["opponents"]) == set(local["analysis"]["rates"][name]["opponents"])
        (apart,) = figure(compare(f"{folder}:full", f"{folder}:lora-r16"), "local")["rows"]
        assert set(apart["opponents"]) == compared.keys() - {"full", "lora-r16"}

    def test_a_win_rate_that_is_not_the_boards_says_why(self, tmp_path: Path) -> None:
        folder = make_report_input(tmp_path / "run")
        (local,) = [j for j in read_json(folder / "results.json")["judges"] if j["name"] == "local"]
        rates = {name: rate["rules"]["average"]["value"] for name, rate in local["analysis"]["rates"].items()}
        said = "local: a win rate here is over the opponents and prompts that both sides have verdicts on"
        alike = compare(str(folder), str(folder))
        assert not any(said in warning for warning in alike["warnings"])
        found = compare(f"{folder}:full", f"{folder}:lora-r16")
        (apart,) = figure(found, "local")["rows"]
        assert apart["boards"] == {"old": rates["full"], "new": rates["lora-r16"]}
        (told,) = [warning for warning in found["warnings"] if said in warning]
        for old, new in ((apart["old"], apart["new"]), (rates["full"], rates["lora-r16"])):
            assert f"{old:.1%} → {new:.1%}" in told
        assert f" here, against {len(apart['opponents'])} opponents, n = {apart['n']}, and " in told
        shown = CliRunner().invoke(main, ["compare", f"{folder}:full", f"{folder}:lora-r16"])
        assert told in " ".join(shown.stdout.split())
        assert told in html.unescape(as_html(found))
        assert markdown(told) in as_markdown(found)

    def test_the_opponent_itself_ties_with_itself(self, old: Path) -> None:
        found = row(compare(f"{old}:lora", f"{old}:base"), "reference", "lora → base")
        (judge,) = read_json(old / "results.json")["judges"]
        rate = judge["analysis"]["rates"]["lora"]["rules"]["average"]["value"]
        assert found["new"] == 0.5
        assert found["old"] == pytest.approx(rate)
        assert found["value"] == pytest.approx(0.5 - rate)

    def test_what_became_worse(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        assert found["findings"][0].startswith("lora is worse than before by perplexity (+")
        assert found["only_old"] == ["full"]
        assert found["only_new"] == ["new"]
        assert {row["candidate"] for row in rows(found)} == {"base", "lora", "seeds"}
        for name in (*METRICS, "reference"):
            assert row(found, name, "lora")["verdict"] == "worse"
            assert row(found, name, "seeds")["value"] == 0

    def test_holm_is_over_the_candidates_of_a_figure_that_changed(
        self, old: Path, worse: Path, tmp_path: Path
    ) -> None:
        found = compare(str(old), str(worse))
        assert {row["candidate"] for row in rows(found) if not row["unchanged"]} == {"lora"}
        assert found["family"] == len(METRICS) + 1
        for each in found["figures"]:
            assert each["family"] == 1
            (changed,) = [row for row in each["rows"] if row["candidate"] == "lora"]
            assert changed["p_adjusted"] == changed["p_value"]
        p_values = sorted(row["p_value"] for row in rows(found) if not row["unchanged"])
        assert min(row["p_over_all"] for row in rows(found)) == pytest.approx(4 * p_values[0])
        also = {**WORSE, "seeds": Entry(0.3, seeds=3, noise_seed=6, judged=wins(0.5, 6))}
        both = compare(str(old), str(finished(tmp_path / "also", also)))
        assert figure(both, "bleu")["family"] == 2
        told = [row(both, "bleu", name) for name in ("lora", "seeds")]
        lowest = min(told, key=lambda row: row["p_value"])
        assert lowest["p_adjusted"] == pytest.approx(2 * lowest["p_value"])

    def test_what_changed_for_a_later_seed_alone_did_change(self, old: Path, copied: Path) -> None:
        def change(lines: list[Json]) -> list[Json]:
            statistics = [line["answers"]["seeds"]["statistics"]["exact_match"] for line in lines]
            right, wrong = (next(s for s in statistics if s[2][0] == hit) for hit in (1.0, 0.0))
            right[2], wrong[2] = wrong[2], right[2]
            return lines

        edit_examples(copied, change)
        told = row(compare(str(old), str(copied)), "exact_match", "seeds")
        assert (told["value"], told["examples"]["same"]) == (0, N)
        assert not told["unchanged"]
        assert row(compare(str(old), str(copied)), "exact_match", "lora")["unchanged"]

    def test_examples_won_and_lost(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        before, after = (
            {line["id"]: line["answers"]["lora"] for line in iter_json_lines(folder / "examples.jsonl")}
            for folder in (old, worse)
        )
        values = {
            id_: (before[id_]["scores"]["exact_match"], after[id_]["scores"]["exact_match"]) for id_ in after
        }
        told = row(found, "exact_match", "lora")["examples"]
        lost = [id_ for id_, value in values.items() if value == (1.0, 0.0)]
        won = [id_ for id_, value in values.items() if value == (0.0, 1.0)]
        assert lost
        assert (told["won"], told["lost"]) == (len(won), len(lost))
        assert [entry["id"] for entry in told["first_lost"]] == lost[:20]
        text = found["texts"][lost[0]]
        assert text["old"]["lora"] == before[lost[0]]["text"] == text["reference"]
        assert text["new"]["lora"] == after[lost[0]]["text"]

    def test_judged_examples_won_and_lost(self, old: Path, worse: Path) -> None:
        told = row(compare(str(old), str(worse)), "reference", "lora")["examples"]
        outcomes = [(wins(0.8, 1)(i)[0] == "first", wins(0.4, 4)(i)[0] == "first") for i in range(N)]
        assert told["won"] == outcomes.count((False, True))
        assert told["lost"] == outcomes.count((True, False))


class TestSeeds:
    """One recipe trained again with another seed."""

    @staticmethod
    def reseeded(folder: Path, skill: float, seeds: list[int]) -> Path:
        entries = {"base": base(), "lora": Entry(skill, seeds=len(seeds), noise_seed=seeds[0] + 40)}
        made = finished(folder, entries)

        def reseed(results: Json) -> None:
            for candidate in results["candidates"]:
                candidate["seeds"] = seeds

        edit(made, reseed)
        return made

    def test_two_seeds_of_one_recipe_are_not_called_different(self, tmp_path: Path) -> None:
        one, other = (self.reseeded(tmp_path / str(s), skill, [s]) for s, skill in ((0, 0.9), (1, 0.85)))
        found = compare(str(one), str(other), gates=["any worse", "perplexity > 0"])
        told = row(found, "perplexity", "lora")
        assert told["p_adjusted"] < 0.05, "the two models do differ: only their recipe does not"
        assert told["withheld"] == "seed"
        assert {row["verdict"] for row in rows(found)} == {NO_DIFFERENCE}
        assert [gate["status"] for gate in found["gates"]] == ["passed", "passed"]
        assert found["findings"][0].startswith("Nothing can be told apart")
        assert any("same recipe with another seed" in warning for warning in found["warnings"])
        assert run(one, other, "--fail-if", "any worse").exit_code == 0

    @pytest.mark.parametrize(
        ("rows", "more", "verdict"),
        [
            ((1925, 101), (1926, 101), NO_DIFFERENCE),  # the seed also splits
            ((1925, 101), (1500, 101), "worse"),
            ((30, 4), (31, 4), NO_DIFFERENCE),
            ((30, 4), (20, 4), "worse"),
        ],
    )
    def test_it_is_the_same_recipe_on_the_same_data(
        self, tmp_path: Path, rows: tuple[int, int], more: tuple[int, int], verdict: str
    ) -> None:
        one, other = (self.reseeded(tmp_path / str(s), skill, [s]) for s, skill in ((0, 0.9), (1, 0.85)))
        for folder, counts in ((one, rows), (other, more)):
            told = dict(zip(("train", "validation"), counts, strict=True))
            results = read_json(folder / "results.json")
            results["data"]["rows"] |= told
            write_json(folder / "results.json", results)
        assert row(compare(str(one), str(other)), "perplexity", "lora")["verdict"] == verdict

    def test_another_recipe_is_told_apart_though_the_seed_changed_too(self, tmp_path: Path) -> None:
        one, other = (self.reseeded(tmp_path / str(s), skill, [s]) for s, skill in ((0, 0.9), (1, 0.85)))
        edit(other, lambda results: results["candidates"][1]["recipe"]["training"].update(learning_rate=1e-3))
        found = compare(str(one), str(other))
        assert row(found, "perplexity", "lora")["verdict"] == "worse"
        assert any("another seed may change it" in warning for warning in found["warnings"])

    def test_what_is_never_trained_has_no_seeds_to_vary(self, tmp_path: Path) -> None:
        once, often = (self.reseeded(tmp_path / str(len(s)), 0.5, s) for s in ([0], [0, 1]))
        for folder, said in ((once, 1), (often, 0)):
            for old, new in (("base", "lora"), ("lora", "base")):
                found = compare(f"{folder}:{old}", f"{folder}:{new}")
                assert any("value" in told for told in rows(found))
                told = [warning for warning in found["warnings"] if "another seed may change it" in warning]
                assert len(told) == said

    def test_several_seeds_on_both_sides_have_a_spread(self, tmp_path: Path) -> None:
        one, other, low = (
            self.reseeded(tmp_path / str(s), skill, [s, s + 1, s + 2])
            for s, skill in ((0, 0.9), (10, 0.9), (20, 0.5))
        )
        alike, apart = compare(str(one), str(other)), compare(str(one), str(low))
        assert {row["verdict"] for row in rows(alike)} == {NO_DIFFERENCE}
        assert row(apart, "perplexity", "lora")["verdict"] == "worse"
        assert row(apart, "perplexity", "lora")["seeds"] == {"old": 3, "new": 3}

    def test_shares_do_not_differ_by_more_than_all_of_them(self, tmp_path: Path) -> None:
        """The interval over two seeds that lie far apart has ends that no difference of shares can have."""
        entries = {"base": base(), "lora": Entry(0.5, seeds=2, judged=wins(0.5, 1))}
        one, other = (finished(tmp_path / name, entries) for name in ("one", "other"))

        def change(lines: list[Json]) -> list[Json]:
            for line in lines:
                line["answers"]["lora"]["statistics"]["exact_match"] = [[1.0, 1.0], [0.0, 1.0]]
            return lines

        def rescored(results: Json) -> None:
            results["candidates"][1]["scores"]["exact_match"]["value"] = 0.5

        edit_examples(other, change)
        edit(other, rescored)
        told = row(compare(str(one), str(other)), "exact_match", "lora")
        assert (told["low"], told["high"]) == (-1.0, 1.0)
