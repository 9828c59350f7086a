"""The figures of a model card: what its head tells the Hub, and the table that people read.

Several seeds make one figure and several models, of which one is pushed: its own values stand beside.
What the board draws no conclusion from is left out, and the reason given: a card is read without the board.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import format as fmt
from harness.leaderboard.findings.judges import why_refused
from harness.report.board import Column, figure, metric_columns, quality_columns
from harness.report.text import markdown, one_line

Json = Mapping[str, Any]


def results_of(results: Json, candidate: Json, seed: int) -> Iterator[tuple[str, str, float]]:
    """(type, name, value) of every metric and win rate that there is and that the board believes."""
    for metric, column in _metrics(results):
        score = figure(candidate, column)
        if "missing" not in score:
            name = _named(metric["label"], score, metric["unit"], candidate, seed)
            yield one_line(metric["name"]), name, score["value"]
    for judge, column in _judges(results, candidate):
        rate = figure(candidate, column)
        if "missing" not in rate and not _why_left_out(judge, candidate):
            label = f"win rate against {column.against} by {judge['name']}"
            name = _named(label, rate, column.unit, candidate, seed)
            yield f"win_rate_{one_line(judge['name'])}", name, rate["value"]


def seeds_of(candidate: Json) -> str:
    """`seeds 0 and 1`; empty where there is but one."""
    seeds = candidate["seeds"]
    return f"seeds {fmt.listed([str(seed) for seed in seeds])}" if len(seeds) > 1 else ""


def results_table(results: Json, candidate: Json, seed: int) -> list[str]:
    """Each figure with its interval and beside base's, which is the first row of every board."""
    heads = ["metric", "value", "95% interval", "n", "base", "difference to base", "verdict"]
    if seeds_of(candidate):
        heads[1:4] = [f"over {len(candidate['seeds'])} seeds", "95% interval", "n", f"seed {seed} alone"]
    lines = ["| " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * (len(heads) - 2) + "---|")
    base = results["candidates"][0]
    rows = [_score_cells(metric, column, candidate, base, seed) for metric, column in _metrics(results)]
    left_out = []
    for judge, column in _judges(results, candidate):
        if why := _why_left_out(judge, candidate):
            left_out.append(f"The win rate by {markdown(judge['name'])} is left out: {markdown(why)}.")
        else:
            rows.append(_rate_cells(judge, column, candidate))
    lines += ["| " + " | ".join([*row, *[""] * (len(heads) - len(row))]) + " |" for row in rows]
    legend = "↑ higher is better, ↓ lower is better; *verdict*: after correction for multiple comparisons."
    told = [legend, *_told_of_seeds(candidate, seed), *left_out]
    return [*lines, *(line for text in told for line in ("", text))]


def _metrics(results: Json) -> Iterator[tuple[Json, Column]]:
    yield from zip(results["metrics"], metric_columns(results), strict=True)


def _judges(results: Json, candidate: Json) -> Iterator[tuple[Json, Column]]:
    """The judges to whom the candidate was not itself the opponent."""
    columns = {column.key: column for column in quality_columns(results) if column.kind == "win rate"}
    for judge in results["judges"]:
        column = columns[judge["name"]]
        if column.against != candidate["name"]:
            yield judge, column


def _why_left_out(judge: Json, candidate: Json) -> str:
    """Why the board draws no conclusion from a win rate; empty where it does."""
    if refused := why_refused(judge):
        return f"the judge is not believed ({refused})"
    rates = candidate["win_rates"].get(judge["name"]) or {}
    if rates.get("unread"):
        share = fmt.share(rates["unparsed"])
        return f"{share} of its verdicts here could not be read, and what is left is rarely a fair sample"
    return ""


def _told_of_seeds(candidate: Json, seed: int) -> Iterator[str]:
    if seeds := seeds_of(candidate):
        yield (
            f"The figures are over {seeds}: each example's statistics are averaged over the models of these "
            f"seeds and then scored. *Seed {seed} alone* is the value of the model that is here; intervals, "
            "differences and verdicts are of all together, and so are win rates."
        )


def _named(label: str, found: Json, unit: str, candidate: Json, seed: int) -> str:
    """A figure's name with what the Hub has no field for: its interval, and what it is over."""
    span = fmt.interval(found["value"], found.get("low"), found.get("high"), unit)
    size = f"n = {fmt.count(found['n'])}" if found.get("n") is not None else ""
    seeds, own = seeds_of(candidate), _own(found, unit, candidate, seed)
    parts = (
        one_line(label), f"95% {span}" if span else "", size, f"over {seeds}" if seeds else "",
        f"seed {seed} alone {own}" if own else "",
    )  # fmt: skip
    return ", ".join(filter(None, parts))


def _own(found: Json, unit: str, candidate: Json, seed: int) -> str:
    """What a metric is of one seed's model; empty where it is not known, or the only one."""
    by_seed = dict(zip(candidate["seeds"], found.get("per_seed") or (), strict=False))
    value = by_seed.get(seed) if len(by_seed) > 1 else None
    return "" if value is None else fmt.score(value, unit, found.get("low"), found.get("high"))


def _score_cells(metric: Json, column: Column, candidate: Json, base: Json, seed: int) -> list[str]:
    unit = metric["unit"]
    name = f"{markdown(metric['label'])}{f' ({markdown(unit)})' if unit not in ('', '%') else ''}"
    name += f" {column.arrow}"
    score, of_base = figure(candidate, column), figure(base, column)
    if "missing" in score:
        return [name, f"missing: {markdown(score['missing'])}"]
    value, ends = score["value"], (score.get("low"), score.get("high"))
    theirs = fmt.NONE
    if "missing" not in of_base:
        theirs = fmt.score(of_base["value"], unit, of_base.get("low"), of_base.get("high"))
    compared = candidate["differences"].get(metric["name"]) or {}
    told = markdown(score["incomparable"]) if "incomparable" in score else _verdict(compared)
    own = [_own(score, unit, candidate, seed) or fmt.NONE] if seeds_of(candidate) else []
    return [
        name, fmt.score(value, unit, *ends), fmt.interval(value, *ends, unit), fmt.count(score["n"]), *own,
        theirs, _difference(compared, unit), told,
    ]  # fmt: skip


def _difference(compared: Json, unit: str) -> str:
    if compared.get("value") is None:
        return fmt.NONE
    ends = compared.get("low"), compared.get("high")
    span = fmt.difference_interval(compared["value"], *ends, unit)
    return fmt.difference(compared["value"], unit, *ends) + (f" [{span}]" if span else "")


def _verdict(compared: Json) -> str:
    told = markdown(compared.get("verdict") or ""), fmt.p_value(compared.get("p_adjusted"))
    return ", ".join(filter(None, told)) or fmt.NONE


def _rate_cells(judge: Json, column: Column, candidate: Json) -> list[str]:
    name = f"win rate by {markdown(judge['name'])}, against {markdown(column.against)} ↑"
    rate = figure(candidate, column)
    if "missing" in rate:
        return [name, f"missing: {markdown(rate['missing'])}"]
    own = [fmt.NONE] if seeds_of(candidate) else []
    return [
        name, fmt.share(rate["value"]), fmt.interval(rate["value"], rate.get("low"), rate.get("high"), "%"),
        fmt.count(rate.get("n")), *own, fmt.NONE, fmt.NONE, _verdict(candidate["win_rates"][judge["name"]]),
    ]  # fmt: skip
