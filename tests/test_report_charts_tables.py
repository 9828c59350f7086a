"""The tables behind the charts: every number is that of results.json."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_candidates import TUNED
from report_examples import METRICS
from report_inputs import JUDGES

from harness.report.charts.lengths import QUANTILES

Json = dict[str, Any]
Table = dict[str, list[tuple[dict[str, str], str]]]
"""The rows of a table behind a chart: name -> cells as attributes and text."""


class Tables(HTMLParser):
    """The tables of the page's charts by caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, list[list[tuple[dict[str, str], str]]]] = {}
        self._caption, self._in_caption, self._in_cell, self._in_charts = "", False, False, False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        if tag == "section":
            self._in_charts = given.get("id") == "charts"
        if not self._in_charts:
            return
        if tag == "caption":
            self._in_caption, self._caption = True, ""
        elif tag == "tr":
            self.found.setdefault(self._caption, []).append([])
        elif tag in ("td", "th"):
            self.found[self._caption][-1].append((given, ""))
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self._in_caption = False
        elif tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_caption:
            self._caption += data
        elif self._in_charts and self._in_cell:
            given, text = self.found[self._caption][-1][-1]
            self.found[self._caption][-1][-1] = given, " ".join(f"{text} {data}".split())

    def rows(self, caption: str) -> Table:
        _, *rows = self.found[caption]
        return {row[0][1]: row[1:] for row in rows}


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


@pytest.fixture(scope="module")
def tables(report: Path) -> Tables:
    return Tables((report / "index.html").read_text())


def values(cells: list[tuple[dict[str, str], str]]) -> list[float | None]:
    """The numbers of a row as the page has them; None where it has none."""
    return [float(given["data-value"]) if "data-value" in given else None for given, _ in cells]


def test_charts_have_titles_descriptions_and_no_broken_number(report: Path, results: Json) -> None:
    drawings = re.findall(r"<svg[^>]*role=\"img\".*?</svg>", (report / "index.html").read_text(), re.DOTALL)
    panels = sum(len(candidate.get("per_example", {})) for candidate in results["candidates"])
    assert panels >= len(METRICS) * (len(TUNED) - 1)
    tradeoff, matrix, lengths, losses, forests = 1, 1, 1, 2, len(METRICS) + len(JUDGES)
    assert len(drawings) == tradeoff + matrix + lengths + losses + forests + panels
    for drawing in drawings:
        assert re.search(r"<title id=[^>]*>[^<]+</title><desc id=[^>]*>[^<]+</desc>", drawing)
        assert not re.search(r"\b(nan|inf|None)\b", drawing)
    identities = re.findall(r"\bid=\"([^\"]+)\"", (report / "index.html").read_text())
    assert len(identities) == len(set(identities))


def test_every_drawing_has_a_table_behind_it(report: Path, tables: Tables) -> None:
    charts = (
        (report / "index.html").read_text().partition('<section id="charts"')[2].partition("</section>")[0]
    )
    figures = charts.split("<figure")[1:]
    assert len(figures) == len(tables.found) == 1 + 1 + 1 + 2 + len(METRICS) + len(JUDGES) + len(METRICS)
    assert all(
        figure.count("<table") == 1 and figure.count("<summary>The figures") == 1 for figure in figures
    )


def test_the_table_of_quality_and_cost_is_that_of_the_results(tables: Tables, results: Json) -> None:
    rows = tables.rows("perplexity and cost")
    assert len(rows) == len(TUNED)
    for candidate in results["candidates"][1:-1]:
        score, costs = candidate["scores"]["perplexity"], candidate["costs"]
        assert values(rows[candidate["name"]])[:6] == [
            *(score[key] for key in ("value", "low", "high")),
            costs["train_seconds"],
            costs["train_device_hours"],
            None,
        ]


def test_the_tables_of_differences_are_those_of_the_results(tables: Tables, results: Json) -> None:
    keys = ("value", "low", "high", "n", "p_value", "p_adjusted")
    for name, label, *_ in METRICS:
        rows = tables.rows(f"{label}, against base")
        compared = {
            c["name"]: c["differences"][name] for c in results["candidates"] if name in c["differences"]
        }
        known = {whose: found for whose, found in compared.items() if "value" in found}
        assert rows.keys() == known.keys()
        assert known
        for whose, found in known.items():
            assert values(rows[whose])[:6] == [found[key] for key in keys]
            assert rows[whose][6][1] == found["verdict"]


def test_the_tables_of_win_rates_are_those_of_the_results(tables: Tables, results: Json) -> None:
    for judge, against, *_ in JUDGES:
        rows = tables.rows(f"{judge} win rate, against {'all others' if against == 'all' else against}")
        assert len(rows) >= len(TUNED)
        for candidate in results["candidates"]:
            found = candidate["win_rates"].get(judge, {"missing": ""})
            if "missing" not in found:
                average = found["rules"]["average"]
                figures = [average[key] for key in ("value", "low", "high")]
                assert values(rows[candidate["name"]])[:6] == [
                    *figures, *(found[key] for key in ("n", "p_value", "p_adjusted"))
                ]  # fmt: skip


def test_the_tables_of_single_examples_are_those_of_the_results(tables: Tables, results: Json) -> None:
    for metric in results["metrics"]:
        name = metric["name"]
        rows = tables.rows(f"Differences to base in {metric['label']}, example by example")
        found = [c["per_example"][name] for c in results["candidates"] if name in c.get("per_example", {})]
        assert found
        for key in ("n", "better", "worse", "same", "median"):
            assert values(rows[key]) == [one[key] for one in found]
        below, *bins, above = (values(cells) for cells in list(rows.values())[5:])
        assert [below, above] == [[one[key] for one in found] for key in ("below", "above")]
        assert bins == [list(counts) for counts in zip(*(one["counts"] for one in found), strict=True)]


def test_the_table_of_lengths_is_that_of_the_results(tables: Tables, results: Json) -> None:
    rows = tables.rows("Lengths in characters: mean and quantiles")
    known = {"references": results["data"]["reference_lengths"]} | {
        c["name"]: c["answers"]["lengths"] for c in results["candidates"] if c["answers"]
    }
    assert rows.keys() == known.keys()
    for name, found in known.items():
        quantiles = [found["quantiles"][q] for q in QUANTILES]
        assert values(rows[name]) == [found["n"], found["mean"], *quantiles]


def test_the_tables_of_losses_are_those_of_the_results(tables: Tables, results: Json) -> None:
    for caption, key in (("Training loss", "curve"), ("Validation loss", "validation")):
        rows = tables.rows(f"{caption} in nats per token")
        for candidate in results["candidates"]:
            if not candidate["training"]:
                continue
            logged = [(entry["loss"], entry["step"]) for entry in candidate["training"][key]]
            first, lowest, last = logged[0], min(logged), logged[-1]
            assert values(rows[candidate["name"]])[:6] == [*first, *lowest, *last]


def test_the_square_is_that_of_the_results(tables: Tables, results: Json) -> None:
    rows = tables.rows("What the row's candidate has over the column's")
    names = list(rows)
    pairs = [pair for pair in results["pairs"] if pair["metric"] == results["suite"]["rank_by"]]
    assert len(pairs) == len(names) * (len(names) - 1) / 2
    for pair in pairs:
        for a, b, sign in (("a", "b", 1), ("b", "a", -1)):
            given, text = rows[pair[a]][names.index(pair[b])]
            assert float(given["data-value"]) == sign * pair["value"]
            verdict = {pair["verdict"]: "cannot be told apart", a: "better", b: "worse"}[pair["verdict"]]
            assert verdict in text
