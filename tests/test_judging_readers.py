"""Verdicts out of files: four forms, found by content, and every fault with its line."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import InputError
from harness.judging.analysis import analyse
from harness.judging.findings import findings
from harness.judging.readers import read
from harness.judging.table import Verdicts
from harness.records import CHOICES

Json = dict[str, Any]
HEADER = "example_id,first,second,verdict"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(rows: Sequence[Json]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def said(table: Verdicts) -> list[tuple[str, str, str, str]]:
    return [
        (table.examples[p], table.players[f], table.players[s], CHOICES[c])
        for p, f, s, c in zip(table.prompt, table.first, table.second, table.choice, strict=True)
    ]


OURS = {
    "judge": "gpt4", "example_id": "e1", "seed": 2, "first": "lora", "second": "base", "choice": "first",
    "preference": 0.8, "fault": "", "control": "", "first_chars": 12, "second_chars": None, "reason": "why",
    "raw": "{}",
}  # fmt: skip
ALPACA = {
    "instruction": "Name a colour.", "output_1": "Red.", "generator_1": "davinci", "output_2": "Blue, say.",
    "generator_2": "mine", "annotator": "alpaca_eval_gpt4", "preference": 2, "price_per_example": 0.01,
}  # fmt: skip
FASTCHAT = {
    "question_id": 81, "model_1": "alpaca-13b", "model_2": "vicuna-13b", "g1_winner": "model_2",
    "g2_winner": "tie", "judge": ["gpt-4", "pair-v2"], "turn": 1, "g1_judgment": "[[B]]", "tstamp": 1.5,
}  # fmt: skip
BATTLE = {
    "question_id": 81, "model_a": "alpaca-13b", "model_b": "gpt-4", "winner": "model_b", "judge": "author_2",
    "turn": 1,
}  # fmt: skip


class TestOurs:
    def test_every_column_of_a_line(self, tmp_path: Path) -> None:
        rows = [
            OURS,
            OURS
            | {"first": "base", "second": "lora", "choice": "unparsed", "preference": None, "fault": "cut"},
        ]
        rows += [OURS | {"second": "lora", "choice": "tie", "control": "identical", "preference": None}]
        rows += [OURS | {"judge": "human"}]
        found = read([written(tmp_path, "verdicts.jsonl", lines(rows))]).judges
        assert list(found) == ["gpt4", "human"]
        table = found["gpt4"]
        assert said(table) == [
            ("e1", "lora", "base", "first"),
            ("e1", "base", "lora", "unparsed"),
            ("e1", "lora", "lora", "tie"),
        ]
        assert table.worth[0] == 0.8
        assert (table.seed.tolist(), table.fault.tolist()) == ([2, 2, 2], ["", "cut", ""])
        assert (table.control.tolist(), table.symmetric) == (["", "", "identical"], False)
        assert table.length_first.tolist() == [12, 12, 12]

    @pytest.mark.parametrize("zipped", [False, True])
    def test_csv(self, tmp_path: Path, zipped: bool) -> None:
        text = f'\ufeff{HEADER},seed,judge,first_chars\r\n1,a,b,first,0,j,7\r\n\r\n1,"b, c",a,tie,,,\r\n'
        content = gzip.compress(text.encode()) if zipped else text.encode()
        found = read([written(tmp_path, "published.csv.gz" if zipped else "published.csv", content)]).judges
        assert said(found["j"]) == [("1", "a", "b", "first")]
        assert found["j"].length_first.tolist() == [7]
        assert said(found["published"]) == [("1", "b, c", "a", "tie")]

    def test_answers_stand_for_their_lengths(self, tmp_path: Path) -> None:
        path = written(tmp_path, "v.csv", f"{HEADER},first_answer,second_answer\n1,a,b,first,Yes.,No way.\n")
        table = read([path]).judges["v"]
        assert (table.length_first.tolist(), table.length_second.tolist()) == ([4], [7])


class TestAlpacaEval:
    @pytest.mark.parametrize(
        ("preference", "choice", "worth"),
        [
            (1, "first", 1.0),
            (2, "second", 0.0),
            (1.5, "tie", 0.5),
            (0, "tie", 0.5),
            (1.2, "first", 0.8),
            (None, "unparsed", None),
        ],
    )
    def test_preferences(
        self, tmp_path: Path, preference: float | None, choice: str, worth: float | None
    ) -> None:
        path = written(
            tmp_path, "annotations.json", json.dumps([ALPACA | {"preference": preference}], indent=1)
        )
        table = read([path]).judges["alpaca_eval_gpt4"]
        assert said(table) == [("Name a colour.", "davinci", "mine", choice)]
        assert (table.worth[0] == pytest.approx(worth)) if worth is not None else table.fault[0] == "invalid"
        assert (table.length_first.tolist(), table.length_second.tolist()) == ([4], [10])
        assert table.symmetric

    def test_win_rate_is_alpaca_evals(self, tmp_path: Path) -> None:
        preferences = [1.02, 1.9, 1.5, 2.0, 1.37, 1.0, 1.88, 1.64]
        rows = [ALPACA | {"instruction": f"{n}", "preference": p} for n, p in enumerate(preferences)]
        (table,) = read([written(tmp_path, "annotations.json", json.dumps(rows))]).judges.values()
        rate = analyse(table, against="davinci")["rates"]["mine"]["rules"]["average"]
        assert rate["value"] == pytest.approx(sum(p - 1 for p in preferences) / len(preferences))
        assert rate["n"] == len(preferences)


class TestFastChat:
    def test_adjusted_win_rate_is_fastchats(self, tmp_path: Path) -> None:
        games = itertools.product(("model_1", "model_2", "tie", "error"), repeat=2)
        rows = [
            FASTCHAT | {"question_id": n, "g1_winner": g, "g2_winner": h} for n, (g, h) in enumerate(games)
        ]
        rows += [FASTCHAT | {"question_id": 99, "g1_winner": "model_1", "g2_winner": "model_1"}]
        (table,) = read([written(tmp_path, "pair.jsonl", lines(rows))]).judges.values()
        # As show_result.py counts: rows with an error left out, a win where both games agree, else a tie.
        kept = [r for r in rows if "error" not in (r["g1_winner"], r["g2_winner"])]
        wins = sum(r["g1_winner"] == r["g2_winner"] == "model_1" for r in kept)
        losses = sum(r["g1_winner"] == r["g2_winner"] == "model_2" for r in kept)
        adjusted = (wins + 0.5 * (len(kept) - wins - losses)) / len(kept)
        rate = analyse(table, against="vicuna-13b")["rates"]["alpaca-13b"]
        assert rate["rules"]["tie_on_disagreement"]["value"] == pytest.approx(adjusted)
        assert (rate["pairs"], rate["incomplete"]) == (len(kept), len(rows) - len(kept))

    def test_two_games_a_row(self, tmp_path: Path) -> None:
        rows = [
            FASTCHAT,
            FASTCHAT | {"turn": 2, "g1_winner": "error", "g2_winner": "model_1", "judge": ["gpt-4", "multi"]},
        ]
        table = read([written(tmp_path, "gpt-4_pair.jsonl", lines(rows))]).judges["gpt-4"]
        assert said(table) == [
            ("81", "alpaca-13b", "vicuna-13b", "second"),
            ("81", "vicuna-13b", "alpaca-13b", "tie"),
            ("81, turn 2", "alpaca-13b", "vicuna-13b", "unparsed"),
            ("81, turn 2", "vicuna-13b", "alpaca-13b", "second"),
        ]

    def test_answers_that_were_graded_alone_have_no_order(self, tmp_path: Path) -> None:
        row = FASTCHAT | {"g1_winner": "model_1", "g2_winner": "model_1", "m1_score": 8, "m2_score": 5}
        table = read([written(tmp_path, "x.jsonl", lines([row]))]).judges["gpt-4"]
        assert said(table) == [("81", "alpaca-13b", "vicuna-13b", "first")]
        assert table.symmetric

    @pytest.mark.parametrize(
        ("winner", "choice"),
        [("model_a", "first"), ("model_b", "second"), ("tie", "tie"), ("tie (bothbad)", "tie")],
    )
    def test_battles(self, tmp_path: Path, winner: str, choice: str) -> None:
        table = read([written(tmp_path, "x.jsonl", lines([BATTLE | {"winner": winner}]))]).judges["author_2"]
        assert said(table) == [("81", "alpaca-13b", "gpt-4", choice)]


class TestFiles:
    def test_are_joined_whatever_their_form(self, tmp_path: Path) -> None:
        one = written(tmp_path, "one.csv", f"{HEADER},judge\n81,a,b,first,gpt-4\n")
        other = written(tmp_path, "other.jsonl", lines([FASTCHAT]))
        found = read([one, other])
        assert list(found.judges) == ["gpt-4"]
        assert (len(found.judges["gpt-4"]), found.notes) == (3, [])

    def test_what_stands_twice_counts_once(self, tmp_path: Path) -> None:
        path = written(tmp_path, "v.csv", f"{HEADER}\n1,a,b,first\n1,a,b,first\n1,b,a,first\n")
        found = read([path, path])
        assert len(found.judges["v"]) == 2
        assert found.notes == ["4 judgments occur twice in the files and are counted once"]

    @pytest.mark.parametrize(
        ("name", "content", "error"),
        [
            ("v.csv", f"{HEADER}\n1,a,b,frist\n", "v.csv:2: 'verdict' is 'frist'; did you mean 'first'?"),
            ("v.csv", f"{HEADER}\n1,a,b\n", "v.csv:2: 'verdict' is missing; known are first, second"),
            ("v.csv", f"{HEADER}\n1,a,b,tie,x\n", "v.csv:2: 5 fields, but the header has 4"),
            ("v.csv", f"{HEADER}\n1,a,a,tie\n", "v.csv:2: 'first' and 'second' are both 'a'"),
            ("v.csv", f"{HEADER}\n,a,b,tie\n", "v.csv:2: 'example_id' is '', not a name"),
            ("v.csv", f"{HEADER},seed\n1,a,b,tie,1.5\n", "v.csv:2: 'seed' is '1.5', not a whole number"),
            ("v.csv", "example_id,first,second,verdct\n1,a,b,tie\n", "v.csv: has no 'verdict', but 'verdct'"),
            ("v.csv", f"{HEADER}\n1,a,b,first\n1,a,b,second\n", "v.csv:3: contradicts v.csv:2"),
            ("v.csv", f"{HEADER}\n", "v.csv: has no rows"),
            ("v.csv", "", "v.csv: is empty"),
            ("v.csv", b"\xff\xfe\x00", "v.csv: is UTF-16, not UTF-8"),
            ("v.csv", HEADER.encode() + b"\n\xe9", "v.csv:2: not UTF-8 (byte 0xe9)"),
            ("v.csv.gz", gzip.compress(b"x" * 999, mtime=0)[:-9], "v.csv.gz: is not whole"),
            ("v.jsonl", lines([OURS]) + "{oops\n", "v.jsonl:2: not JSON"),
            ("v.jsonl", lines([OURS | {"preference": 1.5}]), "v.jsonl:1: 'preference' is 1.5, not a"),
            ("v.jsonl", lines([OURS | {"preference": float("nan")}]), "v.jsonl:1: 'preference' is nan"),
            ("v.jsonl", lines([OURS | {"first": ["x"]}]), "v.jsonl:1: 'first' is ['x'], not a name"),
            ("v.jsonl", lines([OURS | {"first": True}]), "v.jsonl:1: 'first' is True, not a name"),
            ("v.jsonl", lines([OURS | {"control": "again"}]), "v.jsonl:1: 'control' is 'again'; known"),
            ("v.jsonl", lines([OURS | {"first_chars": -1}]), "v.jsonl:1: 'first_chars' is -1, not"),
            ("v.jsonl", lines([OURS | {"first": "\ud800"}]), "v.jsonl:1: 'first' is '\\ud800', which is"),
            ("v.jsonl", lines([{"id": 1}]), "v.jsonl: has no 'example_id'"),
            ("a.json", json.dumps([ALPACA, ALPACA | {"preference": 0.5}]), "a.json, row 2: 'preference' is"),
            ("a.json", json.dumps([ALPACA | {"preference": 3}]), "a.json, row 1: 'preference' is 3"),
            ("f.jsonl", lines([FASTCHAT | {"g2_winner": "A"}]), "f.jsonl:1: 'g2_winner' is 'A'"),
            ("f.jsonl", lines([FASTCHAT, BATTLE]), "f.jsonl:2: 'model_1' is missing, not a name"),
        ],
    )  # fmt: skip
    def test_a_fault_says_where_and_what(
        self, tmp_path: Path, name: str, content: str | bytes, error: str
    ) -> None:
        with pytest.raises(InputError) as raised:
            read([written(tmp_path, name, content)])
        assert str(raised.value).startswith(error)

    def test_ten_faults_are_told_and_the_rest_counted(self, tmp_path: Path) -> None:
        path = written(tmp_path, "v.csv", HEADER + "\n" + "1,a,b,\n" * 25)
        with pytest.raises(InputError) as raised:
            read([path])
        told = str(raised.value).splitlines()
        assert (len(told), told[-1]) == (11, "and 15 more such rows")

    @pytest.mark.parametrize("name", ["absent.csv", "."])
    def test_what_is_no_file(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read([tmp_path / name])

    def test_hostile_values_are_quoted(self, tmp_path: Path) -> None:
        row = OURS | {"choice": "\x1b[2J\u202egnp" + "x" * 500}
        with pytest.raises(InputError) as raised:
            read([written(tmp_path, "v.jsonl", lines([row]))])
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("symmetric", "consistency"), [(True, None), (False, 1.0), (None, 1.0), ("true", None), ("False", 1.0)]
)
def test_who_was_asked_once_has_no_consistency(
    tmp_path: Path, symmetric: object, consistency: float | None
) -> None:
    """A report's file has the verdicts of a symmetric judge in both orders, one the mirror of the other."""
    place = {"judge": "j", "example_id": "e", "symmetric": symmetric}
    rows = [
        {**place, "first": "a", "second": "b", "choice": "first"},
        {**place, "first": "b", "second": "a", "choice": "second"},
    ]
    found = analyse(read([written(tmp_path, "v.jsonl", lines(rows))]).judges["j"])
    assert found["swaps"]["consistency"] == consistency
    assert found["symmetric"] == (consistency is None)


