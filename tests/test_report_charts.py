"""The charts one by one: who is drawn and who is not, on which side, and by what correction."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_candidates import TUNED
from report_examples import METRICS
from report_inputs import make_report_input

from harness.report import render, svg
from harness.report.board import build_board, quality_columns
from harness.report.charts import families
from harness.report.charts.distribution import distribution_panels
from harness.report.charts.forest import forest_charts
from harness.report.charts.lengths import lengths_chart
from harness.report.charts.loss import loss_charts
from harness.report.charts.matrix import matrix_chart
from harness.report.charts.tradeoff import tradeoff_chart

Json = dict[str, Any]


@pytest.fixture(scope="module")
def examples() -> int:
    return 60


def serve(results: Json, index: int, charged: float | None) -> None:
    """Make a server of a candidate, which trained nothing."""
    candidate = results["candidates"][index]
    candidate.update(training=None, backend="openai", method=None, costs=dict.fromkeys(candidate["costs"]))
    candidate["answers"]["cost_usd"] = charged


def test_without_a_price_the_cost_is_time_and_servers_are_not_drawn(results: Json) -> None:
    serve(results, 2, 0.43)
    found = tradeoff_chart(results)
    assert found is not None
    assert found.price is None
    assert found.device == "this CPU machine"
    assert found.chart.title == "perplexity against train time"
    name = results["candidates"][2]["name"]
    assert f"{name} (not trained; a price puts what its server charged on the chart)" in found.chart.omitted
    assert found.chart.svg.count('display="none"') == 1


def test_with_a_price_servers_are_drawn_by_what_they_charged(results: Json) -> None:
    serve(results, 2, 0.43)
    found = tradeoff_chart(results, 2.5)
    assert found is not None
    assert found.chart.figures is not None
    assert found.chart.title == "perplexity against cost at $2.50 per hour"
    assert 'display="none"' not in found.chart.svg
    sums = {row[0].text: row[-1].value for row in found.chart.figures.rows}
    assert sums.pop(results["candidates"][2]["name"]) == 0.43
    hours = {c["name"]: c["costs"].get("train_device_hours") for c in results["candidates"]}
    assert sums == {name: hours[name] * 2.5 for name in sums}


def test_the_suites_price_is_for_gpus_alone(results: Json) -> None:
    results["suite"]["price_per_gpu_hour"] = 3
    found = tradeoff_chart(results)
    assert found is not None
    assert found.price is None
    for candidate in results["candidates"]:
        if candidate["training"]:
            candidate["costs"]["device"] = "NVIDIA H200"
    found = tradeoff_chart(results)
    assert found is not None
    assert (found.price, found.device) == (3.0, "a GPU (NVIDIA H200)")


def test_where_nothing_was_trained_money_needs_no_price(results: Json) -> None:
    for index, _ in enumerate(results["candidates"][:-1]):
        serve(results, index, 0.01 * 5**index)
    found = tradeoff_chart(results)
    assert found is not None
    assert (found.price, found.device, found.chart.title) == (0.0, "", "perplexity against cost")
    assert "US dollars, logarithmic" in found.chart.svg


def test_where_nothing_has_a_cost_there_is_no_chart(results: Json) -> None:
    for index, _ in enumerate(results["candidates"][:-1]):
        serve(results, index, None)
    assert tradeoff_chart(results) is None
    assert loss_charts(results) == []


def test_the_correction_is_for_as_many_comparisons_as_were_made(results: Json) -> None:
    """By a metric those with base; by a judge its family, as many as its own `p_adjusted` rests on."""
    k = len(TUNED)
    counts = {column.label: families.of_differences(results, column) for column in quality_columns(results)}
    known = [c for c in results["candidates"] if "value" in c["differences"].get("exact_match", {})]
    assert counts["perplexity"] == k
    assert counts["exact match"] == len(known) < k
    assert counts["reference win rate"] == k * (k + 1) // 2
    assert counts["local win rate"] == k + 1
    assert families.of_pairs(results) == k * (k + 1) // 2
    (chart,) = [
        c for c in forest_charts(results, build_board(results)) if c.title == "exact match, against base"
    ]
    assert f"Holm's correction for {len(known)} comparisons at once" in chart.caption
    assert any("failed" in reason for reason in chart.omitted)
    assert any("no answer ended within the limit" in reason for reason in chart.omitted)


@pytest.mark.parametrize("judge", ["reference", "local"])
def test_that_count_is_the_one_of_the_smallest_p_value(results: Json, judge: str) -> None:
    """Holm multiplies the smallest p-value of a family by its size."""
    (entry,) = [entry for entry in results["judges"] if entry["name"] == judge]
    (column,) = [c for c in quality_columns(results) if c.key == judge and c.kind == "win rate"]
    analysis = entry["analysis"]
    rows = analysis["rates"].values() if judge == "local" else [*analysis["pairs"], *analysis["differences"]]
    least = min(rows, key=lambda row: row["p_value"])
    assert least["p_adjusted"] == pytest.approx(least["p_value"] * families.of_differences(results, column))


def test_a_shade_is_of_the_size_of_the_difference(results: Json) -> None:
    """Beside base all candidates would be alike: the largest difference is one between candidates."""
    results = copy.deepcopy(results)
    pairs = [p for p in results["pairs"] if p["metric"] == "perplexity"]
    apart = [p for p in pairs if p["verdict"] in ("a", "b")]
    among = sorted((p for p in apart if "base" not in (p["a"], p["b"])), key=lambda p: abs(p["value"]))
    assert len(among) > 4
    for pair, value in zip(among[-5:], (0.5, 1.1, 2.1, 4.1, 8.0), strict=True):
        pair["value"] = math.copysign(value, pair["value"])
    for pair in among[:-5]:
        pair["value"] = math.copysign(0.1, pair["value"])
    chart = matrix_chart(results)
    assert chart is not None
    levels = [int(level) for level in re.findall(r"shade level-(\d)", chart.svg)]
    with_base = len(apart) - len(among)
    wanted = [len(pairs) - len(apart), len(among) - 4, 1, 1, 2 + with_base]
    assert [levels.count(level) for level in range(5)] == [2 * n for n in wanted]
    assert chart.svg.count(">▲<") == chart.svg.count(">▼<") == len(apart)
    assert chart.svg.count(">≈<") == levels.count(0)


def bars(panel: str, kind: str) -> list[tuple[float, float]]:
    """(start, top) of the bars of one side."""
    found = re.search(rf'<path d="([^"]*)" class="bars {kind}"', panel)
    steps = re.findall(r"M([\d.]+) [\d.]+V([\d.]+)", found.group(1)) if found else []
    return [(float(start), float(top)) for start, top in steps]


@pytest.mark.parametrize("metric", ["perplexity", "bleu"])
def test_better_is_right_of_zero_whichever_way_a_metric_goes(results: Json, metric: str) -> None:
    (group,) = [
        g
        for g in distribution_panels(results)
        if g.title.startswith({key: label for key, label, *_ in METRICS}[metric])
    ]
    checked = 0
    for panel in group.panels:
        found = results["candidates"][panel.index]["per_example"][metric]
        origin = re.search(r'<line x1="([\d.]+)"[^>]*class="origin"', panel.svg)
        assert origin
        better, worse = bars(panel.svg, "better"), bars(panel.svg, "worse")
        assert all(start >= float(origin.group(1)) for start, _ in better)
        assert all(start < float(origin.group(1)) for start, _ in worse)
        assert len(better) + len(worse) == sum(map(bool, [*found["counts"], found["below"], found["above"]]))
        told = f"{found['better']} better, {found['worse']} worse, {found['same']} same of {found['n']}"
        assert panel.caption.startswith(told)
        checked += bool(better) and bool(worse)
    assert checked


def test_the_ranking_metric_comes_first(results: Json) -> None:
    titles = [group.title for group in distribution_panels(results)]
    assert titles[0] == "perplexity, example by example"
    assert len(titles) == len(METRICS)


def test_losses_that_span_far_have_a_logarithmic_axis_and_other_seeds_a_ring(results: Json) -> None:
    assert "logarithmic" not in "".join(chart.svg for chart in loss_charts(results))
    training = results["candidates"][1]["training"]
    training["per_seed"].append(
        {**training["per_seed"][0], "seed": 1, "best_step": 200, "best_validation_loss": 0.1}
    )
    validation = loss_charts(results)[1]
    assert "logarithmic" in validation.svg
    assert validation.svg.count("hollow") == 1
    assert "Lines are the first seed's. A ring is another seed's best validation." in validation.caption


def test_lengths_that_start_at_nothing_have_a_linear_axis(results: Json) -> None:
    results["data"]["reference_lengths"]["quantiles"] = {
        "5": 0.0,
        "25": 2.0,
        "50": 9.0,
        "75": 90.0,
        "95": 9000.0,
    }
    chart = lengths_chart(results)
    assert chart is not None
    assert "logarithmic" not in chart.svg
    results["data"]["reference_lengths"]["quantiles"]["5"] = 1.0
    chart = lengths_chart(results)
    assert chart is not None
    assert "characters, logarithmic" in chart.svg


def coordinates(drawing: str, axis: str) -> Iterator[float]:
    for found in re.findall(rf'\b(?:{axis}|{axis}1|{axis}2|c{axis})="([^"]*)"', drawing):
        yield float(found)


@pytest.mark.parametrize("count", [1, 19])
def test_no_chart_leaves_its_frame(tmp_path: Path, count: int) -> None:
    tuned = [
        (f"a-candidate-with-a-rather-long-name-{i}", "lora", 1 + i / 20, 60.0 * 1.3**i) for i in range(count)
    ]
    results = json.loads((make_report_input(tmp_path, examples=24, tuned=tuned) / "results.json").read_text())
    tradeoff, matrix, lengths = tradeoff_chart(results), matrix_chart(results), lengths_chart(results)
    assert tradeoff is not None
    assert matrix is not None
    assert lengths is not None
    panels = [panel for group in distribution_panels(results) for panel in group.panels]
    board = build_board(results)
    charts = [tradeoff.chart, matrix, lengths, *loss_charts(results), *forest_charts(results, board), *panels]
    for chart in charts:
        size = re.search(r'viewBox="0 0 (\d+) (\d+)"', chart.svg)
        assert size
        for axis, most in zip("xy", map(float, size.groups()), strict=True):
            found = list(coordinates(chart.svg, axis))
            assert found
            assert all(-1 <= number <= most + 1 for number in found), chart.title


def test_the_page_without_judges_or_with_one_candidate_is_whole(tmp_path: Path) -> None:
    make_report_input(tmp_path, examples=8, tuned=TUNED[:1], judges=[])
    text = render(tmp_path).read_text()
    assert "Head to head: perplexity" in text
    assert "win rate, against" not in text


def test_an_svg_element_can_have_any_attribute() -> None:
    assert svg.tag("rect", name="a", content="b") == '<rect name="a" content="b"/>'
