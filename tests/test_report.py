"""The report: every number of results.json on the page, hostile text as text, the same bytes twice."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_inputs import JUDGES, LARGE, METRICS, TUNED, make_report_input, render_changed
from rich.console import Console

from harness import format as fmt
from harness.errors import InputError
from harness.report import render, terminal
from harness.report.board import build_board, row_warnings
from harness.report.text import csv_text, markdown, name_of, script_json, visible
from harness.report.views.provenance import recipes

HOSTILE = (
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }} {% include 'x' %} ${7*7}",
    "<!-- <script> ]]> </style></title></textarea>",
    "javascript:alert(1)",
    "null \x00 bell \x07 escape \x1b[31m del \x7f",
    "over\u202eride \u2066isolate\u2069 line\u2028sep \ufeffbom",
    "a" * 100_000,
)


class Page(HTMLParser):
    """Tags in order, attributes, and the cells of the board."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[tuple[dict[str, str], str]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self._in_board = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.attributes += given.items()
        self._open.append(tag)
        self._in_board |= given.get("id") == "leaderboard"
        if self._in_board and tag == "tr":
            self.rows.append([])
        if self._in_board and tag in ("td", "th"):
            self.rows[-1].append((given, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._in_board = False

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script" and data.strip():
            self.scripts.append(data)
        elif self._open and self._open[-1] == "style" and data.strip():
            self.styles.append(data)
        elif self._in_board and self.rows and self.rows[-1]:
            attributes, text = self.rows[-1][-1]
            self.rows[-1][-1] = attributes, " ".join(f"{text} {data}".split())


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "index.html").read_text())


# Tables


def test_every_table_has_a_caption_and_every_head_a_scope(report: Path) -> None:
    text = (report / "index.html").read_text()
    tables = re.findall(r"<table\b.*?</table>", text, re.DOTALL)
    assert len(tables) > 30
    captions = [re.search(r"<caption[^>]*>([^<]+)</caption>", table) for table in tables]
    assert [table[:300] for table, caption in zip(tables, captions, strict=True) if caption is None] == []
    told = [caption[1] for caption in captions if caption]
    assert len(set(told)) == len(told)
    heads = re.findall(r"<th\b[^>]*>", text)
    assert len(heads) > 300
    assert [head for head in heads if not re.search(r' scope="(col|colgroup|row|rowgroup)"', head)] == []


# Numbers


def test_every_score_stands_on_the_board(page: Page, results: dict[str, Any]) -> None:
    heads = [text.split(" ↑")[0].split(" ↓")[0] for _, text in page.rows[0]]
    for candidate, row in zip(results["candidates"][:-1], page.rows[1:-1], strict=True):
        assert row[0][1].startswith(candidate["name"])
        cells = dict(zip(heads, row, strict=True))
        for name, label, unit, _ in METRICS:
            score, (attributes, text) = candidate["scores"][name], cells[label]
            if "missing" in score:
                assert attributes["data-value"] == ""
                assert text == f"missing {score['missing']}"
                continue
            assert float(attributes["data-value"]) == score["value"]
            assert text.startswith(fmt.score(score["value"], unit, score["low"], score["high"]))
            assert fmt.interval(score["value"], score["low"], score["high"], unit) in text
            difference = candidate["differences"].get(name)
            if difference:
                ends = (difference["low"], difference["high"])
                change = fmt.difference(difference["value"], unit, *ends)
                span = fmt.difference_interval(difference["value"], *ends, unit)
                assert f"{change} {span} {difference['verdict']}" in text
                assert float(attributes["data-difference"]) == difference["value"]


