"""`harness verdicts summarize`: published figures out of published verdicts, and what a person sees."""

from __future__ import annotations

import csv
import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from commands import harness

from harness.judging.reporting import summarize
from harness.report.verdict_summary import as_markdown, blocks

Json = dict[str, Any]
EXCERPT = Path(__file__).parent / "data" / "verdicts.csv"
PUBLISHED_ELO = {
    "gpt4": 1348,
    "65b-guanaco": 1022,
    "30b-guanaco": 992,
    "vicuna-13b": 974,
    "gpt35": 966,
    "13b-guanaco": 916,
    "bard": 902,
    "7b-guanaco": 879,
}
"""Dettmers et al., QLoRA (2023), table 1."""


@pytest.fixture(scope="module")
def qlora(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The analysis of QLoRA's published GPT-4 verdicts, as the command prints it."""
    path = shared / "oracles" / "qlora_vicuna_pairwise.csv.gz"
    done = harness("verdicts", "summarize", path, "--json", "--elo", folder=tmp_path_factory.mktemp("qlora"))
    assert done.returncode == 0, done.stderr
    loaded: Json = json.loads(done.stdout)["judges"]["qlora_vicuna_pairwise"]
    return loaded


class TestPublishedFigures:
    @pytest.mark.parametrize(("player", "points"), PUBLISHED_ELO.items())
    def test_elo(self, qlora: Json, player: str, points: int) -> None:
        assert qlora["elo"]["ratings"][player] == pytest.approx(points, abs=1.0)

    def test_bradley_terry_on_the_same_scale(self, qlora: Json) -> None:
        assert round(qlora["elo"]["bradley_terry"]["gpt4"], 1) == 1366.3

    @pytest.mark.parametrize(
        ("share", "percent"),
        [("consistent_ties", 4.3), ("flips_to_first", 19.6), ("flips_to_second", 0.9), ("win_tie", 18.1)],
    )
    def test_order_swaps(self, qlora: Json, share: str, percent: float) -> None:
        assert qlora["swaps"]["pairs"] == 2227
        assert round(100 * qlora["swaps"][share], 1) == percent

    def test_consistent_wins(self, qlora: Json) -> None:
        swaps = qlora["swaps"]
        assert round(100 * (swaps["consistency"] - swaps["consistent_ties"]), 1) == 57.1

    def test_the_first_position_helps(self, qlora: Json) -> None:
        assert round(qlora["position"]["value"], 2) == 0.68
        assert qlora["position"]["low"] < 0.68 < qlora["position"]["high"]
        assert qlora["swaps"]["first_logit"] == qlora["position"]

    def test_three_rules_on_one_pair(self, qlora: Json) -> None:
        (pair,) = (p for p in qlora["pairs"] if {p["a"], p["b"]} == {"65b-guanaco", "gpt35"})
        assert pair["a"] == "65b-guanaco"
        found = {rule: (round(100 * rate["value"], 1), rate["n"]) for rule, rate in pair["rules"].items()}
        assert found == {
            "average": (54.1, 80),
            "tie_on_disagreement": (51.2, 80),
            "consistent_only": (52.8, 36),
        }
        assert pair["verdict"] == "cannot be told apart"

    def test_shown_first_and_second(self, shared: Path) -> None:
        from harness.judging.duels import lay_out
        from harness.judging.readers import read

        (table,) = read([shared / "oracles" / "qlora_vicuna_pairwise.csv.gz"]).judges.values()
        a, b = (table.players.index(name) for name in ("65b-guanaco", "gpt35"))
        duels = lay_out(table).of(a)
        (pair,) = (i for i, (_, other) in enumerate(duels.pairs.tolist()) if other == b)
        shown = [round(100 * float(worth.mean()), 1) for worth in duels.select([pair]).worth]
        assert shown == [71.2, 36.9]

    def test_gpt4_leads_and_the_middle_cannot_be_told_apart(self, qlora: Json) -> None:
        ratings = {row["player"]: row for row in qlora["abilities"]}
        assert ratings["gpt4"]["rank"] == [1, 1]
        middle = ("65b-guanaco", "30b-guanaco", "vicuna-13b", "gpt35")
        assert all("b" in ratings[name]["group"] for name in middle)


def excerpt() -> dict[tuple[str, str, str], str]:
    with EXCERPT.open(newline="") as file:
        return {(r["example_id"], r["first"], r["second"]): r["verdict"] for r in csv.DictReader(file)}


class TestExcerpt:
    """The project's own verdicts: figures by plain loops, and written down."""

    def test_order_swaps_by_a_plain_loop(self) -> None:
        said = excerpt()
        counted: Counter[str] = Counter()
        for (example, first, second), one in said.items():
            other = said[example, second, first]
            if first < second and "unparsed" not in (one, other):
                turned = {"first": "second", "second": "first", "tie": "tie"}[other]
                counted["pairs"] += 1
                counted["consistency"] += one == turned
                counted["consistent_ties"] += one == turned == "tie"
                counted["flips_to_first"] += one == other == "first"
                counted["flips_to_second"] += one == other == "second"
                counted["win_tie"] += (one == "tie") != (other == "tie")
        swaps = summarize([EXCERPT])["judges"]["verdicts"]["swaps"]
        n = counted.pop("pairs")
        assert swaps["pairs"] == n
        assert {key: swaps[key] for key in counted} == pytest.approx({k: v / n for k, v in counted.items()})

    def test_win_rates_by_a_plain_loop(self) -> None:
        said = excerpt()
        worth = {"first": 1.0, "second": 0.0, "tie": 0.5}
        names = sorted({key[1] for key in said})
        for player, rate in summarize([EXCERPT])["judges"]["verdicts"]["rates"].items():
            by_prompt: dict[str, list[float]] = defaultdict(list)
            for example, other in itertools.product({key[0] for key in said}, set(names) - {player}):
                one, two = said[example, player, other], said[example, other, player]
                if "unparsed" not in (one, two):
                    by_prompt[example].append((worth[one] + 1 - worth[two]) / 2)
            means = [sum(values) / len(values) for values in by_prompt.values()]
            assert rate["rules"]["average"]["value"] == pytest.approx(sum(means) / len(means))
            assert rate["rules"]["average"]["n"] == len(means)

    def test_ratings_as_written_down(self) -> None:
        found = summarize([EXCERPT], with_elo=True)["judges"]["verdicts"]
        ratings = {row["player"]: round(row["rating"]) for row in found["abilities"]}
        assert ratings == {"alder": 1147, "birch": 1023, "cedar": 978, "dogwood": 852}
        fitted = {name: round(points, 1) for name, points in found["elo"]["bradley_terry"].items()}
        assert fitted == {"alder": 1136.7, "birch": 1021.2, "cedar": 980.3, "dogwood": 861.9}


class TestCommand:
    @pytest.mark.parametrize("columns", ["80", "120"])
    def test_is_readable_in_a_narrow_terminal(self, tmp_path: Path, columns: str) -> None:
        done = harness("verdicts", "summarize", EXCERPT, "--elo", folder=tmp_path, env={"COLUMNS": columns})
        assert (done.returncode, done.stderr) == (0, "")
        assert max(map(len, done.stdout.splitlines())) <= int(columns)
        assert "\x1b" not in done.stdout
        for told in (
            "Judge verdicts",
            "most prefers alder: it wins 71.2%",
            "Win rates against the field",
            "Order swaps",
            "Elo",
        ):
            assert told in done.stdout

    def test_writes_what_it_prints(self, tmp_path: Path) -> None:
        done = harness(
            "verdicts", "summarize", EXCERPT, "--json", "--output", tmp_path / "a" / "b", folder=tmp_path
        )
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        assert json.loads((tmp_path / "a" / "b" / "analysis.json").read_text(encoding="utf-8")) == printed
        assert "| 1–3 | alder |" in (tmp_path / "a" / "b" / "summary.md").read_text(encoding="utf-8")

    def test_against_one_player(self, tmp_path: Path) -> None:
        done = harness("verdicts", "summarize", EXCERPT, "--against", "cedar", "--json", folder=tmp_path)
        found = json.loads(done.stdout)["judges"]["verdicts"]
        assert (found["against"], len(found["pairs"]), len(found["differences"])) == ("cedar", 3, 3)
        assert {pair["b"] for pair in found["pairs"]} == {"cedar"}

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ([EXCERPT, "--against", "ceder"], "error: no verdict on 'ceder'; did you mean 'cedar'?"),
            *(
                (
                    [place],
                    f"error: {place}: cannot be read: {fault}; name a file of verdicts, such as "
                    "verdicts.jsonl in a report's folder",
                )
                for place, fault in (("absent.csv", "No such file or directory"), (".", "Is a directory"))
            ),
            (["bad.csv"], "error: bad.csv:2: 'verdict' is 'best'; known are first, second, tie, unparsed"),
            ([EXCERPT, "--output", "bad.csv/x"], "error: bad.csv/x: cannot be written: Not a directory"),
        ],
    )
    def test_a_mistake_is_one_line(self, tmp_path: Path, arguments: list[Any], error: str) -> None:
        (tmp_path / "bad.csv").write_text("example_id,first,second,verdict\n1,a,b,best\n")
        done = harness("verdicts", "summarize", *arguments, folder=tmp_path)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
        assert done.stderr.startswith(error)

    def test_a_verdict_that_is_written_for_both_orders_is_one(self, tmp_path: Path, repo: Path) -> None:
        quickstart = repo / "reports" / "quickstart"
        (judge,) = json.loads((quickstart / "results.json").read_text(encoding="utf-8"))["judges"]
        assert judge["symmetric"]
        done = harness("verdicts", "summarize", quickstart / "verdicts.jsonl", folder=tmp_path)
        told = f"{judge['receipt']['examples']} verdicts on {judge['analysis']['prompts']} prompts, "
        assert told in done.stdout

    def test_two_judges_agree_so_far(self, tmp_path: Path) -> None:
        text = EXCERPT.read_text(encoding="utf-8")
        (tmp_path / "copy.csv").write_text(text, encoding="utf-8")
        done = harness("verdicts", "summarize", EXCERPT, "copy.csv", "--json", folder=tmp_path)
        found = json.loads(done.stdout)
        assert list(found["judges"]) == ["verdicts", "copy"]
        assert found["agreement"]["pairs"][0]["kappa"] == 1.0
        assert found["agreement"]["krippendorff"]["value"] == 1.0


