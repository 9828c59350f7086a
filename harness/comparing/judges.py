"""One judge on both sides: how the win rate against the same opponent differs, NEW minus OLD, by prompt.

The verdicts of both runs become one table in which the candidate before and after are two players; what the
board makes of two candidates against one opponent is then made of these two.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.comparing import changes
from harness.comparing.examples import differing_answers
from harness.comparing.metrics import SAME, Sides, why_no_examples, why_none, why_unlike
from harness.comparing.runs import Pair, Run
from harness.judging import panels
from harness.judging.duels import Duels, lay_out
from harness.judging.pairs import difference, settle, shared
from harness.judging.panels import Worths
from harness.judging.table import UNPARSED_LIMIT
from harness.leaderboard.findings.judges import why_refused
from harness.leaderboard.verdict_lines import table
from harness.leaderboard.win_rates import win_rates
from harness.records import ALL
from harness.report.verdict_checks import read_lines
from harness.stats.multiplicity import NO_DIFFERENCE

Json = dict[str, Any]
Lines = Mapping[str, Mapping[str, Sequence[Json]]]
"""Judge -> player -> the lines in which it has a part, controls left out."""
_SIDES = ("OLD", "NEW")


@dataclass(frozen=True)
class Contests:
    """The candidate before and after against the same opponents, of one judge; `ids` are the prompts."""

    old: Duels
    new: Duels
    ids: tuple[str, ...]
    opponents: tuple[str, ...]


def figures(sides: Sides) -> list[Json]:
    """Every judge of either run, NEW's first, with a row for each pair of candidates."""
    names = dict.fromkeys((*sides.new.judges, *sides.old.judges))
    shared_names = [name for name in names if name in sides.new.judges and name in sides.old.judges]
    lines = {run.side: _lines(run, shared_names) for run in (sides.old, sides.new)}
    return [_figure(name, sides, lines) for name in names]


def _lines(run: Run, names: Iterable[str]) -> Lines | None:
    """None where there is no file of verdicts."""
    if not run.verdicts_file.is_file():
        return None
    read = read_lines(run.results_file.parent, run.results, ())
    found: dict[str, dict[str, list[Json]]] = {name: {} for name in names}
    for name in names:
        for line in read[name]:
            if not line["control"]:
                for player in {line["first"], line["second"]}:
                    found[name].setdefault(player, []).append(line)
    return found


def _figure(name: str, sides: Sides, lines: Mapping[str, Lines | None]) -> Json:
    judge = sides.new.judges.get(name) or sides.old.judges[name]
    figure: Json = {
        "name": name,
        "kind": "judge",
        "against": judge["against"],
        "label": name,
        "unit": "%",
        "higher_is_better": True,
        "signature": judge["signature"],
        "absent": next((r.side for r in (sides.old, sides.new) if name not in r.judges), None),
        "missing": _why_incomparable(name, sides, lines),
        "gone": [row["name"] for row in sides.gone if "rules" in (row["win_rates"].get(name) or {})],
        "rows": [],
    }
    if figure["missing"] is None:
        figure["rows"] = _rows(name, sides, lines)
    return figure


def _why_incomparable(name: str, sides: Sides, lines: Mapping[str, Lines | None]) -> str | None:
    alike = {"signature": "it judges otherwise", "against": "its opponent differs"}
    if reason := why_unlike(name, sides.old.judges, sides.new.judges, alike):
        return reason
    for side in _SIDES:
        if lines[side] is None:
            return f"{side} has no verdicts.jsonl beside its results.json"
    return why_no_examples(sides)