def test_every_win_rate_and_cost_stands_on_the_board(page: Page, results: dict[str, Any]) -> None:
    costs = {
        "train time": "train_seconds",
        "tokens/s": "tokens_per_second",
        "peak memory": "peak_memory_bytes",
        "trainable": "trainable_parameters",
        "artifact": "artifact_bytes",
    }
    heads = [text.split(" ↑")[0].split(" ↓")[0] for _, text in page.rows[0]]
    for candidate, row in zip(results["candidates"][1:-1], page.rows[2:-1], strict=True):
        cells = dict(zip(heads, row, strict=True))
        for judge, rates in candidate["win_rates"].items():
            attributes, text = cells[f"{judge} win rate"]
            assert float(attributes["data-value"]) == rates["rules"]["average"]["value"]
            assert text.endswith(rates["verdict"])
        for label, key in costs.items():
            assert float(cells[label][0]["data-value"]) == candidate["costs"][key]


def test_base_is_first_and_the_failed_row_gives_stage_and_reason(page: Page, results: dict[str, Any]) -> None:
    assert page.rows[1][1][1] == "base"
    assert page.rows[1][2][1].startswith("38.4")
    failure = results["candidates"][-1]["failure"]
    assert [text for _, text in page.rows[-1]][1:] == ["failed", f"train {failure['message']}"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (fmt.score(9.834, ""), "9.83"),
        (fmt.score(38.4, "", 36.0, 41.0), "38.4"),
        (fmt.score(10.312, "", 10.309, 10.315), "10.312"),
        (fmt.score(1234.5, ""), "1,234"),
        (fmt.score(0.0, ""), "0"),
        (fmt.score(0.413, "%"), "41.3%"),
        (fmt.score(math.inf, ""), "∞"),
        (fmt.score(None, "%"), "n/a"),
        (fmt.interval(0.5, 0.412, 0.588, "%"), "41.2 – 58.8%"),
        (fmt.interval(9.83, 9.4, 10.3, ""), "9.40 – 10.30"),
        (fmt.interval(9.83, None, None, ""), ""),
        (fmt.margin(9.83, 9.4, 10.2, ""), "±0.40"),
        (fmt.margin(52.0, 38.9, 128.0, ""), "[38.9 – 128.0]"),
        (fmt.margin(1.0, 0.912, 1.0, "%"), "[91.2 – 100.0%]"),
        (fmt.margin(0.5, 0.5, 0.5, "%"), "±0.0"),
        (fmt.margin(0.5, None, None, "%"), ""),
        (fmt.difference(-0.4231, ""), "−0.423"),
        (fmt.difference(-9.148, "", -10.21, -8.08), "−9.1"),
        (fmt.difference(0.0012, "", -0.4, 0.5), "+0.001"),
        (fmt.difference_interval(-9.148, -10.21, -8.08, ""), "−10.2 to −8.1"),
        (fmt.difference_interval(-9.148, -9.17, -9.13, ""), "−9.17 to −9.13"),
        (fmt.difference(0.031, "%"), "+3.1 pt"),
        (fmt.difference(0.0, "%"), "0.0 pt"),
        (fmt.difference(-0.00001, "%"), "0.0 pt"),
        (fmt.difference_interval(0.5, -0.2, 1.31, ""), "−0.20 to +1.31"),
        (fmt.p_value(0.0004), "p < 0.001"),
        (fmt.p_value(0.0321), "p = 0.032"),
        (fmt.seconds(0.82), "0.8s"),
        (fmt.seconds(9.99), "10s"),
        (fmt.seconds(83), "1m 23s"),
        (fmt.seconds(3599.7), "1h 00m"),
        (fmt.seconds(7500), "2h 05m"),
        (fmt.size(512), "512 B"),
        (fmt.size(12_340_000), "12.3 MB"),
        (fmt.size(1_204_000_000), "1.20 GB"),
        (fmt.parameters(6_738_000_000), "6.74B"),
        (fmt.parameters(0), "0"),
        (fmt.ranks([1, 3]), "1–3"),
        (fmt.ranks([2, 2]), "2"),
        (fmt.share(math.nan), "n/a"),
        (fmt.dollars(0.0123), "$0.0123"),
        (fmt.dollars(12.5), "$12.50"),
    ],
)
def test_numbers_as_text(shown: str, expected: str) -> None:
    assert shown == expected