def test_a_reports_verdicts_give_the_suites_analysis(tmp_path: Path) -> None:
    from harness.judging.analysis import analyse
    from harness.leaderboard.verdict_lines import table

    rest = {"judge": "gpt4", "seed": None, "preference": None, "control": "", "reason": "so", "raw": "{}"}
    lines = [
        {**rest, "example_id": example, "first": first, "second": second, "choice": choice}
        | {
            "fault": "cut" if choice == "unparsed" else "",
            "first_chars": 10 * len(first),
            "second_chars": None,
        }
        for (example, first, second), choice in excerpt().items()
    ]
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert summarize([path], against="cedar")["judges"]["gpt4"] == analyse(table(lines), against="cedar")


HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "a | b",
    "[link](x)",
    "<img src=x>",
    "\u202eevil",
    "[bold]x[/bold]",
    "long" * 50,
]


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    rows = [
        {"judge": name, "example_id": name, "first": name, "second": f"{name}2", "choice": "first"}
        for name in HOSTILE
    ]
    path = tmp_path / "hostile.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = harness("verdicts", "summarize", path, "--output", "out", folder=tmp_path, env={"COLUMNS": "80"})
    assert done.returncode == 0, done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stdout)
    assert "[bold]x[/bold]" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(page)
    assert "<img" not in page
    assert "\\[link\\](x)" in page
    tables = [block.splitlines() for block in page.split("\n\n") if block.startswith("| ")]
    assert any("a \\| b" in line for table in tables for line in table)
    for table in tables:
        assert len({line.replace("\\|", "").count("|") for line in table}) == 1


def test_many_pairs_are_cut_in_the_terminal_and_whole_in_the_file(tmp_path: Path) -> None:
    names = [f"p{i:02d}" for i in range(13)]
    rows = [f"1,{a},{b},first" for a, b in itertools.permutations(names, 2)]
    path = tmp_path / "many.csv"
    path.write_text("\n".join(["example_id,first,second,verdict", *rows]) + "\n", encoding="utf-8")
    done = harness("verdicts", "summarize", path, folder=tmp_path)
    assert "18 more in the files of --output" in " ".join(done.stdout.split())
    page = as_markdown(blocks(summarize([path])))
    assert sum("| = | p" in line for line in page.splitlines()) == 78


def test_a_judge_that_is_not_believed_agrees_with_nobody(tmp_path: Path) -> None:
    rows = [
        {"judge": judge, "example_id": str(n), "first": "a", "second": "b", "choice": choice}
        for n in range(9)
        for judge, choice in (("x", "first"), ("y", "first"), ("z", "first" if n else "unparsed"))
    ]
    path = tmp_path / "v.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = summarize([path])
    assert [(row["a"], row["b"]) for row in found["agreement"]["pairs"]] == [("x", "y")]
    assert "judge z has no part in the agreement: it is not believed" in found["notes"]
