"""`harness compare --fail-if`: what fails a pull request."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from board_world import Entry
from compared_runs import ENTRIES, Json, N, edit, edit_examples, finished, row, run, take_away, wins
from report_inputs import make_report_input

from harness import registry
from harness.comparing import compare, metrics
from harness.comparing.examples import Answers, Common, Rows
from harness.comparing.gates import Gate, decide
from harness.comparing.metrics import Sides
from harness.comparing.ranges import RANGES
from harness.comparing.runs import Pair, Run, open_run
from harness.errors import InputError
from harness.report.comparison import as_html, as_markdown

pytest_plugins = ["compared_fixtures"]


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
    def test_exit_code(self, old: Path, lowered: Path, gate: str, code: int) -> None:
        said = run(old, lowered, "--fail-if", gate)
        assert said.exit_code == code
        if code:
            assert said.stderr.startswith(f"gate tripped: {gate}: lora")
            assert f"n = {N}" in said.stderr
        else:
            assert said.stderr == ""

    def test_base_against_a_tuned_candidate_fails(self, old: Path) -> None:
        gates = ["--fail-if", "perplexity worse", "--fail-if", "reference < -2pt"]
        said = run(f"{old}:lora", f"{old}:base", *gates)
        assert said.exit_code == 3
        assert said.stderr.count("gate tripped: ") == 2
        assert run(f"{old}:base", f"{old}:lora", *gates).exit_code == 0

    @pytest.mark.parametrize(
        ("gate", "message"),
        [
            ("referense < -2pt", "which neither run has; did you mean 'reference'?"),
            ("lorra: bleu < -2", "names the candidate 'lorra', which neither run has; did you mean 'lora'?"),
            ("reference < 2pt", "did you mean 'reference < -2pt'?"),
            ("perplexity > -1", "did you mean 'perplexity > 1'?"),
            ("perplexity < 5%", "did you mean 'perplexity > 5%'?"),
            ("lora: BLEU > -1", "did you mean 'lora: bleu < -1'?"),
            ("reference < -2", "write 'reference < -2pt'"),
            ("reference < 2", "write 'reference < -2pt'"),
            ("exact_match < -2%", "write 'exact_match < -2pt'"),
            (
                "exact_match < -0.01",
                "write 'exact_match < -1pt', or 'exact_match < -0.01pt' where 0.01",
            ),
            ("exact_match < 0.5", "write 'exact_match < -50pt', or 'exact_match < -0.5pt' where 0.5 "),
            ("bleu < -2pt", "bleu is not in pt; write 'bleu < -2', or 'bleu < -2%' for percent of the old"),
            ("bluu worse", "did you mean 'bleu'?"),
            ("exact mach worse", "did you mean 'exact_match'?"),
            ("xyz worse", "known are any, bleu, exact_match, perplexity, reference"),
            ("anny < -2", "known are bleu, exact_match, perplexity, reference"),
            ("any < -2pt", "write 'any worse'"),
            ("perplexity > 1e400", "has a threshold that no difference can be beyond"),
            ("exact_match < -1000pt", "can never trip"),
            ("reference < -100pt", "can never trip"),
            ("perplexity > 0x10", "is no gate"),
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

    @pytest.mark.parametrize(
        ("gate", "most"),
        [
            ("chrf < -200", "values of chrf differ by 100 at most"),
            ("chrF > 100", "values of chrf differ by 100 at most"),
            ("bleu < -100", "values of bleu differ by 100 at most"),
            ("lora: rouge_l < -2", "values of rouge_l differ by 1 at most"),
            ("rouge_l < -1", "values of rouge_l differ by 1 at most"),
            ("perplexity < -100%", "perplexity is never below 0, and so never falls by more than 100%"),
            ("bits_per_byte < -150%", "bits_per_byte is never below 0, and so never falls by more than 100%"),
            ("chrf < -100%", "chrf is never below 0, and so never falls by more than 100%"),
        ],
    )
    def test_a_threshold_beyond_what_a_metric_can_have_is_refused(
        self, repo: Path, gate: str, most: str
    ) -> None:
        quickstart = repo / "reports" / "quickstart"
        said = run(quickstart, quickstart, "--fail-if", gate)
        assert (said.exit_code, said.stdout) == (2, "")
        assert said.stderr == (
            f"error: --fail-if: '{gate}' can never trip: {most}; write a threshold nearer to 0\n"
        )

    @pytest.mark.parametrize(
        "gate",
        [
            *("chrf < -99.9", "rouge_l < -0.99", "perplexity > 200", "bits_per_byte > 15"),
            *("perplexity > 150%", "chrf > 150%", "bleu < -99.9%"),
        ],
    )
    def test_a_threshold_within_what_a_metric_can_have_is_a_gate(self, repo: Path, gate: str) -> None:
        quickstart = open_run("OLD", str(repo / "reports" / "quickstart"))
        assert Gate.parse(gate).resolved(quickstart, quickstart).expression == gate

    def test_ranges_are_of_evaluators_that_are_there(self, repo: Path) -> None:
        assert set(RANGES) <= {found.name for found in registry.known("evaluator")}
        told = (repo / "reports" / "README.md").read_text(encoding="utf-8")
        for line in (
            *("| perplexity ↓ |.*| 1 and up |", "| bits per byte ↓ |.*| 0 and up |"),
            *("| BLEU, chrF ↑ |.*| 0–100 |", "| ROUGE-L ↑ |.*| 0–1 |"),
        ):
            assert re.search(line.replace("|", r"\|"), told), line

    @pytest.mark.parametrize("columns", ["80", "200"])
    def test_one_that_passed_says_what_is_not_excluded(
        self, old: Path, worse: Path, columns: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        lost = row(compare(str(old), str(worse)), "bleu", "lora")
        gate = f"lora: bleu < {(lost['value'] + lost['low']) / 2:.2f}"
        (told,) = compare(str(old), str(worse), gates=[gate])["gates"]
        assert told["status"] == "passed"
        (reason,) = told["reasons"]
        assert "is not excluded (95% " in reason
        said = run(old, worse, "--fail-if", gate)
        assert said.exit_code == 0
        assert f"gate passed: {gate}: {reason}" in " ".join(said.stdout.split())
        assert said.stderr == ""

    @pytest.mark.parametrize(
        ("spelled", "gate"),
        [
            ("BLEU worse", "bleu worse"),
            ("Bleu < -1", "bleu < -1"),
            ("exact match < -1pt", "exact_match < -1pt"),
            ("lora:  Exact Match worse", "lora: exact_match worse"),
            ("Any worse", "any worse"),
        ],
    )
    def test_a_figure_may_be_spelled_as_on_the_board(
        self, old: Path, worse: Path, spelled: str, gate: str
    ) -> None:
        (as_label, by_name) = compare(str(old), str(worse), gates=[spelled, gate])["gates"]
        assert as_label.pop("expression") == spelled
        assert by_name.pop("expression") == gate
        assert as_label == by_name
        assert as_label["status"] == "tripped"

    def test_what_is_held_against_the_threshold_is_said(self, old: Path, lowered: Path) -> None:
        gates = ["perplexity > 5%", "exact_match < -1pt"]
        found = compare(str(old), str(lowered), gates=gates)
        (percent,), (points,) = (gate["reasons"] for gate in found["gates"])
        told = row(found, "perplexity", "lora")
        change = 100 * (told["new"] / told["old"] - 1)
        assert percent.startswith(f"lora +{change:.0f}% ({told['old']:.2f} → {told['new']:.2f}, +")
        assert percent.endswith(f"over 1 candidate, n = {N}")
        told = row(found, "exact_match", "lora")
        assert points.startswith(
            f"lora −{-100 * told['value']:.1f} pt ({told['old']:.1%} → {told['new']:.1%}, "
        )
        said = run(old, lowered, "--fail-if", gates[0])
        assert said.stderr == f"gate tripped: {gates[0]}: {percent}\n"
        assert f"gate tripped: {gates[0]}" in said.stdout
        for form in (as_html(found), as_markdown(found)):
            assert f"lora +{change:.0f}% (" in form
            assert "tripped" in form

    @pytest.mark.parametrize("gate", ["perplexity < -1%", "perplexity < 0", "bleu > 1", "reference > 2pt"])
    def test_a_gate_that_fails_improvements_is_warned_of(self, old: Path, lowered: Path, gate: str) -> None:
        warned, back = (compare(*map(str, sides), gates=[gate]) for sides in ((old, lowered), (lowered, old)))
        for found in (warned, back):
            assert any(f"gate {gate} trips on improvements" in warning for warning in found["warnings"])
        assert [found["gates"][0]["status"] for found in (warned, back)] == ["passed", "tripped"]

    @pytest.mark.parametrize("gate", ["perplexity > 1%", "bleu < 0", "bleu worse", "any worse"])
    def test_a_gate_that_fails_losses_is_not(self, old: Path, worse: Path, gate: str) -> None:
        assert not any(
            "improvement" in told for told in compare(str(old), str(worse), gates=[gate])["warnings"]
        )

    @pytest.mark.parametrize("gate", ["bleu < -2", "bleu worse", "lora: bleu worse", "any worse"])
    def test_a_figure_that_failed_does_not_pass(self, old: Path, copied: Path, gate: str) -> None:
        def change(results: Json) -> None:
            (mine,) = [c for c in results["candidates"] if c["name"] == "lora"]
            mine["scores"]["bleu"] = {"missing": "no such tokenizer"}

        edit(copied, change)
        said = run(old, copied, "--fail-if", gate)
        assert said.exit_code == 3
        reason = "cannot be compared: NEW has none for lora: no such tokenizer"
        assert f"gate undecided: {gate}: lora, BLEU: {reason}" in said.stderr
        assert run(old, copied, "--fail-if", "seeds: any worse").exit_code == 0
        assert run(copied, old, "--fail-if", "any worse").exit_code == 0, (
            "OLD had none that could become worse"
        )

    @pytest.mark.parametrize("gate", ["bleu worse", "any worse"])
    def test_a_figure_that_is_gone_does_not_pass(self, old: Path, copied: Path, gate: str) -> None:
        edit(copied, lambda results: results["metrics"].pop(1) and None)
        said = run(old, copied, "--fail-if", gate)
        assert said.exit_code == 3
        assert f"gate undecided: {gate}: BLEU cannot be compared: only OLD has it" in said.stderr

    def test_a_candidate_that_is_gone_does_not_pass_by_name(self, old: Path, worse: Path) -> None:
        said = run(old, worse, "--fail-if", "full: bleu worse")
        assert said.exit_code == 3
        assert "full is not compared: it is in one of the runs alone" in said.stderr

    @pytest.mark.parametrize("gate", ["bleu worse", "reference < -90pt", "any worse"])
    def test_nor_does_it_pass_any_gate_of_a_figure_that_it_had(
        self, old: Path, copied: Path, gate: str
    ) -> None:
        take_away(copied, "full")
        said = run(old, copied, "--fail-if", gate)
        assert said.exit_code == 3
        assert said.stderr == f"gate undecided: {gate}: full is not compared: only OLD has it\n"
        assert run(copied, old, "--fail-if", gate).exit_code == 0, "OLD had none that could become worse"
        # One that was chosen stands for all.
        assert run(f"{old}:lora", f"{copied}:lora", "--fail-if", gate).exit_code == 0
        assert run(old, copied, "--fail-if", f"lora: {gate}").exit_code == 0

    def test_what_had_no_such_figure_is_not_gone(self, old: Path, copied: Path, tmp_path: Path) -> None:
        """`seeds` is not judged here, and `full` has no BLEU."""

        def change(results: Json) -> None:
            named = {row["name"]: row for row in results["candidates"]}
            named["full"]["scores"]["bleu"] = {"missing": "no such tokenizer"}
            del named["seeds"]["win_rates"]["reference"]

        edit(copied, change)
        shutil.copytree(copied, tmp_path / "new")
        take_away(tmp_path / "new", "full", "seeds")
        found = compare(str(copied), str(tmp_path / "new"), gates=["bleu worse", "reference worse"])
        gone = ["seeds", "full"]
        assert [gate["status"] for gate in found["gates"]] == ["undecided"] * 2
        for name, gate in zip(gone, found["gates"], strict=True):
            assert gate["reasons"] == [f"{name} is not compared: only OLD has it"]

    def test_base_alone_does_not_pass(self, old: Path, copied: Path) -> None:
        take_away(copied, "full", "lora", "seeds")
        (gate,) = compare(str(old), str(copied), gates=["any worse"])["gates"]
        assert gate["status"] == "undecided"
        assert {reason.partition(" ")[0] for reason in gate["reasons"]} == {"full", "lora", "seeds"}

    @pytest.mark.parametrize(("n", "status"), [(1, "undecided"), (5, "undecided"), (6, "passed")])
    @pytest.mark.parametrize("gate", ["any worse", "bleu worse", "reference < -2pt"])
    def test_so_few_examples_that_no_test_can_show_anything_do_not_pass(
        self, old: Path, copied: Path, n: int, status: str, gate: str
    ) -> None:
        def rename(lines: list[Json]) -> list[Json]:
            return [{**line, "id": line["id"] if i < n else f"x{i}"} for i, line in enumerate(lines)]

        edit_examples(copied, rename)
        found = compare(str(old), str(copied), gates=[gate])
        assert found["examples"]["common"] == n
        (told,) = found["gates"]
        assert told["status"] == status
        few = "1 example" if n == 1 else f"{n} examples"
        assert all(f"no test of {few} can show a difference" in reason for reason in told["reasons"])

    def test_few_examples_that_are_all_there_are_pass_where_nothing_changed(self, tmp_path: Path) -> None:
        folder = str(make_report_input(tmp_path, examples=4))
        (told,) = compare(folder, folder, gates=["reference worse"])["gates"]
        assert told["status"] == "passed"

    def test_a_judge_that_could_not_be_read_decides_nothing(self, old: Path, tmp_path: Path) -> None:
        entries = {
            **ENTRIES,
            "lora": Entry(0.9, noise_seed=1, tokenizer="t", judged=wins(0.1, 1, unparsed=0.5)),
        }
        said = run(old, finished(tmp_path / "unread", entries), "--fail-if", "lora: reference < -2pt")
        assert said.exit_code == 3
        assert "gate undecided: lora: reference < -2pt: lora, reference: cannot be believed" in said.stderr

    def test_several_gates_are_each_told(self, old: Path, lowered: Path) -> None:
        said = run(old, lowered, "--fail-if", "bleu worse", "--fail-if", "reference > 50pt", "--json")
        assert said.exit_code == 3
        told = json.loads(said.stdout)
        assert [gate["status"] for gate in told["gates"]] == ["tripped", "passed"]

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
            found = {"figures": [{**info, "missing": None, "absent": None, "gone": []}], "candidates": []}
            found["figures"][0] |= {"rows": metrics.rows(info, evaluator, sides), "family": len(names)}
            for gate in alarms:
                alarms[gate] += decided(gate, found) == "tripped"
        assert all(alarms.values()), "a gate that never trips tests nothing"
        assert max(alarms.values()) <= 20
        assert alarms["exact_match < -1pt"] + alarms["exact_match > 1pt"] <= 20


def decided(gate: str, found: Json) -> str:
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