def test_what_is_undefined_is_missing_and_never_zero(tmp_path: Path) -> None:
    def undefine(results: dict[str, Any]) -> None:
        results["candidates"][1]["scores"]["bleu"] = {
            "value": None, "low": None, "high": None, "n": 0, "unscored": 4, "interval": "bootstrap",
            "per_seed": [None],
        }  # fmt: skip
        results["candidates"][1]["differences"]["bleu"] = {"missing": "no example in common"}
        results["candidates"][2]["win_rates"]["gpt4"] = {"missing": "none of 4 pairs was readable"}

    rows = Page(render_changed(tmp_path, undefine).read_text()).rows
    bleu = next(i for i, (_, text) in enumerate(rows[0]) if text.startswith("BLEU"))
    gpt4 = next(i for i, (_, text) in enumerate(rows[0]) if text.startswith("gpt4"))
    assert rows[2][bleu][1] == "missing not a finite number (n/a)"
    assert rows[2][bleu][0]["data-value"] == ""
    assert rows[3][gpt4][1] == "missing none of 4 pairs was readable"


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update(judges=[], pairs=[], findings=[], warnings=[]),
        lambda r: r.update(candidates=r["candidates"][:1], pairs=[]),
        lambda r: r["candidates"][0].update(status="failed", failure={"stage": "predict", "message": "x"}),
        lambda r: [c.update(training=None, rank=None, costs={}) for c in r["candidates"]],
        lambda r: r["suite"].update(rank_by="gpt4"),
        lambda r: r["suite"].update(rank_by="unknown"),
        lambda r: r.update(data={}),
        lambda r: r["suite"].pop("overrides"),
    ],
    ids=[
        "no judges",
        "base alone",
        "base failed",
        "not trained",
        "by judge",
        "by unknown",
        "no data",
        "plain",
    ],
)
def test_a_run_with_less_to_show_renders(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    page = Page(render_changed(tmp_path, change).read_text())
    results = json.loads((tmp_path / "results.json").read_text())
    assert len(page.rows) == 1 + len(results["candidates"])


def test_what_counts_other_tokens_is_shown_and_not_compared(report: Path, tmp_path: Path) -> None:
    reason = "another tokenizer than base's: compare bits per byte"

    def foreign(results: dict[str, Any]) -> None:
        candidate = results["candidates"][1]
        candidate["rank"] = None
        candidate["scores"]["perplexity"]["incomparable"] = reason
        candidate["differences"]["perplexity"] = {"missing": reason}
        results["pairs"] = [
            pair for pair in results["pairs"] if candidate["name"] not in (pair["a"], pair["b"])
        ]

    text = render_changed(tmp_path, foreign).read_text()
    page, shown = Page(text), reason.replace("'", "&#39;")
    perplexity = next(i for i, (_, label) in enumerate(page.rows[0]) if label.startswith("perplexity"))
    row = next(row for row in page.rows if row[0][1].startswith("qlora-r16"))
    assert row[1][1] == "–"
    assert row[perplexity][1].startswith("9.83")
    assert row[perplexity][1].endswith(reason)
    drawn = len(re.findall('class="interval"', (report / "index.html").read_text()))
    assert len(re.findall('class="interval"', text)) == drawn - 2  # of the value, and of its difference
    assert f"qlora-r16 ({shown})" in text
    packed = json.loads(page.scripts[0])
    assert [metric["incomparable"] for metric in packed["metrics"]][:2] == [[1], []]
    markdown_row = next(
        line for line in (tmp_path / "leaderboard.md").read_text().splitlines() if "| qlora-r16 |" in line
    )
    assert reason in markdown_row
    assert "qlora-r16" in printed(json.loads((tmp_path / "results.json").read_text()), 100)


# One file, nothing asked of anyone, nothing run but our own script


def test_rendered_twice_is_byte_identical_wherever_it_lies(report: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "other" / "place"
    elsewhere.mkdir(parents=True)
    for name in ("results.json", "examples.jsonl"):
        (elsewhere / name).write_bytes((report / name).read_bytes())
    render(elsewhere)
    for name in ("index.html", "leaderboard.md", "leaderboard.csv"):
        assert (elsewhere / name).read_bytes() == (report / name).read_bytes()
        assert str(tmp_path).encode() not in (elsewhere / name).read_bytes()
    assert {p.name for p in elsewhere.iterdir()} == {
        "results.json", "examples.jsonl", "index.html", "leaderboard.md", "leaderboard.csv",
        "examples.parquet", "lm-eval", "cards", ".outputs.json",
    }  # fmt: skip


def test_folders_of_the_machine_are_not_shown(report: Path) -> None:
    assert "/home/someone" in (report / "results.json").read_text()
    assert "/home/someone" not in (report / "index.html").read_text()


def test_the_policy_allows_our_script_and_style_alone(page: Page) -> None:
    policy = next(value for key, value in page.attributes if key == "content" and "default-src" in value)
    *_, script = page.scripts
    for content in (script, *page.styles):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_nothing_is_fetched(report: Path, page: Page) -> None:
    names = {key for key, _ in page.attributes}
    assert not names & {"src", "srcset", "style", "action", "data", "poster", "background"}
    assert not [name for name in names if name.startswith("on")]
    targets = {value for key, value in page.attributes if key == "href"}
    assert all(target.startswith("#") or target == "data:," for target in targets)
    assert not re.search(r"@import|url\(", page.styles[0])
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|fetch\(", page.scripts[-1]
    )


# Hostile text


FREE_TEXT = frozenset(
    (
        *("description", "text", "message", "signature", "label", "answer", "prompt", "content", "reference"),
        *("error", "reason", "raw", "missing", "path", "train", "held_out", "platform", "cpu", "backend"),
        *("model", "template", "memory_kind", "findings", "warnings", "badges", "overrides"),
    )
)


def poison(value: Any, text: str) -> Any:
    """The value with `text` appended to all that a model, a file or a person may have written freely."""
    if isinstance(value, dict):
        return {
            key: _append(inner, text) if key in FREE_TEXT else poison(inner, text)
            for key, inner in value.items()
        }
    return [poison(inner, text) for inner in value] if isinstance(value, list) else value


def _append(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return f"{value} {text}"
    if isinstance(value, list) and all(isinstance(inner, str) for inner in value):
        return [f"{inner} {text}" for inner in value]
    return poison(value, text)


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_text_changes_no_tag(report: Path, page: Page, tmp_path: Path, text: str) -> None:
    results = poison(json.loads((report / "results.json").read_text()), text)
    lines = [json.loads(line) for line in (report / "examples.jsonl").read_text().splitlines()[:3]]
    examples = "".join(json.dumps(poison(line, text)) + "\n" for line in lines)
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "examples.jsonl").write_text(examples)
    poisoned = render(tmp_path).read_text()
    parsed = Page(poisoned)
    assert parsed.tags == page.tags
    assert {key for key, _ in parsed.attributes} == {key for key, _ in page.attributes}
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", poisoned)
    first = json.loads(parsed.scripts[1].partition("\n")[0])
    assert first["answers"][1].endswith(visible(text))


def test_hostile_names_show_as_names(tmp_path: Path) -> None:
    name = HOSTILE[0]

    def rename(results: dict[str, Any]) -> None:
        results["suite"]["name"] = name
        results["candidates"][1]["name"] = name
        for pair in results["pairs"]:
            pair.update({side: name for side in "ab" if pair[side] == TUNED[0][0]})

    page = Page(render_changed(tmp_path, rename).read_text())
    assert page.rows[2][0][1].startswith(name)
    assert len(page.scripts) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\n\tkept", "plain\n\tkept"),
        ("two\r\nlines", "two\nlines"),
        ("a\x00b\x1b", "a␀b␛"),
        ("\x7f\x85", "␡⟨U+0085⟩"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("\ud800", "\ufffd"),
        ("שלום 你好 👩‍🔬", "שלום 你好 👩‍🔬"),
    ],
)
def test_acting_characters_become_visible(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_script_json_cannot_end_its_element() -> None:
    value = {"a": "</script><!--&\u2028\u2029"}
    assert not set("<>&\u2028\u2029") & set(script_json(value))
    assert json.loads(script_json(value)) == value


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/home/x/data.json", "data.json"),
        ("C:\\x\\data.json", "data.json"),
        ("org/name", "org/name"),
        ("a.csv", "a.csv"),
    ],
)
def test_absolute_paths_lose_their_folders(path: str, expected: str) -> None:
    assert name_of(path) == expected


