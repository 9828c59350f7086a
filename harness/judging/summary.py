"""The analysis of verdicts for people: one list of blocks, drawn in the terminal and as Markdown.

Names come out of files of strangers: everything shown passes through `harness.report.text`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import format as fmt
from harness.errors import InputError
from harness.judging.findings import findings, interval, led_by, ranked
from harness.judging.pairs import FIELD, NO_DIFFERENCE
from harness.records import write_json
from harness.report.text import ellipsis, markdown, one_line

if TYPE_CHECKING:
    from rich.console import RenderableType

Json = Mapping[str, Any]
RULES = {
    "average": "average",
    "tie_on_disagreement": "tie on disagreement",
    "consistent_only": "consistent only",
}
SIGNS = {"a": ">", "b": "<", NO_DIFFERENCE: "="}
_NAME_LIMIT = 20
_MOST_PAIRS = 60
"""Pairs that the terminal shows; the files have them all."""


@dataclass(frozen=True)
class Table:
    """Figures with a title, notes below, and the number of rows that a terminal shows (None: all)."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    most: int | None = None


@dataclass(frozen=True)
class Heading:
    """A judge, or what all judges have in common; `facts` is a line below."""

    text: str
    facts: str = ""


@dataclass(frozen=True)
class Sentences:
    """What the figures say."""

    items: Sequence[str]


Block = Table | Heading | Sentences


def show(report: Json, *, as_json: bool) -> None:
    """Print the report, as JSON or as tables for the terminal's width."""
    from rich.console import Console

    if as_json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        Console(highlight=False).print(for_terminal(blocks(report)))


def write(report: Json, folder: Path) -> None:
    """Write analysis.json and summary.md into a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "analysis.json", report)
        (folder / "summary.md").write_text(as_markdown(blocks(report)), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(folder)) from error


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


def as_markdown(shown: Sequence[Block]) -> str:
    """GitHub Markdown."""
    parts = ["# Verdicts"]
    for block in shown:
        if isinstance(block, Heading):
            parts.append(f"## {markdown(block.text)}")
            parts += [markdown(block.facts)] if block.facts else []
        elif isinstance(block, Sentences):
            parts.append("\n".join(f"- {markdown(item)}" for item in block.items))
        else:
            rows = [block.head, ["---"] + ["---:"] * (len(block.head) - 1)]
            lines = [[markdown(cell) for cell in rows[0]], rows[1]]
            lines += [[markdown(cell) for cell in row] for row in block.rows]
            parts.append(f"### {markdown(block.title)}")
            parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
            parts += [markdown(block.note)] if block.note else []
    return "\n\n".join(parts) + "\n"


def for_terminal(shown: Sequence[Block]) -> RenderableType:
    """A rich renderable; names and messages are Text, never rich markup."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for block in shown:
        if isinstance(block, Heading):
            parts.append(Text("\n" + one_line(block.text), "bold"))
            parts += [Text(one_line(block.facts), "dim")] if block.facts else []
        elif isinstance(block, Sentences):
            parts += [Text(), *map(_item, block.items)]
        else:
            parts += _drawn(block)
    return Group(*parts)


def _drawn(block: Table) -> Iterator[RenderableType]:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    grid.add_column(Text(block.head[0]), no_wrap=True)
    for head in block.head[1:]:
        grid.add_column(Text(head), justify="right", overflow="fold")
    for row in block.rows[: block.most]:
        grid.add_row(*(Text(ellipsis(one_line(cell), 2 * _NAME_LIMIT + 3)) for cell in row))
    yield Text("\n" + one_line(block.title))
    yield grid
    left = 0 if block.most is None else len(block.rows) - block.most
    note = f"{block.note}; {left:,} more in the files of --output" if left > 0 else block.note
    if note:
        yield Text(one_line(note), "dim")


def _item(sentence: str) -> RenderableType:
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text("•"), Text(one_line(sentence)))
    return grid


def _of_judge(name: str, analysis: Json) -> Iterator[Block]:
    opponent = "the field" if analysis["against"] == FIELD else _short(analysis["against"])
    facts = (
        f"{fmt.count(analysis['judgments'])} verdicts on {fmt.count(analysis['prompts'])} prompts, "
        f"{fmt.count(len(analysis['players']))} players, {fmt.share(analysis['unparsed'])} unparsed"
    )
    yield Heading(f"Judge {name}", facts)
    yield Sentences(findings(analysis))
    if analysis["abilities"]:
        yield _ratings(analysis["abilities"])
    yield _rates(analysis, opponent)
    yield _diagnostics(analysis)
    if analysis["against"] == FIELD:
        yield _pairs(analysis["pairs"])
    elif analysis["differences"]:
        yield _differences(analysis["differences"], opponent)
    if "elo" in analysis:
        yield _elo(analysis["elo"])


def _ratings(abilities: Sequence[Json]) -> Table:
    rows = [
        [
            fmt.ranks(row["rank"]),
            _short(row["player"]),
            fmt.fixed(row["rating"], 0),
            f"{fmt.fixed(row['low'], 0)} – {fmt.fixed(row['high'], 0)}",
            row["group"],
        ]
        for row in abilities
    ]
    note = (
        "points of Bradley-Terry, mean 1,000, 400 are odds of ten to one; ranks and groups by the corrected "
        "tests of the pairs: who shares a letter cannot be told apart"
    )
    return Table("Ratings", ["rank", "player", "rating", "95% interval", "group"], rows, note)


