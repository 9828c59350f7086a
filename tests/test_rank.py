"""The rank stage over artifact folders made by hand: statistics by the real evaluators, verdicts by rule."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_world import ALL_METRICS, METRICS, OUTCOME, SHARED, Entry, Judged, World, always, base, by_name
from jsonschema import Draft202012Validator

from harness import format as fmt
from harness import registry
from harness.errors import StageError
from harness.json_files import iter_json_lines, read_json, write_json, write_jsonl
from harness.leaderboard.findings import findings
from harness.records import Judgment, Verdict, to_json
from harness.report import render
from harness.report.charts.head_to_head import head_to_head
from harness.stats.multiplicity import NO_DIFFERENCE, holm
from harness.stats.proportions import wilson


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Base, a clear winner, two alike in the middle, one like base, one that failed."""
    entries = {
        "base": base(),
        "like-base": Entry(0.2, judged=always("tie", "tie")),
        "middle": Entry(0.5, noise_seed=1, judged=always("first", "first")),
        "best": Entry(0.9, noise_seed=2, judged=always("first", "second")),
        "middle-too": Entry(0.5, noise_seed=3, judged=always("second", "first")),
        "broken": Entry(0.5, failure={"stage": "train", "message": "out of memory:\n8 GB"}),
    }
    return World(tmp_path_factory.mktemp("usual"), entries)


@pytest.fixture(scope="module")
def results(usual: World) -> dict[str, Any]:
    return usual.rank()


class TestBoard:
    def test_order_and_ranks(self, results: dict[str, Any]) -> None:
        names = [candidate["name"] for candidate in results["candidates"]]
        assert names[:2] == ["base", "best"]
        assert set(names[2:4]) == {"middle", "middle-too"}
        assert names[4:] == ["like-base", "broken"]
        ranks = {name: candidate["rank"] for name, candidate in by_name(results).items()}
        assert ranks == {
            "base": None, "best": [1, 1], "middle": [2, 3], "middle-too": [2, 3], "like-base": [4, 4],
            "broken": None,
        }  # fmt: skip

    def test_scores_are_those_of_all_examples_together(self, usual: World, results: dict[str, Any]) -> None:
        for name in ("base", "best"):
            lines = list(iter_json_lines(usual.inputs[f"predict {name}-0"] / "predictions.jsonl"))
            nll = sum(line["sums"]["negative_log_likelihood"] for line in lines)
            tokens = sum(line["sums"]["tokens"] for line in lines)
            score = by_name(results)[name]["scores"]["perplexity"]
            assert score["value"] == pytest.approx(math.exp(nll / tokens), rel=1e-12)
            assert score["low"] < score["value"] < score["high"]
            assert (score["n"], score["unscored"]) == (40, 0)
            assert score["per_seed"] == pytest.approx([score["value"]])

    def test_a_share_of_examples_has_wilsons_interval(self, results: dict[str, Any]) -> None:
        score = by_name(results)["base"]["scores"]["exact_match"]
        assert (score["value"], score["low"], score["high"]) == (0.0, *wilson(0, 40))
        score = by_name(results)["best"]["scores"]["exact_match"]
        assert (score["low"], score["high"]) == pytest.approx(wilson(round(score["value"] * 40), 40))
        assert score["low"] > 0

    def test_wilsons_interval_is_for_metrics_that_declare_themselves_shares(self, tmp_path: Path) -> None:
        """Not a matter of how the numbers happen to fall: over seeds too, and never for a share of tokens."""
        entries = {"base": base(skill=1.0), "a": Entry(1.0, seeds=2), "b": Entry(0.97, seeds=3)}
        rows = World(tmp_path, entries, metrics=("exact_match", "token_accuracy")).rank()["candidates"]
        for row in rows:
            score = row["scores"]["exact_match"]
            low, high = wilson(score["value"] * 40, 40)
            if row["name"] == "b":  # the seeds differ, so that the interval is wider
                assert 0 < score["low"] < low < high < score["high"] <= 1
            else:
                assert (score["low"], score["high"]) == pytest.approx((low, high))
        tokens = rows[0]["scores"]["token_accuracy"]
        assert (tokens["value"], tokens["low"], tokens["high"]) == (1.0, 1.0, 1.0)

    def test_differences_are_to_base_and_corrected(self, results: dict[str, Any]) -> None:
        candidates = by_name(results)
        tuned = [c for c in results["candidates"][1:] if c["status"] == "ok"]
        for metric in METRICS:
            found = [c["differences"][metric] for c in tuned]
            assert [d["p_adjusted"] for d in found] == pytest.approx(
                holm([d["p_value"] for d in found]).tolist()
            )
            for candidate, difference in zip(tuned, found, strict=True):
                gap = candidate["scores"][metric]["value"] - candidates["base"]["scores"][metric]["value"]
                assert difference["value"] == pytest.approx(gap, abs=1e-9)
                assert difference["low"] <= difference["value"] <= difference["high"]
                assert (difference["against"], difference["n"]) == ("base", 40)
        verdicts = {c["name"]: c["differences"]["perplexity"]["verdict"] for c in tuned}
        assert verdicts == {
            "best": "better", "middle": "better", "middle-too": "better", "like-base": NO_DIFFERENCE,
        }  # fmt: skip
        assert candidates["like-base"]["differences"]["perplexity"]["p_value"] == 1.0
        assert candidates["base"]["differences"] == {}

    def test_pairs_are_all_pairs(self, results: dict[str, Any]) -> None:
        for metric in METRICS:
            rows = [pair for pair in results["pairs"] if pair["metric"] == metric]
            assert len(rows) == 5 * 4 / 2
            assert [r["p_adjusted"] for r in rows] == pytest.approx(
                holm([r["p_value"] for r in rows]).tolist()
            )
        scores = {name: c["scores"] for name, c in by_name(results).items()}
        for row in results["pairs"]:
            gap = scores[row["a"]][row["metric"]]["value"] - scores[row["b"]][row["metric"]]["value"]
            assert row["value"] == pytest.approx(gap, abs=1e-9)
            if row["verdict"] != NO_DIFFERENCE:
                higher_is_better = row["metric"] != "perplexity"
                assert row["verdict"] == ("a" if (row["value"] > 0) == higher_is_better else "b")

    def test_a_failed_candidate(self, results: dict[str, Any]) -> None:
        broken = by_name(results)["broken"]
        assert (broken["status"], broken["failure"]["stage"]) == ("failed", "train")
        assert all(score == {"missing": "train failed"} for score in broken["scores"].values())
        assert broken["training"] is None

    def test_seeds_that_saw_different_numbers_of_tokens(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, seeds=2), "b": Entry(0.6)}
        world = World(tmp_path, entries)
        path = world.inputs["train a-1"] / "outcome.json"
        write_json(path, {**read_json(path), "tokens_seen": 9000})
        results = world.rank()
        row = by_name(results)["a"]
        assert "3,200 – 9,000 tokens" in row["badges"]
        assert [(one["seed"], one["tokens_seen"]) for one in row["training"]["per_seed"]] == [
            (0, 3200),
            (1, 9000),
        ]
        assert any("a 3,200 and 9,000" in warning for warning in results["warnings"])

    def test_training_costs_and_badges(self, results: dict[str, Any]) -> None:
        best = by_name(results)["best"]
        assert best["training"]["tokens_seen"] == 3200
        assert best["training"]["curve"] == [
            {
                "step": 5,
                "epoch": 0.5,
                "loss": 2.0,
                "learning_rate": 1e-4,
                "grad_norm": None,
                "tokens_per_second": 400.0,
            }
        ]
        assert best["training"]["validation"][0]["samples"] == [{"id": "v0", "prompt": "p", "answer": "a"}]
        assert (best["costs"]["train_seconds"], best["costs"]["predict_seconds"]) == (8.0, 2.0)
        assert best["badges"] == [
            "float32 weights, bfloat16 compute", "batch 8", "3,200 tokens", "2 rows truncated",
            "1 row dropped", "cpu",
        ]  # fmt: skip
        assert "slow disk" in best["warnings"]
        base_row = results["candidates"][0]
        assert base_row["training"] is None
        assert base_row["costs"]["train_seconds"] is None
        assert base_row["badges"] == ["float32", "cpu"]

    def test_keys(self, results: dict[str, Any]) -> None:
        assert set(results) == {
            "schema", "suite", "data", "metrics", "judges", "candidates", "pairs", "agreement", "neighbours",
            "findings", "environment", "warnings", "charges", "statistics", "examples",
        }  # fmt: skip
        assert results["data"]["eval_sha256"] == "ab" * 32
        assert results["data"]["eval_tokens"] == 70
        bleu = results["metrics"][1]
        assert bleu == {
            "name": "bleu", "label": "BLEU", "unit": "", "higher_is_better": True,
            "signature": bleu["signature"], "receipt": None, "prompts": {},
            "plugin": {"name": "bleu", "options": bleu["plugin"]["options"]},
            "difference_edges": bleu["difference_edges"],
        }  # fmt: skip
        assert results["metrics"][1]["signature"].startswith("nrefs:1|")
        assert set(results["environment"]) == {"python", "platform", "cpu", "gpus", "packages", "harness"}
        assert "numpy" in results["environment"]["packages"]

    def test_the_same_input_gives_the_same_board(self, usual: World, results: dict[str, Any]) -> None:
        again = usual.rank("again")
        assert {**again, "environment": None} == {**results, "environment": None}

    def test_examples(self, usual: World, results: dict[str, Any]) -> None:
        lines = usual.shown()
        assert [line["id"] for line in lines] == [example.id for example in usual.examples]
        line = lines[3]
        assert set(line) == {"id", "prompt", "reference", "answers", "verdicts"}
        assert list(line["answers"]) == ["base", "like-base", "middle", "best", "middle-too"]
        answer = line["answers"]["best"]
        assert set(answer) == {
            "text", "error", "finish_reason", "tokens", "prompt_tokens", "cost_usd", "scores", "statistics",
        }  # fmt: skip
        assert set(answer["scores"]) == set(METRICS)
        assert line["verdicts"]["reference"]["best"] == [
            {
                "opponent": "base",
                "candidate_first": True,
                "choice": "first",
                "reason": "because",
                "raw": "raw",
            },
            {
                "opponent": "base",
                "candidate_first": False,
                "choice": "second",
                "reason": "because",
                "raw": "raw",
            },
        ]