# Trust, recipes, head to head


def test_unreadable_and_inconsistent_judges_are_called_so(report: Path, results: dict[str, Any]) -> None:
    text = (report / "index.html").read_text()
    rates = {c["name"]: c["win_rates"].get("gpt4", {}) for c in results["candidates"]}
    assert f"verdicts could not be read: last2 {fmt.share(rates['last2']['unparsed'])}." in text
    below = [
        f"{name} {fmt.share(rate['consistency'])}"
        for name, rate in rates.items()
        if rate and rate["consistency"] < 0.7
    ]
    assert len(below) == 4
    assert f"in both orders: {', '.join(below)}." in text
    assert "Of 20 pairs of identical answers local called 16 a tie; of 4 it preferred the first" in text


def test_recipes_mark_what_departs_from_the_rest(report: Path) -> None:
    text = (report / "index.html").read_text()
    assert re.findall(r"<mark>(.*?)</mark>", text) == ["qlora", "full", "freeze", "4", "2e-05", "2e-05"]


def test_where_no_value_is_the_most_common_none_departs(results: dict[str, Any]) -> None:
    for candidate, value in zip(results["candidates"], "aabbccd", strict=False):
        candidate["backend"] = value
    (found,) = (values for key, values in recipes(results)["differing"] if key == "backend")
    assert not any(value["odd"] for value in found)
    results["candidates"][2]["backend"] = "a"
    (found,) = (values for key, values in recipes(results)["differing"] if key == "backend")
    assert [value["odd"] for value in found] == [value["text"] != "a" for value in found]


