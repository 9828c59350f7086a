"""`harness compare`: pairs two runs, says what is real, and fails a pull request where a gate says so."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from commands import harness, write_suite
from report_inputs import make_report_input
from ruamel.yaml import YAML
from test_rank import Entry, World, base

from harness import registry
from harness.cli import main
from harness.comparing import metrics
from harness.comparing.analysis import compare
from harness.comparing.examples import Answers, Common, Rows
from harness.comparing.gates import Gate
from harness.comparing.metrics import Sides
from harness.comparing.runs import Pair, Run
from harness.errors import InputError
from harness.json_files import dump_line, iter_json_lines, read_json, write_json
from harness.records import ALL
from harness.report.comparison import as_markdown, page
from harness.report.comparison.markdown import LONGEST
from harness.stats.multiplicity import NO_DIFFERENCE

Json = dict[str, Any]
N = 60
METRICS = ("perplexity", "bleu", "exact_match")


def wins(share: float, seed: int, unparsed: float = 0.0) -> Callable[[int], tuple[str, str]]:
    """Verdicts in both orders by chance: the candidate wins so often, and so often nothing can be read."""

    def judged(number: int) -> tuple[str, str]:
        dice = random.Random(f"{seed} {number}")
        if dice.random() < unparsed:
            return "unparsed", "first"
        return ("first", "second") if dice.random() < share else ("second", "first")

    return judged


ENTRIES = {
    "base": base(),
    "lora": Entry(0.9, noise_seed=1, tokenizer="t", judged=wins(0.8, 1)),
    "full": Entry(0.7, noise_seed=2, tokenizer="t", judged=wins(0.6, 2)),
    "seeds": Entry(0.6, seeds=3, noise_seed=3, judged=wins(0.6, 3)),
}
WORSE = {
    **ENTRIES,
    "lora": Entry(0.7, noise_seed=4, tokenizer="t", judged=wins(0.4, 4)),
    "new": Entry(0.5, noise_seed=5),
}
del WORSE["full"]


def finished(folder: Path, entries: dict[str, Entry], **more: Any) -> Path:
    """The report folder of a world in which these candidates were run."""
    folder.mkdir()
    world = World(folder, entries, n=N, metrics=METRICS, **more)
    world.rank()
    return folder / "rank"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("worlds") / "old", ENTRIES)


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("worlds") / "worse", WORSE)


@pytest.fixture
def copied(old: Path, tmp_path: Path) -> Path:
    """A copy of the old run, to be changed."""
    shutil.copytree(old, tmp_path / "copy")
    return tmp_path / "copy"


def edit(folder: Path, change: Callable[[Json], None]) -> None:
    results = read_json(folder / "results.json")
    change(results)
    write_json(folder / "results.json", results)


def edit_examples(folder: Path, change: Callable[[list[Json]], list[Json]]) -> None:
    path = folder / "examples.jsonl"
    lines = change(list(iter_json_lines(path)))
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")


def figure(found: Json, name: str) -> Json:
    return next(figure for figure in found["figures"] if figure["name"] == name)


def row(found: Json, name: str, candidate: str) -> Json:
    return next(row for row in figure(found, name)["rows"] if row["candidate"] == candidate)


def rows(found: Json) -> Iterator[Json]:
    for each in found["figures"]:
        yield from (row for row in each["rows"] if "value" in row)


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments)], catch_exceptions=False)


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
        assert found["gates"] == [{"expression": "any worse", "status": "passed", "reasons": []}]

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

    def test_holm_is_over_the_candidates_of_a_figure(self, old: Path, worse: Path) -> None:
        found = row(compare(str(old), str(worse)), "bleu", "lora")
        assert found["p_adjusted"] == pytest.approx(3 * found["p_value"])

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

    def test_several_seeds_on_both_sides_have_a_spread(self, tmp_path: Path) -> None:
        one, other, low = (
            self.reseeded(tmp_path / str(s), skill, [s, s + 1, s + 2])
            for s, skill in ((0, 0.9), (10, 0.9), (20, 0.5))
        )
        alike, apart = compare(str(one), str(other)), compare(str(one), str(low))
        assert {row["verdict"] for row in rows(alike)} == {NO_DIFFERENCE}
        assert row(apart, "perplexity", "lora")["verdict"] == "worse"
        assert row(apart, "perplexity", "lora")["seeds"] == {"old": 3, "new": 3}


class TestPairing:
    """Only what both runs have is compared."""

    def test_examples_are_the_same_by_id_and_content(self, old: Path, copied: Path) -> None:
        def change(lines: list[Json]) -> list[Json]:
            lines[3]["reference"] += " indeed"
            lines[4]["id"] = "another"
            lines[5]["prompt"][0]["content"] = "Say something else"
            return lines[:-2][::-1]

        edit_examples(copied, change)
        found = compare(str(old), str(copied))
        # e4 and the last two are in OLD alone, `another` in NEW, and two have changed.
        assert found["examples"] == {"common": N - 5, "only_old": 3, "only_new": 1, "changed": 2}
        for message in ("3 examples, only in OLD", "1 example, only in NEW", "2 examples, in both"):
            assert any(message in warning for warning in found["warnings"])

    def test_figures_rest_on_the_common_examples_alone(self, old: Path, worse: Path, tmp_path: Path) -> None:
        for name, folder in (("a", old), ("b", worse)):
            shutil.copytree(folder, tmp_path / name)
        whole = compare(str(old), str(worse))
        extra: list[Json] = []

        def add(lines: list[Json]) -> list[Json]:
            extra.extend({**line, "id": f"more-{line['id']}"} for line in lines)
            return [*extra[: N // 2], *lines, *extra[N // 2 :]]

        edit_examples(tmp_path / "b", add)
        # Each example twice gives the same perplexity, so that the board's value still holds.
        found = compare(str(tmp_path / "a"), str(tmp_path / "b"))
        for name in ("perplexity", "exact_match"):
            one, other = row(whole, name, "lora"), row(found, name, "lora")
            assert {key: one[key] for key in ("value", "low", "high", "p_value", "n")} == {
                key: other[key] for key in ("value", "low", "high", "p_value", "n")
            }

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda r: r["metrics"][1].update(signature="tok:other"), "it is computed otherwise: "),
            (lambda r: r["metrics"][1].update(name="bleu2"), "only OLD has it"),
            (lambda r: r["metrics"][1]["plugin"].update(name="bluish"), "unknown evaluator 'bluish'"),
            (
                lambda r: r["metrics"][1]["plugin"].update(name="./evil.py:Evil"),
                "may not say what file to run",
            ),
            (lambda r: r["metrics"][1]["plugin"]["options"].update(nonsense=1), "nonsense: unknown option"),
        ],
    )
    def test_a_metric_that_cannot_be_compared(
        self, old: Path, copied: Path, change: Callable[[Json], None], reason: str
    ) -> None:
        edit(copied, change)
        found = compare(str(old), str(copied))
        assert reason in figure(found, "bleu")["missing"]
        assert figure(found, "bleu")["rows"] == []
        assert figure(found, "perplexity")["missing"] is None
        assert any(reason in warning for warning in found["warnings"])

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda a: a.pop("statistics"), "has no statistics of lora that can be read"),
            (lambda a: a["statistics"].update(bleu=[["x"]]), "has no statistics of lora that can be read"),
            (lambda a: a["statistics"].update(bleu=[[1.0, 2.0]]), "fails on NEW's statistics of lora"),
            (lambda a: a["statistics"].update(bleu=[[9.0] * 10]), "whose board says"),
        ],
    )
    def test_statistics_that_cannot_be_used(
        self, old: Path, copied: Path, change: Callable[[Json], None], reason: str
    ) -> None:

        def change_all(lines: list[Json]) -> list[Json]:
            for line in lines:
                change(line["answers"]["lora"])
            return lines

        edit_examples(copied, change_all)
        found = compare(str(old), str(copied), gates=["lora: bleu worse"])
        assert reason in row(found, "bleu", "lora")["missing"]
        assert "value" in row(found, "bleu", "full")
        assert found["gates"][0]["status"] == "undecided"

    def test_a_value_that_the_common_examples_leave_undefined(self, old: Path, copied: Path) -> None:
        """Of one example without a single token: 0 / 0."""

        def change(lines: list[Json]) -> list[Json]:
            for line in lines:
                line["id"] = "new-" + line["id"]
            lines.append({**lines[0], "id": "shared", "answers": {}})
            for name, answer in lines[0]["answers"].items():
                nothing = [[0.0] * len(row) for row in answer["statistics"]["perplexity"]]
                lines[-1]["answers"][name] = {**answer, "statistics": {"perplexity": nothing}}
            return lines

        edit_examples(copied, change)
        found = compare(str(copied), str(copied), gates=["perplexity worse"])
        assert row(found, "perplexity", "lora")["value"] == 0
        shutil.copytree(copied, copied.parent / "other")
        edit_examples(
            copied.parent / "other",
            lambda lines: [{**line, "id": line["id"].replace("new-", "newer-")} for line in lines],
        )
        found = compare(str(copied), str(copied.parent / "other"), gates=["perplexity worse"])
        assert found["examples"]["common"] == 1
        assert "undefined over 1 common example" in row(found, "perplexity", "lora")["missing"]
        assert found["gates"][0]["status"] == "undecided"

    def test_another_tokenizer(self, old: Path, copied: Path) -> None:
        edit(
            copied,
            lambda results: next(c for c in results["candidates"] if c["name"] == "lora").update(
                tokenizer="u"
            ),
        )
        found = compare(str(old), str(copied))
        assert "the tokenizers differ" in row(found, "perplexity", "lora")["missing"]
        assert "value" in row(found, "bleu", "lora")

    @pytest.mark.parametrize(
        ("file", "reason"),
        [("examples.jsonl", "has no examples.jsonl"), ("verdicts.jsonl", "has no verdicts.jsonl")],
    )
    def test_files_that_are_not_there(self, old: Path, copied: Path, file: str, reason: str) -> None:
        (copied / file).unlink()
        found = compare(str(copied / "results.json"), str(old))
        assert f"OLD {reason}" in figure(found, "reference")["missing"]
        assert ("value" in json.dumps(figure(found, "bleu"))) is (file != "examples.jsonl")

    def test_an_opponent_that_answers_otherwise_is_told(self, old: Path, copied: Path) -> None:
        def change(lines: list[Json]) -> list[Json]:
            for line in lines[:7]:
                line["answers"]["base"]["text"] = "?"
            return lines

        edit_examples(copied, change)
        found = compare(str(old), str(copied))
        assert row(found, "reference", "lora")["opponents_changed"] == {"base": 7}
        assert any(f"answers 7 of {N} examples otherwise" in warning for warning in found["warnings"])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["{old}:lorra", "{old}"], "OLD has no candidate 'lorra'; did you mean 'lora'?"),
            (["{old}", "{worse}:full"], "NEW has no candidate 'full'"),
            (["{old}", "{old}/nowhere"], "no such file or folder"),
            (["{old}/examples.jsonl", "{old}"], "not JSON"),
        ],
    )
    def test_what_is_no_run(self, old: Path, worse: Path, arguments: list[str], message: str) -> None:
        said = run(*[argument.format(old=old, worse=worse) for argument in arguments])
        assert said.exit_code == 2
        assert message in said.stderr
        assert said.stderr.count("\n") == 1

    def test_results_that_are_broken(self, old: Path, copied: Path) -> None:
        edit(copied, lambda results: results["candidates"][1].pop("scores"))
        said = run(old, copied)
        assert said.exit_code == 2
        assert "hold no results that can be compared" in said.stderr

    def test_what_was_configured_otherwise(self, old: Path, copied: Path) -> None:
        def change(results: Json) -> None:
            results["candidates"][1]["recipe"]["training"]["learning_rate"] = 3e-4
            results["environment"]["packages"]["torch"] = "9.9"
            results["data"]["eval_sha256"] = "cd" * 32

        edit(copied, change)
        found = compare(str(old), str(copied))
        name = read_json(copied / "results.json")["candidates"][1]["name"]
        (entry,) = [entry for entry in found["candidates"] if entry["configuration"]]
        assert entry["candidate"] == name
        assert entry["configuration"] == [{"key": "training.learning_rate", "old": 1e-4, "new": 3e-4}]
        assert {change["key"] for change in found["configuration"]} == {
            "data.eval_sha256",
            "environment.packages.torch",
        }


class TestGates:
    """What fails a pull request."""

    @pytest.mark.parametrize(
        ("gate", "code"),
        [
            ("reference < -2pt", 3),
            ("reference < -90pt", 0),
            ("reference > 2pt", 0),
            ("lora: reference < -2pt", 3),
            ("seeds: reference < -2pt", 0),
            ("exact_match<-1pt", 3),
            ("bleu < -0.5", 3),
            ("bleu < −0.5", 3),
            ("bleu < -99%", 0),
            ("perplexity > 1%", 3),
            ("perplexity < 0", 0),
            ("perplexity worse", 3),
            ("any worse", 3),
            ("seeds: any worse", 0),
        ],
    )
    def test_exit_code(self, old: Path, worse: Path, gate: str, code: int) -> None:
        said = run(old, worse, "--fail-if", gate)
        assert said.exit_code == code
        if code:
            assert said.stderr.startswith(f"gate not met: {gate} (failed): lora, ")
            assert f"n = {N}" in said.stderr
        else:
            assert said.stderr == ""

    def test_base_against_a_tuned_candidate_fails(self, old: Path) -> None:
        gates = ["--fail-if", "perplexity worse", "--fail-if", "reference < -2pt"]
        said = run(f"{old}:lora", f"{old}:base", *gates)
        assert said.exit_code == 3
        assert said.stderr.count("gate not met") == 2
        assert run(f"{old}:base", f"{old}:lora", *gates).exit_code == 0

    @pytest.mark.parametrize(
        ("gate", "message"),
        [
            ("referense < -2pt", "which neither run has; did you mean 'reference'?"),
            ("lorra: bleu < -2", "names the candidate 'lorra', which neither run has; did you mean 'lora'?"),
            ("reference < 2pt", "did you mean 'reference < -2pt'?"),
            ("perplexity > -1", "did you mean 'perplexity > 1'?"),
            ("reference < -2", "write -2pt"),
            ("exact_match < -2%", "write -2pt"),
            ("bleu < -2pt", "bleu is not in pt"),
            ("any < -2pt", "write 'any worse'"),
            ("reference", "is no gate"),
            ("referenceworse", "is no gate"),
            ("reference <= -2pt", "is no gate"),
            ("reference < -2pt extra", "is no gate"),
            ("", "is no gate"),
        ],
    )
    def test_what_is_no_gate(self, old: Path, gate: str, message: str) -> None:
        said = run(old, old, "--fail-if", gate)
        assert said.exit_code == 2
        assert message in said.stderr
        assert said.stderr.count("\n") == 1
        assert said.stdout == ""

    @pytest.mark.parametrize("gate", ["bleu < -2", "bleu worse", "lora: bleu worse", "any worse"])
    def test_a_figure_that_failed_does_not_pass(self, old: Path, copied: Path, gate: str) -> None:
        def change(results: Json) -> None:
            (mine,) = [c for c in results["candidates"] if c["name"] == "lora"]
            mine["scores"]["bleu"] = {"missing": "no such tokenizer"}

        edit(copied, change)
        said = run(old, copied, "--fail-if", gate)
        assert said.exit_code == 3
        assert (
            "(undecided): lora, BLEU: cannot be compared: NEW has none for lora: no such tokenizer"
            in said.stderr
        )
        assert run(old, copied, "--fail-if", "seeds: any worse").exit_code == 0
        assert run(copied, old, "--fail-if", "any worse").exit_code == 0, (
            "OLD had none that could become worse"
        )

    @pytest.mark.parametrize("gate", ["bleu worse", "any worse"])
    def test_a_figure_that_is_gone_does_not_pass(self, old: Path, copied: Path, gate: str) -> None:
        edit(copied, lambda results: results["metrics"].pop(1) and None)
        said = run(old, copied, "--fail-if", gate)
        assert said.exit_code == 3
        assert "(undecided): BLEU cannot be compared: only OLD has it" in said.stderr

    def test_a_candidate_that_is_gone_does_not_pass_by_name(self, old: Path, worse: Path) -> None:
        said = run(old, worse, "--fail-if", "full: bleu worse")
        assert said.exit_code == 3
        assert "full is not compared: it is in one of the runs alone" in said.stderr

    def test_a_judge_that_could_not_be_read_decides_nothing(self, old: Path, tmp_path: Path) -> None:
        entries = {
            **ENTRIES,
            "lora": Entry(0.9, noise_seed=1, tokenizer="t", judged=wins(0.1, 1, unparsed=0.5)),
        }
        said = run(old, finished(tmp_path / "unread", entries), "--fail-if", "lora: reference < -2pt")
        assert said.exit_code == 3
        assert "(undecided): lora, reference: cannot be believed" in said.stderr

    def test_several_gates_are_each_told(self, old: Path, worse: Path) -> None:
        said = run(old, worse, "--fail-if", "bleu worse", "--fail-if", "reference > 50pt", "--json")
        assert said.exit_code == 3
        told = json.loads(said.stdout)
        assert [gate["status"] for gate in told["gates"]] == ["failed", "passed"]

    def test_false_alarms_are_rare(self) -> None:
        """Three candidates, before and after alike, 400 times: a gate trips in 5% at most."""
        evaluator = registry.create(registry.make_spec(registry.find("evaluator", "exact_match"), {}))
        info = {"name": "exact_match", "label": "exact match", "unit": "%", "higher_is_better": True}
        names = ("a", "b", "c")
        generator = np.random.default_rng(11)
        alarms = dict.fromkeys(("exact_match worse", "exact_match < -1pt", "exact_match > 1pt"), 0)
        for _ in range(400):
            hard = generator.uniform(0.2, 0.8, size=80)
            sides = _alike(names, [generator.random((3, 80)) < hard for _ in range(2)])
            found = {"figures": [{**info, "missing": None, "absent": None}], "candidates": []}
            found["figures"][0]["rows"] = metrics.rows(info, evaluator, sides)
            for gate in alarms:
                alarms[gate] += decided(gate, found) == "failed"
        assert all(alarms.values()), "a gate that never trips tests nothing"
        assert max(alarms.values()) <= 20
        assert alarms["exact_match < -1pt"] + alarms["exact_match > 1pt"] <= 20


def decided(gate: str, found: Json) -> str:
    from harness.comparing.gates import decide

    return str(decide(Gate.parse(gate), found)["status"])


def _alike(names: tuple[str, ...], right: list[Any]) -> Sides:
    """Both sides of a run in memory: `right` has for OLD and NEW which candidate has which example right."""
    runs, tables = [], []
    n = right[0].shape[1]
    ids = tuple(f"e{i}" for i in range(n))
    for side, values in zip(("OLD", "NEW"), right, strict=True):
        scores = [{"exact_match": {"value": float(mine.mean())}} for mine in values]
        candidates = [{"name": name, "scores": mine} for name, mine in zip(names, scores, strict=True)]
        runs.append(Run(side, Path("results.json"), {"candidates": candidates}))
        answers = {name: Answers() for name in names}
        for name, mine in zip(names, values.astype(float), strict=True):
            for hit in mine:
                told = {"scores": {"exact_match": hit}, "statistics": {"exact_match": [[hit, 1.0]]}}
                answers[name].add(told, ["exact_match"])
        tables.append(Rows(dict.fromkeys(ids, b""), answers))
    places = tuple(range(n))
    common = Common(ids, places, places, 0, 0, 0)
    old, new = runs
    before, after = tables
    return Sides(old, new, before, after, common, [Pair(name, name) for name in names])


HOSTILE = (
    "<img src=x onerror=alert(1)></script><script>alert(2)</script> [x](javascript:alert(3)) "
    "\x1b[31m\u202e{{7*7}} |"
)


class TestOutputs:
    """The files and the terminal."""

    @pytest.fixture
    def hostile(self, worse: Path, tmp_path: Path) -> Path:
        """The worse run, whose texts and messages are out to do harm."""
        shutil.copytree(worse, tmp_path / "hostile")

        def texts(lines: list[Json]) -> list[Json]:
            for line in lines:
                line["answers"]["lora"]["text"] = HOSTILE + line["id"]
            lines[0]["answers"]["lora"]["text"] = "x" * 100_000
            return lines

        def results(found: Json) -> None:
            found["suite"]["name"] = HOSTILE
            found["environment"]["cpu"] = HOSTILE
            (mine,) = [c for c in found["candidates"] if c["name"] == "seeds"]
            mine["scores"]["bleu"] = {"missing": HOSTILE}

        edit_examples(tmp_path / "hostile", texts)
        edit(tmp_path / "hostile", results)
        return tmp_path / "hostile"

    def test_the_files_are_written_and_the_same_each_time(
        self, old: Path, worse: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(old, tmp_path / "elsewhere" / "old")
        assert run(old, worse, "--output", tmp_path / "one").exit_code == 0
        assert run(tmp_path / "elsewhere" / "old", worse, "--output", tmp_path / "two").exit_code == 0
        for name in ("compare.html", "compare.md", "compare.json"):
            content = (tmp_path / "one" / name).read_bytes()
            assert content == (tmp_path / "two" / name).read_bytes()
            assert str(tmp_path).encode() not in content
        told = json.loads((tmp_path / "one" / "compare.json").read_text())
        assert told == compare(str(old), str(worse))
        assert json.loads(run(old, worse, "--json").stdout) == told

    def test_every_figure_is_in_every_form(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        html, text = page(found), as_markdown(found)
        shown = run(old, worse).stdout
        for each in rows(found):
            interval = re.sub(r"\s+", " ", html)
            assert each["verdict"] in interval
        told = row(found, "exact_match", "lora")
        assert told["value"] < 0
        change = f"−{abs(told['value']) * 100:.1f} pt"
        for form in (html, text, shown):
            assert "lora is worse than before" in form
            assert change in form

    def test_hostile_texts_stay_text(self, old: Path, hostile: Path, tmp_path: Path) -> None:
        said = run(old, hostile, "--output", tmp_path / "out", "--fail-if", "seeds: bleu worse")
        assert said.exit_code == 3
        html = (tmp_path / "out" / "compare.html").read_text()
        comment = (tmp_path / "out" / "compare.md").read_text()
        for form in (html, comment, said.stdout, said.stderr):
            assert "\x1b" not in form
            assert "\u202e" not in form
        for form in (html, comment):
            assert "<img" not in form
            assert "<script" not in form
            assert "x" * 3000 not in form
        assert "onerror" in html
        assert "[x](javascript" not in comment
        assert len(comment) <= LONGEST

    def test_a_comment_that_has_no_room_says_so(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        warnings = [f"{number} {'word ' * 40}" for number in range(200)]
        text = as_markdown({**found, "warnings": warnings * 2})
        assert len(text) <= LONGEST
        assert text.rstrip().endswith("a comment has no room for it.")

    def test_in_a_browser(self, browser: Any, old: Path, hostile: Path, tmp_path: Path) -> None:
        from browsing import Reader

        run(old, hostile, "--output", tmp_path / "out", "--fail-if", "any worse")
        reader = Reader(browser, viewport={"width": 390, "height": 800})
        opened = reader.open(tmp_path / "out" / "compare.html")
        opened.evaluate("document.querySelectorAll('details').forEach(found => { found.open = true })")
        assert opened.locator("script").count() == 0
        assert opened.locator("img").count() == 0
        assert opened.locator("table").count() > 4
        wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0
        assert reader.requests == [(tmp_path / "out" / "compare.html").as_uri()]
        assert reader.complaints == []

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_is_accessible(
        self, browser: Any, old: Path, worse: Path, tmp_path: Path, scheme: str
    ) -> None:
        accessibility = pytest.importorskip("test_report_accessibility")
        run(old, worse, "--output", tmp_path, "--fail-if", "any worse", "--fail-if", "seeds: bleu worse")
        assert accessibility.faults(browser, tmp_path / "compare.html", "", color_scheme=scheme) == []


class TestDocumentation:
    """What reports/README.md says can be done."""

    @pytest.fixture
    def text(self, repo: Path) -> str:
        whole = (repo / "reports" / "README.md").read_text(encoding="utf-8")
        section = whole.partition("## Comparing two runs\n")[2].partition("\n## ")[0]
        assert section
        return section

    def test_the_workflow_is_valid_and_its_commands_exist(self, text: str) -> None:
        (source,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
        workflow = YAML(typ="safe").load(source)
        steps = workflow["jobs"]["compare"]["steps"]
        assert workflow["permissions"]["pull-requests"] == "write"
        assert all(("run" in step) != ("uses" in step) for step in steps)
        commands = [step["run"].split() for step in steps if step.get("run", "").startswith("harness ")]
        assert [command[1] for command in commands] == ["run", "compare"]
        for command in commands:
            shown = CliRunner().invoke(main, [command[1], "--help"])
            assert shown.exit_code == 0
            for option in (word for word in command if word.startswith("--")):
                assert option in shown.stdout
        (compared,) = [step["run"] for step in steps if step.get("run", "").startswith("harness compare")]
        for gate in re.findall(r'--fail-if "([^"]+)"', compared):
            Gate.parse(gate)
        (comment,) = [step for step in steps if "gh pr comment" in step.get("run", "")]
        assert "--body-file comparison/compare.md" in comment["run"]
        assert "cancelled()" in comment["if"], "a comment is wanted above all where a gate failed"

    def test_the_gates_that_are_named_are_gates(self, text: str) -> None:
        table = text.partition("| gate | trips where |")[2].partition("\n\n")[0]
        named = [
            gate
            for line in table.splitlines()
            for gate in re.findall(r"`([^`]+)`", line.partition("|")[2].partition("|")[0])
        ]
        assert len(named) == 8
        for gate in named:
            Gate.parse(gate)


SUITE = """\
name: trial
model: {model}
data: {train: data.json, validation: 4, eval: 30}
prompting: {max_length: 96}
training: {num_train_epochs: 6, per_device_train_batch_size: 4, learning_rate: 1e-2}
generation: {max_new_tokens: 16}
evaluators: [perplexity, token_accuracy, chrf]
judges: [reference]
candidates:
  lora: {method: {lora: {r: 4}}}