def test_what_was_settled_is_no_verdict(tmp_path: Path) -> None:
    row = {"judge": "j", "example_id": "e", "first": "a", "second": "b", "choice": "tie"}
    rows = [{**row, "settled": True}, {**row, "example_id": "f", "settled": False}]
    table = read([written(tmp_path, "v.jsonl", lines(rows))]).judges["j"]
    assert table.settled.tolist() == [True, False]
    assert "1 of 2 pairs were identical answers: a tie, nobody asked." in findings("j", analyse(table))


def test_a_flag_is_true_or_false(tmp_path: Path) -> None:
    row = {"judge": "j", "example_id": "e", "first": "a", "second": "b", "choice": "tie"}
    row["settled"] = "perhaps"
    with pytest.raises(InputError, match="'settled' is 'perhaps', not true or false"):
        read([written(tmp_path, "v.jsonl", lines([row]))])


WORD = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)


@given(st.lists(st.tuples(WORD, WORD, WORD, st.sampled_from(CHOICES)), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_names_survive_both_forms(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    kept = {row[:3]: row for row in rows if row[1] != row[2] and "\x00" not in "".join(row)}
    if not kept:
        return
    folder = tmp_path_factory.mktemp("names")
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerows([HEADER.split(","), *kept.values()])
    keys = ("example_id", "first", "second", "choice")
    as_lines = lines([dict(zip(keys, row, strict=True)) for row in kept.values()])
    for path in (written(folder, "v.csv", text.getvalue()), written(folder, "v.jsonl", as_lines)):
        assert said(read([path]).judges["v"]) == list(kept.values())