# Markdown, CSV, terminal


def test_markdown_is_a_whole_table(report: Path, results: dict[str, Any]) -> None:
    table = [line for line in (report / "leaderboard.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(results["candidates"])
    assert len({line.count("|") for line in table}) == 1
    score = results["candidates"][1]["scores"]["chrf"]
    value = fmt.score(score["value"], "", score["low"], score["high"])
    assert f"| {value} [{fmt.interval(score['value'], score['low'], score['high'], '')}] + |" in table[3]
    assert "n = 120" in table[0]


def test_markdown_has_every_warning(report: Path, results: dict[str, Any]) -> None:
    text = (report / "leaderboard.md").read_text()
    mine = [f"{c['name']}: {warning}" for c in results["candidates"] for warning in row_warnings(c)]
    assert mine
    for warning in [*results["warnings"], *mine]:
        assert f"- {markdown(warning)}\n" in text


def test_a_warning_of_several_candidates_is_said_once(tmp_path: Path) -> None:
    def warn(results: dict[str, Any]) -> None:
        for candidate in results["candidates"][3:5]:
            candidate["warnings"] = ["no likelihoods"]

    render_changed(tmp_path, warn)
    text = (tmp_path / "leaderboard.md").read_text()
    assert text.count("no likelihoods") == 1
    assert "- full, lora-r4: no likelihoods\n" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", "a\\|b"),
        ("<b>&", "&lt;b&gt;&amp;"),
        ("two\nlines", "two lines"),
        ("a_b*c`d[e]", "a\\_b\\*c\\`d\\[e\\]"),
    ],
)
def test_markdown_escapes(text: str, expected: str) -> None:
    assert markdown(text) == expected