def _rows(name: str, sides: Sides, lines: Mapping[str, Lines | None]) -> list[Json]:
    judge = sides.new.judges[name]
    refused = {r.side: why_refused(r.judges[name]) for r in (sides.old, sides.new)}
    found: dict[Pair, Json] = {}
    contests: dict[Pair, Contests] = {}
    pairs = [pair for pair in sides.pairs if {pair.old, pair.new} != {judge["against"]}]
    for pair in pairs:
        side, reason = _why_missing(name, pair, sides)
        reason = reason or _why_not_the_boards(name, pair, sides, lines)
        made = None if reason else _contests(name, pair, sides, lines)
        if made is None:
            nothing = "no common prompt has verdicts on both sides, against the same opponent"
            found[pair] = {"missing": reason or nothing, "absent": side}
        else:
            contests[pair] = made
    same = {pair for pair, contest in contests.items() if _is_unchanged(contest)}
    for pair, contest in contests.items():
        found[pair] = difference(contest.new, contest.old, len(contests) - len(same), 0)
    # Of nothing in common there is nothing to correct for, nor where no test can reject (Tarone 1990).
    known = [pair for pair in contests if found[pair]["n"]]
    settle([found[pair] for pair in known if pair not in same], refused=False)
    settle([found[pair] for pair in known if pair in same], refused=False)
    for pair, contest in contests.items():
        found[pair] = _row(found[pair], contest, refused, sides)
        if "value" in found[pair]:
            found[pair]["unchanged"] = pair in same
            found[pair]["boards"] = {
                run.side.lower(): _on_board(run.judges[name], pair.of(run)) for run in (sides.old, sides.new)
            }
    return [pair.row(found[pair]) for pair in pairs]


def _on_board(judge: Json, name: str) -> float | None:
    """The win rate on a run's board, over all opponents and prompts that the candidate met there."""
    rate = ((judge["analysis"] or {}).get("rates") or {}).get(name)
    value: float | None = rate["rules"]["average"]["value"] if rate else None
    return value


def _is_unchanged(contest: Contests) -> bool:
    """Whether every prompt that both sides have is worth the same, by every seed."""
    old, new = shared(panels.average(contest.old), panels.average(contest.new))
    return np.array_equal(old.by_seed, new.by_seed, equal_nan=True)


def _why_missing(name: str, pair: Pair, sides: Sides) -> tuple[str | None, str | None]:
    """The side that lacks a win rate and why; the opponent itself has none and needs none."""
    for run in (sides.old, sides.new):
        mine, judge = pair.of(run), run.judges[name]
        if mine == judge["against"]:
            continue
        rate = win_rates(judge).get(mine)
        if rate is None and judge["against"] == ALL and mine in (judge["analysis"] or {}).get("rates", {}):
            continue
        if rate is None or "missing" in rate:
            reason = rate["missing"] if rate else why_none(run.candidates[mine], "not judged")
            return run.side, f"{run.side} has none for {mine}: {reason}"
    return None, None


def _why_not_the_boards(name: str, pair: Pair, sides: Sides, lines: Mapping[str, Lines | None]) -> str | None:
    """What a side's verdicts make of its candidate where its board says otherwise: they are another run's."""
    for run in (sides.old, sides.new):
        mine, judge = pair.of(run), run.judges[name]
        if mine == judge["against"]:
            continue
        rate = _rate(judge, mine, (lines[run.side] or {})[name].get(mine, ()))
        for told in (run.candidates[mine]["win_rates"].get(name), judge["analysis"]["rates"].get(mine)):
            board = told["rules"]["average"]["value"] if told and "rules" in told else rate
            if not math.isclose(rate, math.nan if board is None else board, rel_tol=SAME, abs_tol=SAME**2):
                return (
                    f"{run.side}'s verdicts.jsonl makes {_percent(rate)} of {mine}, whose board says "
                    f"{_percent(board)}"
                )
    return None


def _rate(judge: Json, name: str, lines: Iterable[Json]) -> float:
    """The win rate that verdicts make of a candidate, as the board has it; NaN where they make none."""
    mine = [line for line in lines if judge["against"] in (ALL, _opponent(line, name))]
    if not mine:
        return math.nan
    verdicts = table(mine, symmetric=judge["symmetric"])
    return panels.average(lay_out(verdicts).of(verdicts.players.index(name))).value


def _percent(share: float | None) -> str:
    return "nothing" if share is None or math.isnan(share) else f"{100 * share:.6g}%"


