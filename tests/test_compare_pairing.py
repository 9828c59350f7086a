"""`harness compare`: only what both runs have is compared, and the rest is told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from compared_runs import Json, N, edit, edit_examples, figure, row, run
from report_inputs import make_report_input

from harness.comparing import compare
from harness.json_files import dump_line, iter_json_lines, read_json

pytest_plugins = ["compared_fixtures"]
TURNED = {"first": "second", "second": "first"}


def flip_choices(path: Path, name: str, judge: str = "reference") -> None:
    """Turn every verdict of a judge in which a candidate has a part."""
    lines = list(iter_json_lines(path))
    for line in lines:
        if line["judge"] == judge and name in (line["first"], line["second"]) and not line["control"]:
            line["choice"] = TURNED.get(line["choice"], line["choice"])
    path.write_text("".join(map(dump_line, lines)), encoding="utf-8")


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
                lambda r: r["metrics"][1]["plugin"].update(name="bluish"),
                "beside a suite, name that with --suite",
            ),
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
            (lambda a: a["statistics"].update(bleu=[None]), "has no statistics of lora that can be read"),
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

    def test_a_value_that_the_board_does_not_have(self, old: Path, copied: Path) -> None:
        def change(results: Json) -> None:
            (lora,) = [c for c in results["candidates"] if c["name"] == "lora"]
            lora["scores"]["bleu"]["value"] = None

        edit(copied, change)
        found = compare(str(old), str(copied), gates=["bleu worse"])
        assert row(found, "bleu", "lora")["missing"] == "NEW's board has no value of lora"
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

    @pytest.mark.parametrize("file", ["examples.jsonl", "verdicts.jsonl"])
    def test_files_that_are_not_there(self, old: Path, copied: Path, file: str) -> None:
        (copied / file).unlink()
        # Results that tell of examples are refused without them.
        edit(copied, lambda results: results.pop("examples"))
        found = compare(str(copied / "results.json"), str(old))
        assert f"OLD has no {file} beside its results.json" in figure(found, "reference")["missing"]
        assert ("value" in json.dumps(figure(found, "bleu"))) is (file != "examples.jsonl")

    @pytest.mark.parametrize("kept", [None, 0, 3, N - 1])
    @pytest.mark.parametrize("side", ["OLD", "NEW"])
    def test_examples_that_are_not_this_runs_are_refused(
        self, old: Path, copied: Path, kept: int | None, side: str
    ) -> None:
        path = copied / "examples.jsonl"
        if kept is None:
            path.unlink()
        else:
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
        sides = (copied, old) if side == "OLD" else (old, copied)
        said = run(*sides, "--fail-if", "reference worse")
        assert said.exit_code == 2
        assert said.stderr.startswith(f"error: {path}: ")
        assert "put the files of one run together" in said.stderr
        assert said.stderr.count("\n") == 1

    def test_examples_of_the_same_number_from_elsewhere_are_refused(
        self, old: Path, worse: Path, copied: Path
    ) -> None:
        shutil.copyfile(worse / "examples.jsonl", copied / "examples.jsonl")
        said = run(old, copied)
        assert said.exit_code == 2
        assert "is not the file that results.json was written with" in said.stderr

    @pytest.mark.parametrize("side", ["OLD", "NEW"])
    def test_verdicts_that_make_another_rate_than_the_board_are_of_another_run(
        self, old: Path, copied: Path, side: str
    ) -> None:
        """As many as were given, so that nothing else shows it."""
        flip_choices(copied / "verdicts.jsonl", "lora")
        sides = (copied, old) if side == "OLD" else (old, copied)
        gates = ["lora: reference worse", "full: reference worse", "reference < -2pt"]
        found = compare(*map(str, sides), gates=gates)
        (board,) = [c for c in read_json(old / "results.json")["candidates"] if c["name"] == "lora"]
        rate = 100 * board["win_rates"]["reference"]["rules"]["average"]["value"]
        told = f"{side}'s verdicts.jsonl makes {100 - rate:.6g}% of lora, whose board says {rate:.6g}%"
        assert row(found, "reference", "lora")["missing"] == told
        assert row(found, "reference", "full")["value"] == 0
        assert [gate["status"] for gate in found["gates"]] == ["undecided", "passed", "undecided"]
        said = run(*sides, "--fail-if", gates[2])
        assert said.exit_code == 3
        assert told in said.stderr

    def test_so_are_those_against_all_others(self, tmp_path: Path) -> None:
        one, other = (make_report_input(tmp_path / name) for name in ("one", "other"))
        flip_choices(other / "verdicts.jsonl", "full", "local")
        told = figure(compare(str(one), str(other)), "local")["rows"]
        assert "NEW's verdicts.jsonl makes " in next(r for r in told if r["candidate"] == "full")["missing"]

    @pytest.mark.parametrize("board", [True, False])
    def test_a_win_rate_that_was_changed_by_hand(self, old: Path, copied: Path, board: bool) -> None:
        """On the board or in the judge's analysis, which say the same of a run."""

        def change(results: Json) -> None:
            (lora,) = [c for c in results["candidates"] if c["name"] == "lora"]
            rates = lora["win_rates"]["reference"], results["judges"][0]["analysis"]["rates"]["lora"]
            rates[not board]["rules"]["average"]["value"] = None

        edit(copied, change)
        assert (
            "whose board says nothing" in row(compare(str(old), str(copied)), "reference", "lora")["missing"]
        )

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
            ([":full", "{old}"], "no such file or folder"),
            (["x" * 5000, "{old}"], "xxx…: cannot be read: File name too long"),
            (["{old}:" + "x" * 5000, "{old}"], "cannot be read: File name too long"),
            (
                ["{old}/examples.jsonl", "{old}"],
                "/examples.jsonl: is a file, and not a results.json; name the report's folder: {old}\n",
            ),
        ],
    )
    def test_what_is_no_run(self, old: Path, worse: Path, arguments: list[str], message: str) -> None:
        said = run(*[argument.format(old=old, worse=worse) for argument in arguments])
        assert said.exit_code == 2
        assert message.format(old=old) in said.stderr
        assert said.stderr.count("\n") == 1

    @pytest.mark.parametrize("file", ["results.json", "examples.jsonl"])
    def test_a_folder_in_place_of_a_file(self, old: Path, copied: Path, file: str) -> None:
        (copied / file).unlink()
        (copied / file).mkdir()
        said = run(old, copied)
        assert said.exit_code == 2
        assert "cannot be read: Is a directory" in said.stderr
        assert said.stderr.count("\n") == 1

    def test_results_that_are_broken(self, old: Path, copied: Path) -> None:
        edit(copied, lambda results: results["candidates"][1].pop("scores"))
        said = run(old, copied)
        assert said.exit_code == 2
        assert "lacks scores" in said.stderr

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