class TestJudges:
    def test_win_rates(self, results: dict[str, Any]) -> None:
        rates = {name: c["win_rates"].get("reference") for name, c in by_name(results).items()}
        assert rates["base"] is None
        assert rates["best"]["rules"]["average"]["value"] == 1.0
        assert rates["best"]["verdict"] == "better"
        assert rates["middle-too"]["verdict"] == "worse"
        first = rates["middle"]
        assert (first["rules"]["average"]["value"], first["consistency"], first["flips_to_first"]) == (
            0.5,
            0.0,
            1.0,
        )
        assert first["rules"]["consistent_only"] == {"value": None, "low": None, "high": None, "n": 0}
        ties = rates["like-base"]
        assert (ties["rules"]["average"]["value"], ties["consistency"], ties["verdict"]) == (
            0.5,
            1.0,
            NO_DIFFERENCE,
        )
        assert rates["best"]["p_adjusted"] == pytest.approx(10 * rates["best"]["p_value"])
        assert rates["best"]["n"] == 40
        receipt = results["judges"][0]["receipt"]
        assert (receipt["cost_usd"], receipt["from_cache"], receipt["examples"]) == (1.0, 12, 160)
        assert (receipt["prompt_tokens"], receipt["completion_tokens"]) == (2800, 160)
        assert results["judges"][0]["signature"].startswith("judge:reference")

    @pytest.mark.parametrize(("unreadable", "verdict"), [(3, "better"), (6, NO_DIFFERENCE)])
    def test_too_many_unparsed_verdicts_allow_no_conclusion(
        self, tmp_path: Path, unreadable: int, verdict: str
    ) -> None:
        def judged(i: int) -> tuple[str, str]:
            return ("unparsed", "unparsed") if i < unreadable else ("first", "second")

        results = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=judged)}).rank()
        row = by_name(results)["a"]
        rate = row["win_rates"]["reference"]
        assert (rate["n"], rate["incomplete"], rate["verdict"]) == (40 - unreadable, unreadable, verdict)
        assert rate["unparsed"] == pytest.approx(unreadable / 40)
        assert any("could not be read" in warning for warning in row["judge_warnings"]) == (
            verdict == NO_DIFFERENCE
        )

    @pytest.mark.parametrize(
        ("judged", "reason"),
        [
            ("no key", "no key"),
            (always("unparsed", "first"), "none of the 40 pairs got a readable verdict in both orders"),
            (lambda _: None, "no prompt has an answer of both candidate and base"),
        ],
    )
    def test_a_judge_without_a_word(self, tmp_path: Path, judged: Any, reason: str) -> None:
        results = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=judged)}).rank()
        row = by_name(results)["a"]
        assert row["win_rates"]["reference"]["missing"] == reason
        assert f"win rate by reference is missing: {reason}" in row["judge_warnings"]
        assert row["status"] == "ok"
        assert "value" in row["scores"]["perplexity"]

    def test_pairs_without_an_answer_are_counted(self, tmp_path: Path) -> None:
        def judged(i: int) -> tuple[str, str] | None:
            return None if i in (0, 1) else ("first", "second")

        entries = {"base": base(), "a": Entry(0.5, judged=judged, unanswered=(0, 1))}
        row = by_name(World(tmp_path, entries).rank())["a"]
        assert (row["win_rates"]["reference"]["n"], row["win_rates"]["reference"]["skipped"]) == (38, 2)
        assert "2 pairs lack an answer, and reference could not judge them" in row["judge_warnings"]

    def test_another_opponent_than_base(self, tmp_path: Path) -> None:
        judged = always("second", "first")
        entries = {
            "base": base(judged=judged),
            "a": Entry(0.5, judged=judged),
            "gpt": Entry(0.9, trained=False),
        }
        results = World(tmp_path, entries, against="gpt").rank()
        rates = {name: c["win_rates"] for name, c in by_name(results).items()}
        assert rates["gpt"] == {}
        assert rates["base"]["reference"]["against"] == "gpt"
        assert rates["a"]["reference"]["verdict"] == "worse"


