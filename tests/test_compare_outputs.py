"""`harness compare`: the files, the terminal, and what the documentation says of them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from board_world import Entry
from click.testing import CliRunner
from compared_runs import ENTRIES, METRICS, WORSE, Json, N, edit, edit_examples, finished, row, rows, run
from ruamel.yaml import YAML

from harness import format as fmt
from harness.cli import main
from harness.comparing import compare
from harness.comparing.gates import Gate
from harness.report.comparison import as_html, as_markdown
from harness.report.comparison.markdown import LONGEST
from harness.stats.multiplicity import NO_DIFFERENCE

pytest_plugins = ["compared_fixtures"]

HOSTILE = (
    "<img src=x onerror=alert(1)></script><script>alert(2)</script> [x](javascript:alert(3)) "
    "\x1b[31m\x9b\u202e{{7*7}} |"
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
        elsewhere = tmp_path.joinpath(*old.parts[-2:])
        shutil.copytree(old, elsewhere)
        assert run(old, worse, "--output", tmp_path / "one").exit_code == 0
        assert run(elsewhere, worse, "--output", tmp_path / "two").exit_code == 0
        for name in ("compare.html", "compare.md", "compare.json"):
            content = (tmp_path / "one" / name).read_bytes()
            assert content == (tmp_path / "two" / name).read_bytes()
            assert str(tmp_path).encode() not in content
        told = json.loads((tmp_path / "one" / "compare.json").read_text())
        assert told == compare(str(old), str(worse))
        assert json.loads(run(old, worse, "--json").stdout) == told

    def test_every_figure_is_in_every_form(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        html, text = as_html(found), as_markdown(found)
        shown = run(old, worse).stdout
        in_html = [
            [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall("<t[hd][^>]*>(.*?)</t[hd]>", line)]
            for line in html.splitlines()
        ]
        in_markdown = [re.sub(r"\\(.)", r"\1", unescape(line)) for line in text.splitlines()]
        compared = [(each, mine) for each in found["figures"] for mine in each["rows"] if "value" in mine]
        assert {mine["unchanged"] for _, mine in compared} == {True, False}
        for info, each in compared:
            unit = info["unit"]
            values = [fmt.score(each[side], unit) for side in ("old", "new")]
            if each["unchanged"]:
                cells = [each["candidate"], values[1], str(each["n"])]
                assert values[0] == values[1]
            else:
                ends = each["low"], each["high"]
                cells = [each["candidate"], *values, fmt.difference(each["value"], unit, *ends)]
                cells += [fmt.difference_interval(each["value"], *ends, unit), str(each["n"])]
                cells += [fmt.p_figure(each["p_adjusted"]), each["verdict"]]
            head = f"{info['label']} {'↑' if info['higher_is_better'] else '↓'}"
            assert [head, *cells] in in_html
            assert f"| {' | '.join([head, *cells])} |" in in_markdown
        told = row(found, "exact_match", "lora")
        assert told["value"] < 0
        change = f"−{abs(told['value']) * 100:.1f} pt"
        for form in (html, text, shown):
            assert "lora is worse than before" in form
            assert change in form

    def test_which_runs_they_are_is_in_every_form(self, old: Path, worse: Path, tmp_path: Path) -> None:
        shutil.copytree(old, tmp_path / "before")
        found = compare(str(tmp_path / "before"), f"{worse / 'results.json'}:lora")
        said = run(tmp_path / "before", f"{worse / 'results.json'}:lora").stdout
        for form in (as_html(found), as_markdown(found), " ".join(said.split())):
            for side, folder, name in ((worse, worse.name, "lora of s"), (old, "before", "lora of s")):
                digest = hashlib.sha256((side / "results.json").read_bytes()).hexdigest()
                chosen = name if side == worse else "s"
                assert f": {chosen}, folder {folder}, {N} examples, results.json sha256 {digest[:12]}" in form
        assert [found[side]["sha256"] for side in ("old", "new")] == [
            hashlib.sha256((side / "results.json").read_bytes()).hexdigest() for side in (old, worse)
        ]

    def test_a_folder_is_named_though_it_is_given_as_a_dot(
        self, old: Path, worse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(worse)
        shutil.copytree(old, tmp_path / "before")
        assert compare(str(tmp_path / "before"), ".")["new"]["folder"] == worse.name

    def test_folders_of_one_name_are_told_apart(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        assert [found[side]["folder"] for side in ("old", "new")] == ["old/rank", "worse/rank"]

    def test_what_did_not_change_is_folded(self, old: Path, worse: Path) -> None:
        found = compare(str(old), str(worse))
        same = [row for row in rows(found) if row["unchanged"]]
        assert len(same) == 7
        folded = f"<summary>Unchanged ({len(same)} comparisons)</summary>"
        for form in (as_html(found), as_markdown(found)):
            before, _, after = form.partition(folded)
            assert after.partition("</details>")[0].count("seeds") == 4
            assert "seeds" not in before
        assert "Unchanged, and so not tested: base and seeds in every figure." in run(old, worse).stdout

    def test_examples_are_by_candidate_and_what_is_not_told_apart_is_folded(
        self, old: Path, tmp_path: Path
    ) -> None:
        entries = {**ENTRIES, "lora": WORSE["lora"], "seeds": Entry(0.58, seeds=3, noise_seed=6)}
        found = compare(str(old), str(finished(tmp_path / "other", entries)))
        verdicts = {name: row(found, name, "seeds")["verdict"] for name in METRICS}
        apart = [name for name, verdict in verdicts.items() if verdict != NO_DIFFERENCE]
        assert len(apart) < len(METRICS), "something must be left to be folded"
        whole = as_html(found).partition('<h2 id="examples-title">')[2].partition("</section>")[0]
        groups = {part.partition("<")[0]: part for part in whole.split("<h3>")[1:]}
        assert list(groups) == ["lora", "seeds"]
        assert groups["lora"].count("<summary>") == len(METRICS) + 1
        assert "told apart" not in groups["lora"]
        shown, _, folded = groups["seeds"].partition("be told apart</summary>")
        assert shown.count("<summary>") == len(apart) + 1
        assert folded.count("<summary>") >= 1

    def test_a_folder_that_cannot_be_written(self, old: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        said = run(old, old, "--output", tmp_path / "file" / "out")
        assert said.exit_code == 2
        assert "cannot be written: Not a directory" in said.stderr
        assert said.stderr.count("\n") == 1

    def test_p_of_any_worse_has_its_family_beside_it(self, old: Path, lowered: Path) -> None:
        with_any, without = (compare(str(old), str(lowered), gates=gates) for gates in (["any worse"], []))
        (gate,) = with_any["gates"]
        assert all(" over all 4 comparisons, n = " in reason for reason in gate["reasons"])
        for form in (as_html, as_markdown):
            assert "'any worse' is corrected over all figures" in form(with_any).replace("&#39;", "'")
            assert "'any worse' is corrected over all figures" not in form(without).replace("&#39;", "'")

    def test_hostile_texts_stay_text(self, old: Path, hostile: Path, tmp_path: Path) -> None:
        said = run(old, hostile, "--output", tmp_path / "out", "--fail-if", "seeds: bleu worse")
        assert said.exit_code == 3
        html = (tmp_path / "out" / "compare.html").read_text()
        comment = (tmp_path / "out" / "compare.md").read_text()
        as_json = run(old, hostile, "--json").stdout
        assert (tmp_path / "out" / "compare.json").read_bytes().isascii()
        for form in (html, comment, said.stdout, said.stderr, as_json):
            assert not {"\x1b", "\x9b", "\u202e"} & set(form)
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