def _contests(name: str, pair: Pair, sides: Sides, lines: Mapping[str, Lines | None]) -> Contests | None:
    """Both sides' verdicts on the common examples, against the opponents that both met; None without any."""
    judge, common = sides.new.judges[name], frozenset(sides.common.ids)
    mine = {
        run.side: [
            line
            for line in (lines[run.side] or {})[name].get(pair.of(run), ())
            if line["example_id"] in common
        ]
        for run in (sides.old, sides.new)
    }
    met = [
        {_opponent(line, pair.of(run)) for line in mine[run.side]}
        if pair.of(run) != judge["against"]
        else {judge["against"]}
        for run in (sides.old, sides.new)
    ]
    opponents = sorted(met[0] & met[1]) if judge["against"] == ALL else [judge["against"]]
    renamed: list[Json] = []
    for run, other in ((sides.old, "NEW"), (sides.new, "OLD")):
        if pair.of(run) == judge["against"]:
            renamed += _with_itself(mine[other], run.side, judge["against"])
        else:
            renamed += _renamed(mine[run.side], pair.of(run), run.side, opponents)
    if {line["me"] for line in renamed} != set(_SIDES):
        return None
    verdicts = table(renamed, _SIDES, symmetric=judge["symmetric"])
    duels = lay_out(verdicts)
    old, new = (duels.of(verdicts.players.index(side)) for side in _SIDES)
    return Contests(old, new, verdicts.examples, tuple(opponents))


def _opponent(line: Json, name: str) -> str:
    return str(line["second"] if line["first"] == name else line["first"])


def _renamed(lines: Iterable[Json], name: str, side: str, opponents: Sequence[str]) -> Iterator[Json]:
    """The lines against these opponents; the candidate is called by its side, opponents by no such name."""
    for line in lines:
        opponent = _opponent(line, name)
        if opponent in opponents:
            mine = "first" if line["first"] == name else "second"
            theirs = "second" if mine == "first" else "first"
            yield {**line, mine: side, theirs: f"{opponent}:", "me": side}


def _with_itself(lines: Iterable[Json], side: str, opponent: str) -> Iterator[Json]:
    """The opponent against itself where the other side was judged: identical answers, which are ties."""
    for line in {line["example_id"]: line for line in lines}.values():
        settled = {"choice": "tie", "preference": None, "fault": "", "settled": True, "seed": 0, "me": side}
        for first, second in ((side, f"{opponent}:"), (f"{opponent}:", side)):
            yield {**line, **settled, "first": first, "second": second}


def _row(row: Json, contest: Contests, refused: Mapping[str, str | None], sides: Sides) -> Json:
    if not row["n"]:
        return {"missing": "no common prompt has a readable verdict in both runs", "absent": None}
    old, new = panels.average(contest.old), panels.average(contest.new)
    before, after = shared(old, new)
    reason = next((f"{side}: {told}" for side, told in refused.items() if told), None)
    if reason is None and row["most_unparsed"] > UNPARSED_LIMIT:
        reason = f"{row['most_unparsed']:.0%} of the verdicts on one side could not be read"
    verdict = {"a": "better", "b": "worse"}.get(row["verdict"], NO_DIFFERENCE)
    keys = (
        "value",
        "p_value",
        "p_adjusted",
        "n",
        "smallest_effect",
        "more_prompts",
        "withheld",
        "low",
        "high",
    )
    return {
        "old": before.value,
        "new": after.value,
        **{key: row[key] for key in keys},
        "verdict": verdict if reason is None else NO_DIFFERENCE,
        **({"withheld": "unread"} if reason else {}),
        "unread": reason,
        "seeds": {"old": len(before.trials), "new": len(after.trials)},
        "opponents": list(contest.opponents),
        "opponents_changed": _changed_opponents(contest.opponents, sides),
        "examples": _changed(contest.ids, old, new),
    }


def _changed_opponents(opponents: Sequence[str], sides: Sides) -> Json:
    """Opponent -> how many of its answers differ between the runs; only those of which any does."""
    known = [n for n in opponents if n in sides.old_rows.answers and n in sides.new_rows.answers]
    counts = {
        name: differing_answers(sides.common, sides.old_rows.answers[name], sides.new_rows.answers[name])
        for name in known
    }
    return {name: count for name, count in counts.items() if count}


def _changed(ids: Sequence[str], old: Worths, new: Worths) -> Json:
    """The examples that were won and lost, by the first seed's verdicts."""
    before, after = (_first_seed(worths, len(ids)) for worths in (old, new))
    return changes.told(changes.of_values(ids, before, after, higher_is_better=True), flips=True)


def _first_seed(worths: Worths, n: int) -> list[float]:
    found = [math.nan] * n
    for prompt, worth in zip(worths.prompts.tolist(), worths.by_seed[0].tolist(), strict=True):
        found[prompt] = worth
    return found