class TestLines:
    """verdicts.jsonl: every judgment with its two players, their lengths, and the seed."""

    def test_a_line_has_both_players_and_their_lengths(self, usual: World, results: dict[str, Any]) -> None:
        lines = list(iter_json_lines(usual.folder / "rank" / "verdicts.jsonl"))
        assert len(lines) == results["judges"][0]["analysis"]["judgments"] == 2 * 4 * 40
        line = next(line for line in lines if line["second"] == "best")
        answers = {e["id"]: e["answers"] for e in usual.shown()}[line["example_id"]]
        assert line == {
            "judge": "reference", "example_id": "e0", "seed": 0, "first": "base", "second": "best",
            "choice": "second", "preference": None, "fault": "", "control": "",
            "settled": False, "symmetric": False,
            "first_chars": len(answers["base"]["text"]), "second_chars": len(answers["best"]["text"]),
            "reason": "because", "raw": "raw",
        }  # fmt: skip

    def test_the_reference_answer_is_a_player(self, tmp_path: Path) -> None:
        entries = {
            "base": base(judged=always("tie", "tie")),
            "a": Entry(0.5, judged=always("first", "second")),
        }
        world = World(tmp_path, entries, against="reference")
        results = world.rank()
        lines = list(iter_json_lines(tmp_path / "rank" / "verdicts.jsonl"))
        line = next(line for line in lines if (line["first"], line["example_id"]) == ("reference", "e7"))
        assert line["first_chars"] == len(world.examples[7].reference)
        rates = {name: c["win_rates"]["reference"] for name, c in by_name(results).items()}
        assert (rates["a"]["verdict"], rates["base"]["verdict"]) == ("better", NO_DIFFERENCE)
        assert {v["opponent"] for v in world.shown()[0]["verdicts"]["reference"]["a"]} == {"reference"}

    def test_settled_pairs_are_ties_and_no_word_of_the_judge(self, tmp_path: Path) -> None:
        """Of 40 pairs 36 are of identical answers; of the 8 verdicts one cannot be read."""
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=always("first", "second"))})
        path = world.inputs["judge a-0 reference"] / "verdicts.jsonl"
        lines = list(iter_json_lines(path))
        lines[0]["verdict"]["choice"] = "unparsed"
        for line in lines[8:]:
            line["settled"], line["verdict"]["choice"] = True, "tie"
        write_jsonl(path, lines)
        analysis = world.rank()["judges"][0]["analysis"]
        assert (analysis["identical"], analysis["judgments"]) == ({"pairs": 36, "of": 40}, 8)
        assert analysis["refused"].startswith("12.5% of 8 verdicts could not be read")
        assert analysis["swaps"]["pairs"] == 3
        shown = list(iter_json_lines(tmp_path / "rank" / "verdicts.jsonl"))
        assert [line["settled"] for line in shown] == [False] * 8 + [True] * 72
        assert analysis["rates"]["a"]["rules"]["average"]["n"] == 39

    def test_a_candidate_of_whose_pairs_none_was_asked_about(self, tmp_path: Path) -> None:
        """`copy` says what base says; `longer` is shown to be preferred, and so is the longer answer."""
        entries = {name: Entry(0.5, judged=always("first", "second")) for name in ("longer", "copy")}
        world = World(tmp_path, {"base": base(), **entries})
        path = world.inputs["judge copy-0 reference"] / "verdicts.jsonl"
        lines = list(iter_json_lines(path))
        for line in lines:
            line["settled"], line["verdict"]["choice"] = True, "tie"
        write_jsonl(path, lines)
        results = world.rank()
        rate = by_name(results)["copy"]["win_rates"]["reference"]
        assert (rate["unparsed"], rate["consistency"], rate["identical"]) == (None, None, 40)
        assert (rate["rules"]["average"]["value"], rate["unread"]) == (0.5, False)
        render(tmp_path / "rank")
        page = (tmp_path / "rank" / "index.html").read_text(encoding="utf-8")
        assert "40 of 80 pairs" in page
        assert "a tie, nobody asked" in page

    def test_a_judge_without_a_word_is_not_a_candidate_without_answers(self, tmp_path: Path) -> None:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=lambda _: None)}, n=12)
        receipt = world.inputs["judge a-0 reference"] / "judge.json"
        write_json(receipt, {**read_json(receipt), "skipped": 0, "not_judged": 12})
        results = world.rank()
        rate = by_name(results)["a"]["win_rates"]["reference"]
        assert rate["missing"] == "the judge had no verdict on any of the 12 pairs"
        assert "Judge reference had no verdict on any of the 12 pairs." in results["findings"]

    def test_a_judge_that_is_not_believed_agrees_with_nobody(self, tmp_path: Path) -> None:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=always("first", "unparsed"))})
        first = world.params["judges"][0]
        world.params["judges"] = [first, {**first, "name": "again"}]
        for candidate in world.params["candidates"]:
            for trial in candidate["trials"]:
                if "reference" in trial["judges"]:
                    trial["judges"]["again"] = trial["judges"]["reference"]
        assert world.rank()["agreement"] is None

    def test_seeds_are_apart_and_the_first_is_shown(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, seeds=2, judged=always("first", "second"))}
        world = World(tmp_path, entries)
        results = world.rank()
        lines = list(iter_json_lines(tmp_path / "rank" / "verdicts.jsonl"))
        assert sorted({line["seed"] for line in lines}) == [0, 1]
        assert len(world.shown()[0]["verdicts"]["reference"]["a"]) == 2
        assert by_name(results)["a"]["win_rates"]["reference"]["pairs"] == 80

    def test_controls_compare_nobody(self, tmp_path: Path) -> None:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=always("first", "second"))})
        path = world.inputs["judge a-0 reference"] / "verdicts.jsonl"
        controls = [
            Judgment("e0", True, Verdict("first"), "identical"),
            Judgment("e0", True, Verdict("second"), "repeat"),
        ]
        write_jsonl(path, [*iter_json_lines(path), *controls])
        results = world.rank()
        assert results["judges"][0]["analysis"]["controls"] == {
            "identical": {"n": 1, "ties": 0, "to_first": 1, "to_second": 0, "unparsed": 0},
            "repeats": {"n": 1, "same": 0, "changed": 1},
        }
        assert by_name(results)["a"]["win_rates"]["reference"]["rules"]["average"]["value"] == 1.0
        assert len(world.shown()[0]["verdicts"]["reference"]["a"]) == 2
        lines = list(iter_json_lines(tmp_path / "rank" / "verdicts.jsonl"))
        identical = next(line for line in lines if line["control"] == "identical")
        assert identical["first_chars"] == identical["second_chars"]
        told = (
            "Of 1 pairs of identical answers reference called 0 a tie; of 1 it preferred the first, of 0 the"
        )
        assert any(finding.startswith(told) for finding in results["findings"])


def robin(folder: Path, skills: dict[str, float], lost: tuple[str, str] | None = None) -> World:
    """Everyone against everyone: the more skilled wins three prompts of four, `lost` could not be judged."""
    world = World(folder, {name: Entry(skill, trained=name != "base") for name, skill in skills.items()})
    world.params["judges"] = [{**world._judge_params(), "against": "all"}]
    world.params["suite"]["rank_by"] = "reference"
    met: list[str] = []
    for candidate in world.params["candidates"]:
        name = candidate["name"]
        candidate["trials"][0]["judges"] = {
            "reference": [
                {"against": other, "seed": 0, "step": meeting(world, name, other, skills)}
                if (name, other) != lost
                else {"against": other, "seed": 0, "step": {"failure": "the server is gone"}}
                for other in met
            ]
        }
        met.append(name)
    return world


def meeting(world: World, name: str, other: str, skills: dict[str, float]) -> str:
    better = skills[name] > skills[other]
    entry = Entry(0, judged=lambda i: ("first", "second") if (i % 4 > 0) is better else ("second", "first"))
    world.against = other
    return str(world._judge(f"{name}-{other}", entry)["reference"][0]["step"])


class TestRoundRobin:
    SKILLS = {"base": 0.2, "a": 0.5, "b": 0.9, "c": 0.4}  # noqa: RUF012 - never changed

    def test_ranks_come_from_the_judge(self, tmp_path: Path) -> None:
        results = robin(tmp_path, self.SKILLS).rank()
        rows = results["candidates"]
        assert [(row["name"], row["rank"], row["group"]) for row in rows] == [
            ("base", None, None), ("b", [1, 1], "a"), ("a", [2, 2], "b"), ("c", [3, 3], "c"),
        ]  # fmt: skip
        abilities = [row["player"] for row in results["judges"][0]["analysis"]["abilities"]]
        assert abilities == ["b", "a", "c", "base"]
        assert rows[1]["win_rates"]["reference"]["rules"]["average"]["value"] == pytest.approx(0.75)
        assert rows[0]["win_rates"]["reference"]["verdict"] == "worse"
        assert len(results["judges"][0]["pairs"]) == 6
        assert [(n["first"], n["second"], n["verdict"]) for n in results["neighbours"]] == [
            ("b", "a", "better"),
            ("a", "c", "better"),
        ]
        assert results["findings"][0].startswith("Judge reference (likeness to the reference answer")
        assert "most prefers b: it wins 75.0% [" in results["findings"][0]
        assert "against the field, n = 40" in results["findings"][0]

    def test_the_page_shows_it(self, tmp_path: Path) -> None:
        world = robin(tmp_path, self.SKILLS)
        world.rank()
        page = render(tmp_path / "rank").read_text(encoding="utf-8")
        for told in ("reference, against all others", "rank of all", "Head to head: win rate by reference"):
            assert told in page

    def test_head_to_head_are_win_rates_of_the_row(self, tmp_path: Path) -> None:
        results = robin(tmp_path, self.SKILLS).rank()
        square = head_to_head(results)
        assert square is not None
        cells = {
            name: [cell and (cell["text"], cell["verdict"]) for cell in row] for name, row in square["rows"]
        }
        assert square["names"] == ["base", "b", "a", "c"]
        assert cells["a"] == [("75.0%", "better"), ("25.0%", "worse"), None, ("75.0%", "better")]

    def test_a_pair_has_one_answer_to_what_it_could_show(self, tmp_path: Path) -> None:
        judge = robin(tmp_path, self.SKILLS).rank()["judges"][0]
        keys = ("smallest_effect", "more_prompts")
        told = [[pair[key] for key in keys] for pair in judge["pairs"]]
        assert told == [[pair[key] for key in keys] for pair in judge["analysis"]["pairs"]]

    def test_a_pair_that_could_not_be_judged_costs_that_pair(self, tmp_path: Path) -> None:
        results = robin(tmp_path, self.SKILLS, lost=("c", "b")).rank()
        rates = {row["name"]: row["win_rates"]["reference"] for row in results["candidates"]}
        assert rates["b"]["pairs"] == rates["c"]["pairs"] == 80
        assert rates["a"]["pairs"] == 120
        assert all(row["rank"] for row in results["candidates"][1:])