def test_csv_is_tidy_and_exact(report: Path, results: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO((report / "leaderboard.csv").read_text())))
    found = {(row["candidate"], row["kind"], row["metric"], row["rule"]): row for row in rows}
    assert len(found) == len(rows)
    for candidate in results["candidates"]:
        for name, *_ in METRICS:
            row, score = found[candidate["name"], "score", name, ""], candidate["scores"].get(name, {})
            assert (row["value"] == "") == ("value" not in score) == bool(row["missing"])
            if "value" in score:
                assert float(row["value"]) == score["value"]
        for judge, rates in candidate["win_rates"].items():
            for rule, rate in rates["rules"].items():
                low = found[candidate["name"], "win rate", judge, rule]["low"]
                assert low == "" if rate["low"] is None else float(low) == rate["low"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-a", "'-a"),
        ("@a", "'@a"),
        ("\ta", "'\ta"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_csv_runs_no_formula(text: str, expected: str) -> None:
    assert csv_text(text) == expected


def test_a_formula_as_a_name_is_text_in_the_csv(tmp_path: Path) -> None:
    render_changed(tmp_path, lambda r: r["candidates"][-1].update(name="=HYPERLINK(1)"))
    assert "\n'=HYPERLINK(1)," in (tmp_path / "leaderboard.csv").read_text()


def printed(results: dict[str, Any], width: int, **options: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, **options).print(terminal(results, width=width))
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_board_fits_and_is_plain_when_piped(results: dict[str, Any], width: int) -> None:
    text = printed(results, width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for candidate in results["candidates"]:
        assert candidate["name"] in text
    for shown in ("9.83 ±0.42", "1–3"):
        assert shown in text
    assert text.count("lora-wrong failed in train") == 1


def test_the_terminal_board_has_the_essentials_at_80_columns(results: dict[str, Any]) -> None:
    row = next(line for line in printed(results, 80).splitlines() if " qlora-r16 " in line)
    average = results["candidates"][1]["win_rates"]["reference"]["rules"]["average"]
    rate = f"{fmt.share(average['value'])} {fmt.margin(*(average[e] for e in ('value', 'low', 'high')), '%')}"
    figures = f"9.83 ±0.42 + {rate} + 1.01 ±0.05 +"
    assert row.split() == ["1–3", "a", "qlora-r16", *figures.split(), "1m", "36s"]


def test_the_terminal_names_what_does_not_fit_and_its_own_n(results: dict[str, Any]) -> None:
    narrow, wide = (" ".join(printed(results, width).split()) for width in (80, 200))
    assert "for lack of width" not in wide
    hidden = "token accuracy, BLEU, chrF, exact match, gpt4 win rate, local win rate, people win rate"
    assert f"not shown for lack of width: {hidden} (see the page)" in narrow
    # bits per byte leaves two examples out
    assert "; n = 118–120" in narrow
    assert "lopsided" not in narrow


def test_the_terminal_prints_a_skewed_interval_whole(results: dict[str, Any]) -> None:
    results["candidates"][1]["scores"]["perplexity"].update(value=52.0, low=38.9, high=128.0)
    text = printed(results, 80)
    assert "52.0 [38.9 – 128.0]" in text
    assert "lopsided" in text


def test_the_terminal_takes_no_orders_from_text(results: dict[str, Any]) -> None:
    results["findings"] = ["[red]not markup[/] \x1b[2J :smile:"]
    results["candidates"][1]["name"] = "[bold]x[/bold]"
    text = printed(results, 120, force_terminal=True)
    assert "[red]not markup[/] ␛[2J :smile:" in text
    assert "[bold]x[/bold]" in text


# Errors, costs, documents


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; run the suite first"),
        ("{", "not JSON"),
        ("[]", "not a results.json"),
        ('{"schema": 2}', "written by an earlier version of the harness (schema 2, this one reads 4)"),
        ('{"schema": 5}', "written by a later version"),
        ('{"schema": "x"}', "not a results.json of schema 4"),
        ('{"schema": 4}', "it lacks agreement, candidates, charges, data, environment"),
        ('{"schema": 4,\n "suite": {"na', "results.json:2:12: not JSON"),
        (b'{"schema": 4,\n "suite": "\xff"}', "results.json:2: not UTF-8"),
    ],
)
def test_a_folder_without_results_is_refused(
    tmp_path: Path, content: str | bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "results.json").write_bytes(content.encode() if isinstance(content, str) else content)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=re.escape(message)):
        render(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-20], "examples.jsonl:4:"),
        (lambda content: b"\n" + content[:-20], "examples.jsonl:5:"),
        (lambda content: content + b"[1, 2]\n", "examples.jsonl:5: not an example of a report"),
        (lambda content: content + b'{"id": "x"}\n', "examples.jsonl:5: not an example of a report"),
        (lambda content: content.replace(b'"id"', b'"\xff"', 1), "examples.jsonl:1: not UTF-8"),
        (lambda content: b"\x00" * 64, "examples.jsonl:1:1: not JSON"),
    ],
    ids=["cut short", "after an empty line", "a list", "not an example", "not UTF-8", "garbage"],
)
def test_spoilt_examples_are_refused_at_their_line(
    tmp_path: Path, spoil: Callable[[bytes], bytes], message: str
) -> None:
    path = make_report_input(tmp_path, examples=4) / "examples.jsonl"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(message)):
        render(tmp_path)
    left = {found.name for found in tmp_path.iterdir()}
    assert left == {"results.json", "examples.jsonl", "verdicts.jsonl"}


