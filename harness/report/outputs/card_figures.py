"""The figures of a model card: what its head tells the Hub, and the table that people read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.report.board import RULE
from harness.report.text import markdown, one_line

Json = Mapping[str, Any]


def figures(results: Json, candidate: Json) -> Iterator[tuple[str, str, float]]:
    """(type, name, value) of every metric and win rate that there is."""
    for metric in results["metrics"]:
        score = candidate["scores"].get(metric["name"]) or {}
        if score.get("value") is not None:
            yield one_line(metric["name"]), _named(metric["label"], score, metric["unit"]), score["value"]
    for judge, rates in candidate["win_rates"].items():
        rate = (rates.get("rules") or {}).get(RULE) or {}
        if rate.get("value") is not None:
            against = rates.get("against", "base")
            name = _named(f"win rate against {against} by {judge}", rate, "%")
            yield f"win_rate_{one_line(judge)}", name, rate["value"]


def _named(label: str, figure: Json, unit: str) -> str:
    """A figure's name with what the Hub has no field for: its interval and how many examples it is over."""
    span = fmt.interval(figure["value"], figure.get("low"), figure.get("high"), unit)
    size = f"n = {fmt.count(figure['n'])}" if figure.get("n") is not None else ""
    return ", ".join(filter(None, (one_line(label), f"95% {span}" if span else "", size)))


def results_table(results: Json, candidate: Json) -> list[str]:
    """Each figure with its interval and beside base's, which is the first row of every board."""
    scores_of_base = results["candidates"][0]["scores"]
    lines = ["| metric | value | 95% interval | n | base | difference to base | verdict |"]
    lines.append("|---|---:|---:|---:|---:|---:|---|")
    for metric in results["metrics"]:
        score = candidate["scores"].get(metric["name"]) or {}
        compared = candidate["differences"].get(metric["name"]) or {}
        cells = _score_cells(metric, score, scores_of_base.get(metric["name"]) or {}, compared)
        lines.append("| " + " | ".join(cells) + " |")
    for judge, rates in candidate["win_rates"].items():
        rate = (rates.get("rules") or {}).get(RULE)
        if rate and rate.get("value") is not None:
            lines.append("| " + " | ".join(_rate_cells(judge, rates, rate)) + " |")
    return [
        *lines,
        "",
        "↑ higher is better, ↓ lower is better; *verdict*: after correction for multiple comparisons.",
    ]


def _score_cells(metric: Json, score: Json, base: Json, compared: Json) -> list[str]:
    unit, arrow = metric["unit"], "↑" if metric["higher_is_better"] else "↓"
    name = f"{markdown(metric['label'])}{f' ({markdown(unit)})' if unit not in ('', '%') else ''} {arrow}"
    if score.get("value") is None:
        return [name, f"missing: {markdown(score.get('missing') or 'not measured')}", "", "", "", "", ""]
    value, ends = score["value"], (score.get("low"), score.get("high"))
    theirs = "–"
    if base.get("value") is not None:
        theirs = fmt.score(base["value"], unit, base.get("low"), base.get("high"))
    return [
        name, fmt.score(value, unit, *ends), fmt.interval(value, *ends, unit), fmt.count(score["n"]),
        theirs, _difference(compared, unit), _verdict(compared),
    ]  # fmt: skip


def _difference(compared: Json, unit: str) -> str:
    if compared.get("value") is None:
        return "–"
    ends = compared.get("low"), compared.get("high")
    span = fmt.difference_interval(compared["value"], *ends, unit)
    return fmt.difference(compared["value"], unit, *ends) + (f" [{span}]" if span else "")


def _verdict(compared: Json) -> str:
    told = markdown(compared.get("verdict") or ""), fmt.p_value(compared.get("p_adjusted"))
    return ", ".join(filter(None, told)) or "–"


def _rate_cells(judge: str, rates: Json, rate: Json) -> list[str]:
    against = markdown(str(rates.get("against", "base")))
    return [
        f"win rate by {markdown(judge)}, against {against} ↑", fmt.share(rate["value"]),
        fmt.interval(rate["value"], rate.get("low"), rate.get("high"), "%"), fmt.count(rate.get("n")),
        "–", "–", _verdict(rates),
    ]  # fmt: skip