class TestRankedByJudge:
    """Against one opponent: by win rate, and two candidates are compared on the prompts that they share."""

    def world(self, folder: Path, **judged: Judged) -> World:
        entries = {"base": base(), **{name: Entry(0.5, judged=said) for name, said in judged.items()}}
        return World(folder, entries, metrics=["perplexity"], rank_by="reference")

    def test_order_ranks_and_neighbours(self, tmp_path: Path) -> None:
        results = self.world(
            tmp_path,
            bad=always("second", "first"),
            good=lambda i: ("first", "second") if i % 10 else ("second", "first"),
            best=lambda i: ("first", "second") if i % 20 else ("second", "first"),
        ).rank()
        assert [(row["name"], row["rank"], row["group"]) for row in results["candidates"][1:]] == [
            ("best", [1, 2], "a"), ("good", [1, 2], "a"), ("bad", [3, 3], "b"),
        ]  # fmt: skip
        first, second = results["neighbours"]
        assert (first["first"], first["second"], first["verdict"]) == ("best", "good", NO_DIFFERENCE)
        assert first["value"] == pytest.approx(0.05)
        assert first["more_prompts"] > 40 > 0 < first["smallest_effect"]
        assert (second["verdict"], second["more_prompts"]) == ("better", None)
        assert results["findings"][0].endswith("; good cannot be told apart from best.")
        assert results["findings"][1].startswith("best and good cannot be told apart (difference +5.0 pt")
        assert not any("order among them" in finding for finding in results["findings"])

    def test_too_many_unparsed_rank_nobody(self, tmp_path: Path) -> None:
        results = self.world(
            tmp_path,
            a=lambda i: ("unparsed", "unparsed") if i < 6 else ("first", "second"),
            b=lambda i: ("unparsed", "first") if i < 9 else ("first", "second"),
        ).rank()
        assert [(row["rank"], row["group"]) for row in results["candidates"]] == [(None, None)] * 3
        assert results["findings"][0].startswith(
            "No candidate is ranked, as this board is to be by the judge reference: 13.1% of 160 verdicts"
        )
        assert results["neighbours"] == []

    def test_one_with_too_many_unparsed_has_no_rank(self, tmp_path: Path) -> None:
        results = self.world(
            tmp_path,
            a=lambda i: ("unparsed", "unparsed") if i < 6 else ("first", "second"),
            b=always("first", "second"),
        ).rank()
        assert [(row["name"], row["rank"]) for row in results["candidates"][1:]] == [
            ("b", [1, 1]),
            ("a", None),
        ]

    def test_a_failed_judge_ranks_nobody(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, judged="the budget of $5.00 is spent"), "b": Entry(0.6)}
        entries["b"].judged = entries["a"].judged
        results = World(tmp_path, entries, rank_by="reference").rank()
        assert [row["rank"] for row in results["candidates"]] == [None] * 3
        assert results["findings"][:2] == [
            "No candidate can be ranked by the judge reference, as this board is to be.",
            "Judge reference has no verdict on a and b: the budget of $5.00 is spent.",
        ]
        assert render(tmp_path / "rank").is_file()


class TestMissing:
    def test_a_failed_evaluator_costs_only_its_score(self, tmp_path: Path) -> None:
        results = World(tmp_path, {"base": base(), "a": Entry(0.5, broken_metric="bleu")}).rank()
        row = by_name(results)["a"]
        assert row["status"] == "ok"
        assert row["scores"]["bleu"] == {"missing": "no such tokenizer"}
        assert "bleu" not in row["differences"]
        assert "BLEU is missing: no such tokenizer" in row["warnings"]
        assert row["differences"]["perplexity"]["verdict"] == "better"
        assert [pair["metric"] for pair in results["pairs"]] == ["perplexity", "exact_match"]

    def test_a_metric_that_failed_everywhere(self, tmp_path: Path) -> None:
        entries = {"base": base(broken_metric="bleu"), "a": Entry(0.5, broken_metric="bleu")}
        results = World(tmp_path, entries, rank_by="bleu").rank()
        assert results["metrics"][1]["name"] == "bleu"
        assert [candidate["rank"] for candidate in results["candidates"]] == [None, None]
        assert results["findings"][0] == "No candidate can be ranked by bleu, as this board is to be."

    def test_base_failed(self, tmp_path: Path) -> None:
        entries = {
            "base": base(failure={"stage": "predict", "message": "no"}),
            "a": Entry(0.4),
            "b": Entry(0.9),
        }
        results = World(tmp_path, entries).rank()
        assert [c["name"] for c in results["candidates"]] == ["base", "b", "a"]
        assert by_name(results)["b"]["rank"] == [1, 1]
        assert by_name(results)["b"]["differences"]["perplexity"] == {"missing": "base: predict failed"}
        assert results["findings"][0].startswith("b has the best perplexity")

    def test_a_backend_that_cannot_score(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5), "gpt": Entry(0.9, trained=False, scores_likelihood=False)}
        results = World(tmp_path, entries).rank()
        row = by_name(results)["gpt"]
        assert row["scores"]["perplexity"] == {"missing": "none of the 40 examples could be scored"}
        assert row["rank"] is None
        assert results["candidates"][-1] == row
        assert row["differences"]["bleu"]["verdict"] == "better"
        assert "perplexity" not in row["differences"]

    def test_unscored_examples_are_left_out_of_both_sides(self, tmp_path: Path) -> None:
        entries = {"base": base(unanswered=(0, 1)), "a": Entry(0.5, unanswered=(1, 2, 3))}
        world = World(tmp_path, entries)
        results = world.rank()
        row, base_row = by_name(results)["a"], by_name(results)["base"]
        assert (row["scores"]["bleu"]["n"], row["scores"]["bleu"]["unscored"]) == (37, 3)
        assert base_row["scores"]["bleu"]["n"] == 38
        difference = row["differences"]["perplexity"]
        assert difference["n"] == 36

        def perplexity(name: str) -> float:
            lines = list(iter_json_lines(world.inputs[f"predict {name}-0"] / "predictions.jsonl"))[4:]
            nll = sum(line["sums"]["negative_log_likelihood"] for line in lines)
            return math.exp(nll / sum(line["sums"]["tokens"] for line in lines))

        assert difference["value"] == pytest.approx(perplexity("a") - perplexity("base"), rel=1e-9)
        assert "3 of 40 prompts got no answer" in row["warnings"]
        assert "BLEU leaves out 3 of 40 examples, which could not be scored" in row["warnings"]

    def test_other_examples_are_refused(self, tmp_path: Path) -> None:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5)})
        path = world.inputs["evaluate a-0 bleu"] / "statistics.jsonl"
        write_jsonl(path, list(iter_json_lines(path))[::-1])
        with pytest.raises(StageError, match="not the examples of the eval set"):
            world.rank()

    def test_other_examples_are_refused_where_another_seed_failed(self, tmp_path: Path) -> None:
        """No score rests on the first seed's, but examples.jsonl has what they say of each example."""
        failure = {"stage": "train", "message": "no"}
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, seeds=2, failure=failure)})
        path = world.inputs["evaluate a-0 bleu"] / "statistics.jsonl"
        write_jsonl(path, list(iter_json_lines(path))[::-1])
        with pytest.raises(StageError, match="not the examples of the eval set"):
            world.rank()

    def test_scores_tell_how_their_intervals_were_made(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, seeds=2), "b": Entry(0.3)}
        results = World(tmp_path, entries, metrics=("perplexity", "exact_match")).rank()
        made = {
            name: {metric: score["interval"] for metric, score in row["scores"].items()}
            for name, row in by_name(results).items()
        }
        assert made["base"] == made["b"] == {"perplexity": "bootstrap", "exact_match": "wilson"}
        assert set(made["a"].values()) == {"seeds and examples"}
        assert results["statistics"] == {"bootstrap_draws": 2000, "sign_flips": 10_000, "alpha": 0.05}