def _rates(analysis: Json, opponent: str) -> Table:
    head = ["player", *RULES.values(), "p", "verdict"]
    rows = []
    for name in _all_rated(analysis):
        rate = analysis["rates"][name]
        rules = [_rule(rate["rules"][rule]) for rule in RULES]
        p_value = _p(rate["p_adjusted"])
        rows.append(
            [_short(name), *rules, p_value, "=" if rate["verdict"] == NO_DIFFERENCE else rate["verdict"]]
        )
    note = "95% intervals over prompts, their number in brackets; p after Holm's; = cannot be told apart"
    return Table(f"Win rates against {opponent}", head, rows, note)


def _all_rated(analysis: Json) -> list[str]:
    names = ranked(analysis)
    return names + [name for name in analysis["rates"] if name not in names]


def _rule(rule: Json) -> str:
    if rule["value"] is None:
        return "–"
    margin = fmt.margin(rule["value"], rule["low"], rule["high"], "%")
    return f"{fmt.share(rule['value'])} {margin} ({fmt.count(rule['n'])})"


def _diagnostics(analysis: Json) -> Table:
    head = ["player", "pairs", "alike", "ties", "to 1st", "to 2nd", "win/tie", "kappa", "unparsed 1st, 2nd"]
    rows = [["all", *_swaps(analysis["swaps"]), fmt.share(analysis["unparsed"])]]
    for name in _all_rated(analysis):
        rate = analysis["rates"][name]
        sides = ", ".join(fmt.share(rate[f"unparsed_{side}_first"]) for side in ("a", "b"))
        rows.append([_short(name), *_swaps(rate), sides])
    note = (
        "pairs judged in both orders: alike (ties among them), flipped to what stood 1st or 2nd, win in one "
        "order and tie in the other; unparsed where the player stood 1st and 2nd"
    )
    return Table("Order swaps", head, rows, note)


def _swaps(row: Json) -> list[str]:
    shares = ("consistency", "consistent_ties", "flips_to_first", "flips_to_second", "win_tie")
    kappa = "–" if row["kappa"] is None else fmt.fixed(row["kappa"], 2)
    return [
        fmt.count(row["pairs"]),
        *("–" if row[key] is None else fmt.share(row[key]) for key in shares),
        kappa,
    ]


def _pairs(pairs: Sequence[Json]) -> Table:
    led = sorted(map(led_by, pairs), key=lambda pair: -(pair["rules"]["average"]["value"] or 0))
    rows = [
        [
            f"{_short(pair['a'])} {SIGNS[pair['verdict']]} {_short(pair['b'])}",
            *(_rule(pair["rules"][rule]) for rule in RULES),
            _p(pair["p_adjusted"]),
        ]
        for pair in led
    ]
    note = "wins of the first named; > better, = cannot be told apart; p after Holm's correction"
    return Table("Pairs", ["pair", *RULES.values(), "p"], rows, note, most=_MOST_PAIRS)


def _differences(rows: Sequence[Json], opponent: str) -> Table:
    cells = [
        [
            f"{_short(row['a'])} {SIGNS[row['verdict']]} {_short(row['b'])}",
            fmt.difference(row["value"], "%"),
            ""
            if row["value"] is None
            else fmt.difference_interval(row["value"], row["low"], row["high"], "%"),
            fmt.count(row["n"]),
            _p(row["p_adjusted"]),
        ]
        for row in rows
    ]
    title = f"Differences between win rates against {opponent}"
    note = "paired by prompt; p after Holm's correction"
    return Table(title, ["pair", "difference", "95% interval", "n", "p"], cells, note, most=_MOST_PAIRS)


def _agreement(agreement: Json) -> Table:
    rows = [
        [
            f"{_short(row['a'])}, {_short(row['b'])}",
            fmt.count(row["n"]),
            "–" if row["same"] is None else fmt.share(row["same"]),
            interval({"value": row["kappa"], "low": row["low"], "high": row["high"]}, ""),
        ]
        for row in agreement["pairs"]
    ]
    for key, label in (("krippendorff", "all, Krippendorff's alpha"), ("fleiss", "all, Fleiss' kappa")):
        if agreement[key]:
            rows.append([label, fmt.count(agreement[key]["n"]), "", interval(agreement[key], "")])
    note = "units are a prompt with two players, both orders averaged: win, tie or loss"
    return Table("Two judges, all judges", ["judges", "n", "same", "beyond chance"], rows, note)


def _elo(elo: Json) -> Table:
    fitted = elo["bradley_terry"] or {}
    rows = [
        [_short(name), fmt.fixed(points, 0), fmt.fixed(fitted[name], 1) if name in fitted else "–"]
        for name, points in sorted(elo["ratings"].items(), key=lambda item: -item[1])
    ]
    note = (
        f"K = {elo['k']:g}, start {elo['start']:g}, mean over {fmt.count(elo['orders'])} random orders; for "
        "comparison with what others published"
    )
    return Table("Elo", ["player", "Elo", "Bradley-Terry by maximum likelihood"], rows, note)


def _p(value: float | None) -> str:
    """A p-value in a column that is headed p."""
    return fmt.p_value(value).removeprefix("p ").removeprefix("= ")


def _short(name: str) -> str:
    return ellipsis(one_line(name), _NAME_LIMIT)
