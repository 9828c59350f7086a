"""What is shown of an analysis, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.judging.findings import findings
from harness.judging.leading import led_by, opponent_of, ranked
from harness.records import ALL
from harness.report.drawing import Block, Heading, Sentences, Table
from harness.stats.multiplicity import NO_DIFFERENCE
from harness.stats.pairwise import RULES

Json = Mapping[str, Any]
RULE_HEADS = [rule.replace("_", " ") for rule in RULES]
SIGNS = {"a": ">", "b": "<", NO_DIFFERENCE: "="}
_MOST_PAIRS = 60
"""Pairs that the terminal shows; the files have them all."""


def blocks(report: Json) -> list[Block]:
    """The blocks of {"judges": {name: analysis}, "agreement", "notes"}."""
    found: list[Block] = []
    for name, analysis in report["judges"].items():
        found += _of_judge(name, analysis)
    if report["agreement"]["pairs"]:
        found += [Heading("Agreement between judges"), _agreement(report["agreement"])]
    if report["notes"]:
        found.append(Sentences(report["notes"]))
    return found


def _of_judge(name: str, analysis: Json) -> Iterator[Block]:
    opponent = opponent_of(analysis["against"])
    # Where the order means nothing, a file has each verdict for both orders: it is one.
    verdicts = analysis["swaps"]["pairs"] if analysis["symmetric"] else analysis["judgments"]
    facts = (
        f"{fmt.counted(verdicts, 'verdict')} on {fmt.counted(analysis['prompts'], 'prompt')}, "
        f"{fmt.counted(len(analysis['players']), 'player')}, {fmt.share(analysis['unparsed'])} unparsed"
    )
    yield Heading(f"Judge {name}", facts)
    yield Sentences(findings(name, analysis))
    if analysis["abilities"]:
        yield _ratings(analysis["abilities"])
    yield _rates(analysis, opponent)
    yield _diagnostics(analysis)
    if analysis["length_controlled"]:
        yield _length_adjusted(analysis)
    if analysis["against"] == ALL:
        yield _pairs(analysis["pairs"])
    elif analysis["differences"]:
        yield _differences(analysis["differences"], opponent)
    if "elo" in analysis:
        yield _elo(analysis["elo"])


def _ratings(abilities: Sequence[Json]) -> Table:
    rows = [
        [
            fmt.ranks(row["rank"]),
            row["player"],
            fmt.fixed(row["rating"], 0),
            fmt.points(row["low"], row["high"]),
            row["group"],
        ]
        for row in abilities
    ]
    note = (
        "points of Bradley-Terry, mean 1,000, 400 are odds of ten to one; ranks and groups by the corrected "
        "tests of the pairs: who shares a letter cannot be told apart"
    )
    return Table("Ratings", ["rank", "player", "rating", "95% interval", "group"], rows, note, (0, 1))


def _rates(analysis: Json, opponent: str) -> Table:
    head = ["player", *RULE_HEADS, "p", "verdict"]
    rows = []
    for name in _all_rated(analysis):
        rate = analysis["rates"][name]
        rules = [_rule(rate["rules"][rule]) for rule in RULES]
        p_value = fmt.p_figure(rate["p_adjusted"])
        rows.append([name, *rules, p_value, "=" if rate["verdict"] == NO_DIFFERENCE else rate["verdict"]])
    note = "95% intervals over prompts, their number in brackets; p after Holm's; = cannot be told apart"
    return Table(f"Win rates against {opponent}", head, rows, note)


def _all_rated(analysis: Json) -> list[str]:
    names = ranked(analysis)
    return names + [name for name in analysis["rates"] if name not in names]


def _rule(rule: Json) -> str:
    if rule["value"] is None:
        return fmt.NONE
    margin = fmt.margin(rule["value"], rule["low"], rule["high"], "%")
    return f"{fmt.share(rule['value'])} {margin} ({fmt.count(rule['n'])})"


def _diagnostics(analysis: Json) -> Table:
    head = ["player", "pairs", "alike", "ties", "to 1st", "to 2nd", "win/tie", "kappa", "unparsed 1st, 2nd"]
    rows = [["all", *_swaps(analysis["swaps"]), fmt.share(analysis["unparsed"])]]
    for name in _all_rated(analysis):
        rate = analysis["rates"][name]
        sides = ", ".join(fmt.share(rate[f"unparsed_{side}_first"]) for side in ("a", "b"))
        rows.append([name, *_swaps(rate), sides])
    note = (
        "pairs judged in both orders: alike (ties among them), flipped to what stood 1st or 2nd, win in one "
        "order and tie in the other; unparsed where the player stood 1st and 2nd"
    )
    return Table("Order swaps", head, rows, note)


def _swaps(row: Json) -> list[str]:
    shares = ("consistency", "consistent_ties", "flips_to_first", "flips_to_second", "win_tie")
    return [
        fmt.count(row["pairs"]),
        *(fmt.known(fmt.share, row[key]) for key in shares),
        fmt.known(fmt.two, row["kappa"]),
    ]


def _length_adjusted(analysis: Json) -> Table:
    rows = [
        [
            name,
            fmt.with_interval(analysis["rates"][name]["rules"]["average"], "%"),
            fmt.with_interval(estimate, "%"),
        ]
        for name in _all_rated(analysis)
        if (estimate := analysis["length_controlled"].get(name)) is not None
    ]
    note = "what the win rate would be if both answers were equally long, by a regression; not AlpacaEval's"
    return Table("Length-adjusted win rates", ["player", "win rate", "length-adjusted"], rows, note)


def _pairs(pairs: Sequence[Json]) -> Table:
    led = sorted(map(led_by, pairs), key=lambda pair: -(pair["rules"]["average"]["value"] or 0))
    rows = [
        [
            *(pair["a"], SIGNS[pair["verdict"]], pair["b"]),
            *(_rule(pair["rules"][rule]) for rule in RULES),
            fmt.p_figure(pair["p_adjusted"]),
        ]
        for pair in led
    ]
    note = "wins of the first named; > better, = cannot be told apart; p after Holm's correction"
    return Table("Pairs", ["player", "", "opponent", *RULE_HEADS, "p"], rows, note, (0, 1, 2), _MOST_PAIRS)


def _differences(rows: Sequence[Json], opponent: str) -> Table:
    cells = [
        [
            *(row["a"], SIGNS[row["verdict"]], row["b"]),
            fmt.difference(row["value"], "%"),
            ""
            if row["value"] is None
            else fmt.difference_interval(row["value"], row["low"], row["high"], "%"),
            fmt.count(row["n"]),
            fmt.p_figure(row["p_adjusted"]),
        ]
        for row in rows
    ]
    title = f"Differences between win rates against {opponent}"
    note = "paired by prompt; p after Holm's correction"
    return Table(
        title,
        ["player", "", "other", "difference", "95% interval", "n", "p"],
        cells,
        note,
        (0, 1, 2),
        _MOST_PAIRS,
    )


def _agreement(agreement: Json) -> Table:
    rows = [
        [
            row["a"],
            row["b"],
            fmt.count(row["n"]),
            fmt.known(fmt.share, row["same"]),
            fmt.kappa(row["kappa"], row["low"], row["high"]),
        ]
        for row in agreement["pairs"]
    ]
    for key, label in (("krippendorff", "Krippendorff's alpha"), ("fleiss", "Fleiss' kappa")):
        if agreement[key]:
            beyond = fmt.kappa(*(agreement[key][end] for end in ("value", "low", "high")))
            rows.append(["all", label, fmt.count(agreement[key]["n"]), "", beyond])
    note = "units are a prompt with two players, both orders averaged: win, tie or loss"
    return Table(
        "Two judges, all judges", ["judge", "judge", "n", "same", "beyond chance"], rows, note, (0, 1)
    )


def _elo(elo: Json) -> Table:
    fitted = elo["bradley_terry"] or {}
    rows = [
        [name, fmt.fixed(points, 0), fmt.fixed(fitted[name], 1) if name in fitted else fmt.NONE]
        for name, points in sorted(elo["ratings"].items(), key=lambda item: -item[1])
    ]
    note = (
        f"K = {elo['k']:g}, start {elo['start']:g}, mean over {fmt.count(elo['orders'])} random orders; for "
        "comparison with what others published"
    )
    return Table("Elo", ["player", "Elo", "Bradley-Terry by maximum likelihood"], rows, note)