class TestSeeds:
    def test_one_seed_gives_the_figures_it_always_gave(self, tmp_path: Path) -> None:
        """Over prompts alone: percentiles of the bootstrap, Wilson's interval, sign flips, Holm."""
        verdicts = (("first", "second"), ("first", "first"), ("tie", "second"), ("second", "first"))
        entries = {
            "base": base(),
            "a": Entry(0.5, judged=lambda i: verdicts[i % 4]),
            "b": Entry(0.3, unanswered=(1, 2)),
        }
        metrics = ("perplexity", "bleu", "exact_match", "token_accuracy")
        results = World(tmp_path, entries, metrics=metrics).rank()
        rows = by_name(results)
        scores = {(name, m): rows[name]["scores"][m] for name in "ab" for m in metrics}
        ends = ("value", "low", "high")
        for where, told in {
            ("a", "perplexity"): (4.574015927333034, 3.7591689138909907, 5.536811986005561),
            ("a", "bleu"): (12.78624801955651, 7.524347070776741, 17.221892407017158),
            ("b", "exact_match"): (0.0, 0.0, 0.09180986822558392),
        }.items():
            assert [scores[where][end] for end in ends] == pytest.approx(told, rel=1e-9)
        rate = rows["a"]["win_rates"]["reference"]
        assert [rate["rules"]["average"][end] for end in ends] == pytest.approx(
            [0.5625, 0.4425917, 0.6755245]
        )
        assert rate["p_value"] == pytest.approx(0.3454025387763977)
        pair = next(p for p in results["pairs"] if (p["metric"], p["a"], p["b"]) == ("bleu", "a", "b"))
        told = (5.049640598311931, -2.012673966351041, 11.805592254154023, 0.14228577142285773)
        assert [pair[key] for key in (*ends, "p_value")] == pytest.approx(told, rel=1e-9)

    def test_intervals_are_by_prompt_over_the_mean_of_seeds(self, tmp_path: Path) -> None:
        one = {"base": base(), "a": Entry(0.5)}
        three = {"base": base(), "a": Entry(0.5, seeds=3)}
        (tmp_path / "one").mkdir()
        (tmp_path / "three").mkdir()
        single, world = World(tmp_path / "one", one).rank(), World(tmp_path / "three", three)
        results = world.rank()
        score = by_name(results)["a"]["scores"]["perplexity"]
        assert len(score["per_seed"]) == 3
        assert len(set(score["per_seed"])) == 3
        assert score["per_seed"][0] == pytest.approx(by_name(single)["a"]["scores"]["perplexity"]["value"])
        log = np.log(score["per_seed"])
        assert math.log(score["value"]) == pytest.approx(log.mean(), rel=1e-12)
        assert score["n"] == 40
        assert "3 seeds" in by_name(results)["a"]["badges"]
        for metric, alone in by_name(single)["base"]["scores"].items():
            score = by_name(results)["base"]["scores"][metric]
            assert score.pop("per_seed") == pytest.approx(alone.pop("per_seed"))
            assert score == pytest.approx(alone)

    def test_equal_seeds_change_next_to_nothing(self, tmp_path: Path) -> None:
        """Three copies of a trial are as much evidence as one, against a base of one trial.

        The interval is Student's t where there are seeds, and percentiles where there are none.
        """
        world = World(tmp_path, {"base": base(), "a": Entry(0.5), "b": Entry(0.3)}, metrics=ALL_METRICS)
        once = world.rank("once")
        world.params = copy.deepcopy(world.params)
        for candidate in world.params["candidates"][1:]:
            candidate["trials"] *= 3
        thrice = world.rank("thrice")
        for a, b in zip(once["pairs"], thrice["pairs"], strict=True):
            width = a["high"] - a["low"]
            for end in ("low", "high"):
                assert b.pop(end) == pytest.approx(a.pop(end), abs=0.15 * width)
            for p in ("p_value", "p_adjusted"):
                assert b.pop(p) == pytest.approx(a.pop(p), abs=0.02)
            effect = a.pop("smallest_effect")
            assert b.pop("smallest_effect") == (effect and pytest.approx(effect, rel=0.15))
            assert b.pop("more_prompts") is None  # of several seeds it is no matter of prompts alone
            assert a.pop("more_prompts") is None or a["verdict"] == NO_DIFFERENCE
            assert a == pytest.approx(b)

    def test_a_failed_seed_fails_the_candidate(self, tmp_path: Path) -> None:
        failure = {"stage": "train", "message": "loss is NaN"}
        results = World(tmp_path, {"base": base(), "a": Entry(0.5, seeds=2, failure=failure)}).rank()
        row = by_name(results)["a"]
        assert row["failure"] == {"stage": "train", "message": "seed 1: loss is NaN"}
        assert row["scores"]["bleu"] == {"missing": "train failed"}


class TestSearch:
    """Candidate a was searched: of three points the second was chosen, the third failed."""

    RATES = (1e-4, 1e-3, 1e-2)

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, seeds=2), "b": Entry(0.4)})
        points = [
            {
                "settings": {"training.learning_rate": rate},
                "method": {"name": "dora", "options": {"r": 4}},
                "training": {"learning_rate": rate},
                "train": f"train a 0 {index}",
            }
            for index, rate in enumerate(self.RATES)
        ]
        for index, seconds in enumerate((3.0, 4.0)):
            spent = {"seconds": {"load": 1.0, "train": seconds}, "device": "cuda"}
            write_json(
                world._folder(f"train a 0 {index}", f"point-{index}") / "outcome.json",
                {**to_json(OUTCOME), **spent},
            )
        points[2]["train"] = {"failure": "loss is NaN at step 3"}
        losses = [{"settings": point["settings"], "validation_loss": loss}
                  for point, loss in zip(points, (2.5, 2.25, None), strict=True)]  # fmt: skip
        write_json(world.inputs["train a-0"] / "chosen.json", {"index": 1, "points": losses})
        world.params["candidates"][1] |= {
            "grid": {"choose": "train a-0", "points": points}, "price_per_gpu_hour": 3600.0,
        }  # fmt: skip
        return world

    def test_the_row_is_that_of_the_chosen_recipe(self, world: World) -> None:
        row = by_name(world.rank())["a"]
        assert row["method"] == "dora"
        assert row["recipe"] == {"method": {"r": 4}, "training": {"learning_rate": 1e-3}, **SHARED}
        assert "best of 3 tried" in row["badges"]
        assert "learning_rate=0.01 was tried and failed: loss is NaN at step 3" in row["warnings"]

    def test_the_weights_are_those_of_the_chosen_point(self, world: World) -> None:
        told = by_name(world.rank())["a"]["training"]["per_seed"]
        assert [one["artifact"] for one in told] == ["point-1", "train-a-1"]

    def test_every_point_is_told_with_its_loss_and_price(self, world: World) -> None:
        rows = by_name(world.rank())
        tried = rows["a"]["search"]
        assert (tried["tried"], tried["failed"], tried["chosen"]) == (3, 1, 1)
        assert (tried["seconds"], tried["cost_usd"]) == (9.0, 9.0)
        points = [(p["validation_loss"], p["seconds"], p["cost_usd"], p["failure"]) for p in tried["points"]]
        assert points == [
            (2.5, 4.0, 4.0, None),
            (2.25, 5.0, 5.0, None),
            (None, None, None, "loss is NaN at step 3"),
        ]
        assert rows["b"]["search"] is None

    def test_the_search_is_part_of_what_a_candidate_took(self, world: World) -> None:
        """Two points, the second seed's training, two passes over the eval set; the winner counts once."""
        rows = by_name(world.rank())
        training, passing = 9.5, 2.0
        assert rows["a"]["totals"] == {"seconds": 9.0 + training + 2 * passing, "cost_usd": 9.0}
        assert rows["b"]["totals"] == {"seconds": training + passing, "cost_usd": None}

    def test_how_many_were_tried_is_said(self, world: World) -> None:
        results = world.rank()
        assert (
            "a is the best of 3 recipes tried, 1 of them in vain, by validation loss (2.25): "
            "learning_rate=0.001; the search took 9.0s and $9.00." in results["findings"]
        )
        assert any("different numbers of tries at a recipe: a 3, b 1" in w for w in results["warnings"])
        page = render(world.folder / "rank").read_text(encoding="utf-8")
        for told in (
            "What was tried",
            "3 tried; the search took 9.0s, $9.00",
            "failed: loss is NaN at step 3",
        ):
            assert told in page

    def test_the_table_holds_what_was_spent(self, world: World) -> None:
        world.rank()
        lines = (render(world.folder / "rank").parent / "leaderboard.csv").read_text().splitlines()
        spent = {
            line.split(",")[7]: float(line.split(",")[12])
            for line in lines
            if line.startswith("a,ok") and ("tried" in line or "search_" in line or "total_" in line)
        }
        assert spent == {
            "total_parameters": 100, "recipes_tried": 3, "search_seconds": 9, "search_cost_usd": 9,
            "total_seconds": 22.5, "total_cost_usd": 9,
        }  # fmt: skip

    def test_without_a_choice_there_is_no_winner(self, world: World) -> None:
        world.params["candidates"][1]["grid"]["choose"] = None
        row = by_name(world.rank())["a"]
        assert (row["method"], row["search"]["chosen"]) == ("lora", None)
        assert not any("tried" in badge for badge in row["badges"])