def test_importing_the_report_loads_neither_jinja2_nor_rich() -> None:
    code = "import sys, harness.report; print({'jinja2', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.slow
def test_twenty_candidates_and_a_thousand_examples_render(tmp_path: Path) -> None:
    make_report_input(tmp_path, examples=LARGE["examples"], tuned=LARGE["tuned"])
    assert render(tmp_path).stat().st_size < 20_000_000


def test_every_word_of_the_page_is_explained(repo: Path, report: Path) -> None:
    guide = " ".join((repo / "reports" / "README.md").read_text().lower().split())
    text = (report / "index.html").read_text()
    heads = set(re.findall(r'<th scope="col"[^>]*>(?:<button type="button">)?([a-z][^<&]*)', text))
    named = {label for _, label, *_ in METRICS} | {f"{judge} win rate" for judge, *_ in JUDGES}
    names = {"base", *(name for name, *_ in TUNED), "lora-wrong"}
    words = {
        "better",
        "worse",
        "cannot be told apart",
        "flip",
        "unparsed",
        "missing",
        "failed",
        "unscored",
        "pt",
    }
    wanted = {word.strip().lower() for word in (heads - named - names) | words}
    assert {word for word in wanted if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", guide)} == set()


def test_costs_that_nobody_had_have_no_columns(results: dict[str, Any]) -> None:
    assert any(column.kind == "cost" for column in build_board(results).columns)
    for candidate in results["candidates"]:
        candidate["costs"] = dict.fromkeys(candidate["costs"])
    assert not any(column.kind == "cost" for column in build_board(results).columns)


def test_a_judge_s_opponent_is_called_so_where_it_is_not_base(results: dict[str, Any]) -> None:
    judge, gold = results["judges"][0], results["candidates"][1]
    judge["against"] = gold["name"]
    gold["win_rates"].pop(judge["name"], None)
    board = build_board(results)
    place = [column.key for column in board.columns].index(judge["name"])
    cell = board.rows[1].cells[place]
    assert (cell.text, cell.note) == ("opponent", "the opponent")