"""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A folder in which one suite was run with seed 0 and with seed 1."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [
        {"instruction": f"Count from {n} on.", "input": "", "output": f"{n} {n + 1} {n + 2}"}
        for n in range(1, 91)
    ]
    write_suite(folder, tiny_llama, rows, SUITE)
    for seed in (0, 1):
        seeds = ("--set", f"seeds=[{seed}]", "--reports", str(seed))
        said = harness("run", "suite.yaml", *seeds, folder=folder)
        assert said.returncode == 0, said.stderr
    return folder


@pytest.mark.slow
class TestRealRuns:
    """Two trainings of one recipe, by the command."""

    def test_a_run_with_itself(self, reports: Path) -> None:
        said = harness("compare", "0/trial", "0/trial", "--fail-if", "any worse", folder=reports)
        assert said.returncode == 0, said.stderr
        assert "Nothing differs" in said.stdout

    def test_two_seeds(self, reports: Path) -> None:
        gates = ("--fail-if", "any worse", "--fail-if", "reference < -2pt")
        said = harness("compare", "0/trial", "1/trial", *gates, "--json", folder=reports)
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        assert {row["verdict"] for row in rows(found)} == {NO_DIFFERENCE}
        assert row(found, "perplexity", "lora")["value"] != 0
        assert [entry["only_seeds_differ"] for entry in found["candidates"]] == [True, True]

    def test_base_against_a_tuned_candidate(self, reports: Path) -> None:
        sides = ("0/trial:lora", "1/trial:base")
        said = harness("compare", *sides, "--fail-if", "perplexity worse", folder=reports)
        assert said.returncode == 3, said.stderr
        assert "gate not met: perplexity worse (failed): lora → base, perplexity: " in said.stderr
        back = harness("compare", *sides[::-1], "--fail-if", "perplexity worse", folder=reports)
        assert back.returncode == 0, back.stderr


def test_an_expression_comes_apart() -> None:
    gate = Gate.parse("lora: gpt4 < -2.5pt")
    assert (gate.candidate, gate.name, gate.operator, gate.value, gate.unit) == (
        "lora",
        "gpt4",
        "<",
        -2.5,
        "pt",
    )
    assert Gate.parse("bits_per_byte > 0.02bits/byte").unit == "bits/byte"
    with pytest.raises(InputError):
        Gate.parse("gpt4 < nan")