def alike(results: dict[str, Any], metric: str) -> set[frozenset[str]]:
    """The pairs that were compared."""
    return {frozenset((p["a"], p["b"])) for p in results["pairs"] if p["metric"] == metric}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Several seeds, answers that are missing, another tokenizer, a failed seed and a failed metric."""
    entries = {
        "base": base(tokenizer="aa", unanswered=(3,)),
        "twice": Entry(0.9, seeds=2, tokenizer="aa", unanswered=(5,)),
        "foreign": Entry(0.7, tokenizer="bb"),
        "broken": Entry(0.5, seeds=2, failure={"stage": "train", "message": "no"}),
        "odd": Entry(0.5, tokenizer="aa", broken_metric="bleu"),
    }
    return World(tmp_path_factory.mktemp("single"), entries)


@pytest.fixture(scope="module")
def single_results(single: World) -> dict[str, Any]:
    return single.rank()


class TestSingleExamples:
    """What is kept of each example: differences to base, statistics of all seeds, lengths."""

    def test_there_is_a_distribution_where_there_is_a_difference(
        self, single_results: dict[str, Any]
    ) -> None:
        told = {name: set(row["per_example"]) for name, row in by_name(single_results).items()}
        assert told == {
            "base": set(), "broken": set(), "twice": set(METRICS), "odd": {"perplexity", "exact_match"},
            "foreign": {"bleu", "exact_match"},
        }  # fmt: skip

    @pytest.mark.parametrize("metric", METRICS)
    def test_it_is_the_first_seeds_and_of_examples_that_both_have(
        self, single: World, single_results: dict[str, Any], metric: str
    ) -> None:
        (info,) = (info for info in single_results["metrics"] if info["name"] == metric)
        scores = [
            [line["answers"][name]["scores"][metric] for name in ("twice", "base")] for line in single.shown()
        ]
        apart = [mine - theirs for mine, theirs in scores if mine is not None and theirs is not None]
        found = by_name(single_results)["twice"]["per_example"][metric]
        assert found["n"] == len(apart) == single.n - 2
        gains = [apart_by for apart_by in apart if (apart_by > 0) == info["higher_is_better"] and apart_by]
        assert (found["better"], found["same"]) == (len(gains), apart.count(0.0))
        assert found["median"] == pytest.approx(float(np.median(apart)))
        edges = info["difference_edges"]
        assert found["below"] == sum(value < edges[0] for value in apart)
        assert found["above"] == sum(value > edges[-1] for value in apart)
        inside = sum(edges[0] <= value <= edges[-1] for value in apart)
        assert sum(found["counts"]) == inside - found["same"]
        assert len(found["counts"]) == len(edges) - 1

    def test_statistics_are_of_all_seeds_and_score_to_the_board(
        self, single: World, single_results: dict[str, Any]
    ) -> None:
        lines = single.shown()
        assert lines[5]["answers"]["twice"]["statistics"] == {metric: [None, None] for metric in METRICS}
        for metric in METRICS:
            seeds = [line["answers"]["twice"]["statistics"][metric] for line in lines]
            evaluator = registry.create(single.specs[metric])
            score = by_name(single_results)["twice"]["scores"][metric]
            for seed, value in enumerate(score["per_seed"]):
                kept = np.array([rows[seed] for rows in seeds if rows[seed] is not None])
                assert len(kept) == score["n"]
                assert float(evaluator.score(kept.sum(axis=0))) == pytest.approx(value)

    def test_a_seed_without_figures_keeps_its_place(self, single: World) -> None:
        answers = single.shown()[0]["answers"]
        statistics = answers["broken"]["statistics"]["bleu"]
        assert len(statistics) == 2
        assert statistics[0] is not None
        assert statistics[1] is None
        assert set(answers["odd"]["statistics"]) == {"perplexity", "exact_match"}
        assert all(len(rows) == 1 for rows in answers["base"]["statistics"].values())

    def test_lengths_are_of_the_answers_that_exist(
        self, single: World, single_results: dict[str, Any]
    ) -> None:
        lines = single.shown()
        texts = [line["answers"]["twice"]["text"] for line in lines]
        found = by_name(single_results)["twice"]["answers"]["lengths"]
        assert (found["n"], found["unit"]) == (single.n - 1, "characters")
        assert found["mean"] == pytest.approx(np.mean([len(text) for text in texts if text is not None]))
        references = single_results["data"]["reference_lengths"]
        assert references["n"] == single.n
        assert references["quantiles"]["50"] == np.median([len(line["reference"]) for line in lines])

    def test_the_hours_of_all_devices_and_the_weights_are_named(self, tmp_path: Path) -> None:
        spent = {"process_count": 4, "seconds": {"load": 300.0, "train": 1400.0, "save": 100.0}}
        entries = {"base": base(), "a": Entry(0.5, seeds=2, outcome=spent), "b": Entry(0.4)}
        rows = by_name(World(tmp_path, entries).rank())
        assert rows["a"]["costs"]["train_device_hours"] == pytest.approx(2.0)
        assert rows["b"]["costs"]["train_device_hours"] == pytest.approx(9.5 / 3600)
        assert rows["base"]["costs"]["train_device_hours"] is None
        told = [(one["seed"], one["artifact"]) for one in rows["a"]["training"]["per_seed"]]
        assert told == [(0, "train-a-0"), (1, "train-a-1")]


class TestTokenizers:
    """Perplexity is per token: `foreign` is far ahead by it, but its tokens are others."""

    @pytest.fixture(scope="class")
    @classmethod
    def results(cls, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
        entries = {
            "base": base(tokenizer="aa"),
            "foreign": Entry(0.9, model="models/other", tokenizer="bb"),
            "foreign-too": Entry(0.7, model="models/other", tokenizer="bb"),
            "good": Entry(0.6, tokenizer="aa"),
            "poor": Entry(0.3, tokenizer="aa"),
            "broken": Entry(0.5, failure={"stage": "train", "message": "no"}),
        }
        metrics = ("perplexity", "token_accuracy", "bits_per_byte")
        return World(tmp_path_factory.mktemp("tokenizers"), entries, metrics=metrics).rank()

    @pytest.mark.parametrize("metric", ["perplexity", "token_accuracy"])
    def test_another_tokenizer_has_a_score_and_no_comparison(
        self, results: dict[str, Any], metric: str
    ) -> None:
        reason = "another tokenizer than base's: compare bits per byte"
        row = by_name(results)["foreign"]
        assert row["scores"][metric]["incomparable"] == reason
        assert row["scores"][metric]["low"] < row["scores"][metric]["value"] < row["scores"][metric]["high"]
        assert row["differences"][metric] == {"missing": reason}
        assert "incomparable" not in by_name(results)["good"]["scores"][metric]
        pairs = [("base", "good"), ("base", "poor"), ("good", "poor"), ("foreign", "foreign-too")]
        assert alike(results, metric) == set(map(frozenset, pairs))

    def test_the_corrections_count_only_comparisons_that_were_made(self, results: dict[str, Any]) -> None:
        made = [c["differences"]["perplexity"] for c in results["candidates"][1:] if c["rank"]]
        assert [d["p_adjusted"] for d in made] == pytest.approx(holm([d["p_value"] for d in made]).tolist())

    def test_bits_per_byte_compares_all(self, results: dict[str, Any]) -> None:
        assert len(alike(results, "bits_per_byte")) == 5 * 4 / 2
        assert by_name(results)["foreign"]["differences"]["bits_per_byte"]["verdict"] == "better"

    def test_ranks_count_comparable_candidates(self, results: dict[str, Any]) -> None:
        ranks = {candidate["name"]: candidate["rank"] for candidate in results["candidates"]}
        assert ranks == {
            "base": None, "good": [1, 1], "poor": [2, 2], "foreign": None, "foreign-too": None,
            "broken": None,
        }  # fmt: skip
        assert list(ranks) == ["base", "good", "poor", "foreign", "foreign-too", "broken"]

    def test_words(self, results: dict[str, Any]) -> None:
        leader, ahead, others, apart, standings, *_ = results["findings"]
        assert others == "By token accuracy and bits per byte, good is better than poor."
        assert leader.startswith("good has the best perplexity among equal tokenizers (lower is better)")
        assert ahead == "good is ahead of every other ranked candidate by perplexity."
        assert apart == (
            "foreign and foreign-too are not ranked: perplexity is per token, and another tokenizer makes "
            "other tokens; compare bits per byte."
        )
        assert "foreign" not in standings
        warnings = by_name(results)["foreign"]["warnings"]
        assert (
            "perplexity is neither ranked nor compared: another tokenizer than base's: compare bits per byte"
            in warnings
        )
        assert not any("models/other" in warning for warning in warnings)

    def test_ranked_by_bits_per_byte_all_have_a_place(self, tmp_path: Path) -> None:
        entries = {
            "base": base(tokenizer="aa"),
            "a": Entry(0.4, tokenizer="aa"),
            "b": Entry(0.9, tokenizer="bb"),
        }
        metrics = ("perplexity", "bits_per_byte")
        results = World(tmp_path, entries, metrics=metrics, rank_by="bits_per_byte").rank()
        assert [(c["name"], c["rank"]) for c in results["candidates"][1:]] == [("b", [1, 1]), ("a", [2, 2])]

    def test_none_is_comparable(self, tmp_path: Path) -> None:
        results = World(tmp_path, {"base": base(tokenizer="aa"), "a": Entry(0.4, tokenizer="bb")}).rank()
        assert results["findings"][:2] == [
            "No candidate can be ranked by perplexity, as this board is to be.",
            "a is not ranked: perplexity is per token, and another tokenizer makes other tokens; compare "
            "bits per byte.",
        ]

    def test_an_unknown_tokenizer_is_compared_with_a_warning(self, tmp_path: Path) -> None:
        entries = {"base": base(tokenizer="aa"), "a": Entry(0.5, model="models/other")}
        row = by_name(World(tmp_path, entries).rank())["a"]
        assert (row["rank"], row["differences"]["perplexity"]["verdict"]) == ([1, 1], "better")
        assert any("where the tokenizers differ, compare bits per byte" in w for w in row["warnings"])

    def test_without_base_the_first_known_tokenizer_is_the_yardstick(self, tmp_path: Path) -> None:
        entries = {
            "base": base(failure={"stage": "predict", "message": "no"}),
            "a": Entry(0.4, tokenizer="aa"),
            "b": Entry(0.9, tokenizer="bb"),
        }
        results = World(tmp_path, entries).rank()
        assert [(c["name"], c["rank"]) for c in results["candidates"][1:]] == [("a", [1, 1]), ("b", None)]
        reason = "another tokenizer than a's: compare bits per byte"
        assert by_name(results)["b"]["differences"]["perplexity"] == {"missing": reason}


class TestWords:
    def test_what_a_verdict_rests_on(self, tmp_path: Path) -> None:
        """Significant, but with too many verdicts unread: one reason, and nobody is ranked."""

        def judged(i: int) -> tuple[str, str]:
            return ("unparsed", "unparsed") if i < 6 else ("first", "second")

        results = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=judged)}).rank()
        assert by_name(results)["a"]["win_rates"]["reference"]["p_adjusted"] < 0.05
        (told,) = [finding for finding in results["findings"] if "could not be read" in finding]
        assert told.startswith("Judge reference is not believed: 15.0% of 80 verdicts could not be read")
        assert not any("by reference" in finding for finding in results["findings"])

    def test_findings(self, results: dict[str, Any]) -> None:
        leader, ahead, others, level, standings, *rest = results["findings"]
        assert others.startswith("By ")
        judge, judged, place, spent, charged, scope = rest
        best = by_name(results)["best"]
        score, gap = best["scores"]["perplexity"], best["differences"]["perplexity"]
        base_value = results["candidates"][0]["scores"]["perplexity"]["value"]
        assert leader == (
            f"best has the best perplexity (lower is better): {score['value']:.2f} "
            f"[{score['low']:.2f} – {score['high']:.2f}], n = 40. That is better than base's "
            f"{base_value:.2f}: difference −{-gap['value']:.2f} "
            f"[−{-gap['low']:.2f} to −{-gap['high']:.2f}], n = 40, p < 0.001; trained with one seed."
        )
        assert ahead == "best is ahead of every other candidate by perplexity."
        second, third = (c["name"] for c in results["candidates"][2:4])
        pair = next(pair for pair in results["neighbours"] if pair["first"] == second)
        assert level.startswith(f"{second} and {third} cannot be told apart (difference −")
        assert level.endswith(
            f"n = 40). About {fmt.about(pair['more_prompts'])} more prompts would be needed, if that is "
            "the true difference."
        )
        assert place.startswith(
            "The place of an answer moves reference: of 160 pairs 25.0% flip to whatever stood first and 0.0%"
        )
        assert spent == (
            "Judge reference took $1.00 for 308 verdicts (2,800 tokens sent, 160 received); 12 were known "
            "before."
        )
        assert charged == "Servers charged $1.00 in all for this board."
        assert not any("broken" in finding for finding in results["findings"])
        assert standings == (
            f"best, {second} and {third} are better than base by perplexity (p < 0.05); like-base is not to "
            "be told apart from base by perplexity (p ≥ 0.05); paired, n = 40, p after Holm's correction."
        )
        assert judge == (
            "Judge reference (likeness to the reference answer, not quality) most prefers best: it "
            "wins 100.0% [91.2 – 100.0%] against base, n = 40; 100.0% of 40 pairs are judged alike in both "
            "orders."
        )
        assert judged.startswith(
            "best is better than base by reference (p < 0.05); middle-too is worse than base by reference"
        )
        assert "one seed" in scope

    @pytest.mark.parametrize(
        ("wins", "words"),
        [
            (4, "prefers base to every other; a, the nearest, wins 10.0%"),
            (16, "shows nobody to be better than base; a, the nearest, wins 40.0%"),
            (20, "shows nobody to be better than base; a, the nearest, wins 50.0%"),
            (24, "shows nobody to be better than base; a, the highest, wins 60.0%"),
            (36, "most prefers a: it wins 90.0%"),
        ],
    )
    def test_whom_a_judge_prefers(self, tmp_path: Path, wins: int, words: str) -> None:
        """b loses every pair; of 40, 16, 20 or 24 wins are no proof of anything."""

        def judged(i: int) -> tuple[str, str]:
            return ("first", "second") if i < wins else ("second", "first")

        entries = {
            "base": base(),
            "a": Entry(0.5, judged=judged),
            "b": Entry(0.5, judged=always("second", "first")),
        }
        found = World(tmp_path, entries, metrics=["perplexity"]).rank()["findings"]
        sentence = next(finding for finding in found if finding.startswith("Judge reference"))
        assert words in sentence

    def test_a_judge_that_tells_nobody_apart_prefers_nobody(self, tmp_path: Path) -> None:
        found = World(tmp_path, {"base": base(), "a": Entry(0.5, judged=always("first", "first"))}).rank()
        assert any(
            "tells nobody apart from base; a, the nearest, wins 50.0%" in told for told in found["findings"]
        )

    def test_a_judge_that_always_ties_says_nothing(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, judged=always("tie", "tie"))}
        found = World(tmp_path, entries, metrics=["perplexity"]).rank()["findings"]
        about = [told for told in found if "reference" in told]
        assert about[0] == "reference calls every pair that it was asked about a tie: it says nothing."
        assert all(told.startswith("Judge reference took") for told in about[1:])

    def test_several_sizes_and_seeds(self, tmp_path: Path) -> None:
        entries = {"base": base(), "a": Entry(0.5, seeds=3), "b": Entry(0.6, unanswered=(0, 1))}
        found = World(tmp_path, entries, metrics=["perplexity"]).rank()["findings"]
        assert any("paired, n ≥ 38, p after" in finding for finding in found)
        assert found[-1] == (
            "b was trained with one seed: its interval does not hold what another would change."
        )
        assert found[-2] == (
            "a was trained with 3 seeds, whose statistics are averaged and then scored. Intervals are 95%, "
            "over the eval examples and the seeds: they hold what other seeds would change."
        )

    def test_groups_that_cannot_be_told_apart(self) -> None:
        """In the order of their score a is ahead; d is like those before and behind, who are not alike."""
        metric = {"name": "m", "label": "m", "unit": "", "higher_is_better": True}
        rows = [
            {"name": name, "rank": rank, "scores": {"m": {"value": -place, "low": -9, "high": 9, "n": 9}},
             "differences": {}, "win_rates": {}, "failure": None, "training": None, "search": None,
             "seeds": [0], "answers": None}
            for place, (name, rank) in enumerate(
                (("base", None), ("a", [1, 1]), ("b", [2, 4]), ("c", [2, 4]), ("d", [2, 6]),
                 ("e", [4, 6]), ("f", [4, 6])), start=-1)
        ]  # fmt: skip
        alike = [set(pair) for group in ("bcd", "def") for pair in itertools.combinations(group, 2)]
        pairs = [
            {"metric": "m", "a": x, "b": y, "verdict": NO_DIFFERENCE if {x, y} in alike else "a"}
            for x, y in itertools.combinations("abcdef", 2)
        ]
        board = {
            "suite": {"rank_by": "m"},
            "metrics": [metric],
            "judges": [],
            "candidates": rows,
            "pairs": pairs,
            "neighbours": [],
            "agreement": None,
        }
        assert findings(board) == [
            "a has the best m (higher is better): 0.00 [−9.00 – 9.00], n = 9.",
            "a is ahead of every other candidate by m.",
            "These cannot be told apart: b, c and d; d, e and f.",
        ]

    def test_candidates_like_the_leader_are_named(self, tmp_path: Path) -> None:
        entries = {
            "base": base(),
            "a": Entry(0.5),
            "b": Entry(0.5),
            "c": Entry(0.5, noise_seed=4),
            "d": Entry(0.3),
        }
        results = World(tmp_path, entries).rank()
        first, second, third = [c["name"] for c in results["candidates"][1:4]]
        expected = (
            f"{second} and {third} cannot be told apart from {first}: the order among them may be chance."
        )
        assert expected in results["findings"]

    def test_warnings(self, tmp_path: Path) -> None:
        entries = {
            "base": base(),
            "a": Entry(0.5, outcome={"effective_batch_size": 16, "tokens_seen": 3210}),
            "b": Entry(
                0.5,
                noise_seed=1,
                model="models/other",
                outcome={"dtypes": {"weights": "float32", "trainable": "float32", "compute": "float16"}},
            ),
        }
        results = World(tmp_path, entries, n=12).rank()
        precisions = ", ".join(
            f"{c['name']} {c['training']['dtypes']['compute']}" for c in results["candidates"][1:]
        )
        sizes = ", ".join(
            f"{c['name']} {c['training']['effective_batch_size']}" for c in results["candidates"][1:]
        )
        assert results["warnings"] == [
            "Some scores rest on 12 examples: below 30 intervals tend to be too narrow, and only large "
            "differences can be seen.",
            f"Candidates were trained with different effective batch sizes: {sizes}.",
            f"Candidates computed in different number formats in training: {precisions}.",
            "Costs were measured on a CPU: they say nothing of those on a GPU, and have no price.",
        ]
        other = [w for w in by_name(results)["b"]["warnings"] if "bits per byte" in w]
        assert len(other) == 1
        assert other[0].startswith(
            "perplexity: counted in tokens of models/other, for base in those of models/tiny;"
        )
        assert not any("bits per byte" in w for w in by_name(results)["a"]["warnings"])

    @pytest.mark.parametrize(("noise", "warned"), [(0, True), (1, False)])
    def test_two_with_the_same_answers(self, tmp_path: Path, noise: int, warned: bool) -> None:
        entries = {"base": base(), "a": Entry(0.5), "b": Entry(0.5, noise_seed=noise)}
        warnings = World(tmp_path, entries, metrics=["perplexity"]).rank()["warnings"]
        assert any(w.startswith("a and b gave the same 40 answers, word for") for w in warnings) == warned

    @pytest.mark.parametrize(("truncated", "warned"), [(0, False), (2, False), (3, True)])
    def test_many_truncated_rows(self, tmp_path: Path, truncated: int, warned: bool) -> None:
        outcome = {"rows_used": 20, "rows_truncated": truncated}
        world = World(tmp_path, {"base": base(), "a": Entry(0.5, outcome=outcome)}, metrics=["perplexity"])
        warning = "15.0% of the training rows (3 of 20) were truncated to fit"
        assert (warning in by_name(world.rank())["a"]["warnings"]) == warned

    @pytest.mark.parametrize("repeats", [None, 0, 7])
    def test_repeated_prompts(self, tmp_path: Path, repeats: int | None) -> None:
        world = World(tmp_path, {"base": base(), "a": Entry(0.5)}, metrics=["perplexity"])
        if repeats is not None:
            write_json(world.inputs["data"] / "data.json", {"eval_repeats": repeats})
        warnings = world.rank()["warnings"]
        said = "7 of the eval examples repeat another's prompt; they count as independent"
        assert any(warning.startswith(said) for warning in warnings) == bool(repeats)
        assert sum("repeat" in warning for warning in warnings) == bool(repeats)


def test_a_metric_written_for_two_axes(tmp_path: Path) -> None:
    """A user's metric need not know that it is resampled for many systems at once."""
    folder = tmp_path / "evaluators"
    folder.mkdir()
    (folder / "length_ratio.py").write_text(
        "from dataclasses import dataclass\nimport numpy as np\n\n"
        "@dataclass(frozen=True)\nclass LengthRatio:\n"
        "    higher_is_better = True\n    unit = ''\n"
        "    def measure(self, predictions):\n"
        "        rows = [(len(p.completion.text), len(p.example.reference)) for p in predictions]\n"
        "        return np.array(rows, dtype=float)\n"
        "    def score(self, totals):\n        return totals[:, 0] / totals[:, 1]\n"
        "    def signature(self):\n        return 'chars'\n"
    )
    entries = {"base": base(), "a": Entry(0.5), "b": Entry(0.9)}
    results = World(tmp_path, entries, metrics=["length_ratio"], rank_by="length_ratio").rank()
    assert results["metrics"][0]["label"] == "length ratio"
    assert all(len(c["scores"]["length_ratio"]["per_seed"]) == 1 for c in results["candidates"])


@pytest.mark.slow
def test_twenty_candidates_of_a_thousand_examples(tmp_path: Path) -> None:
    entries = {"base": base()} | {f"c{i}": Entry(0.3 + 0.03 * i, noise_seed=i) for i in range(19)}
    world = World(tmp_path, entries, n=1000, metrics=ALL_METRICS)
    results = world.rank()
    assert len(results["pairs"]) == 7 * 190
    skills = {name: entry.skill for name, entry in entries.items()}
    for metric in results["metrics"]:
        rows = [row for row in results["pairs"] if row["metric"] == metric["name"]]
        assert min(row["p_adjusted"] for row in rows) == 190 * min(row["p_value"] for row in rows)
        for row in rows:
            lead = skills[row["a"]] - skills[row["b"]]
            assert row["low"] <= row["value"] <= row["high"]
            if abs(lead) > 0.1 and metric["name"] != "exact_match":  # which few answers meet at all
                assert row["verdict"] == ("a" if lead > 0 else "b"), row
                assert ((row["value"] > 0) == (lead > 0)) == metric["higher_is_better"], row


def test_what_most_resamples_leave_undefined_has_no_interval(tmp_path: Path, repo: Path) -> None:
    """All depends on one example: what is not known is null, and the report shows the values alone."""
    folder = tmp_path / "evaluators"
    folder.mkdir()
    (folder / "rare.py").write_text(
        "from dataclasses import dataclass\nimport numpy as np\n\n"
        "@dataclass(frozen=True)\nclass Rare:\n"
        "    higher_is_better = True\n    unit = ''\n"
        "    def measure(self, predictions):\n"
        "        rows = [(len(p.completion.text), i == 0) for i, p in enumerate(predictions)]\n"
        "        return np.array(rows, dtype=float)\n"
        "    def score(self, totals):\n        return totals[:, 0] / totals[:, 1]\n"
        "    def signature(self):\n        return 'rare'\n"
    )
    entries = {"base": base(), "a": Entry(0.5), "b": Entry(0.9)}
    world = World(tmp_path, entries, metrics=["rare"], rank_by="rare")
    results = world.rank()
    for row in results["candidates"]:
        score = row["scores"]["rare"]
        assert score["value"] > 0
        assert score["low"] is score["high"] is None
    assert all(pair["low"] is pair["high"] is None for pair in results["pairs"])
    schema = read_json(repo / "harness" / "report" / "results.schema.json")
    assert list(Draft202012Validator(schema).iter_errors(results)) == []
    assert "rare" in render(world.folder / "rank").read_text()
