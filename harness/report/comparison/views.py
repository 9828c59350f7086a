"""What is shown of a comparison, as tables and sentences, and which of it a terminal gets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness import format as fmt
from harness.comparing.gates import PASSED
from harness.comparing.rows import compared_rows
from harness.report.drawing import Block, Heading, Sentences, Table
from harness.report.text import shorten
from harness.stats.multiplicity import NO_DIFFERENCE

Json = Mapping[str, Any]
RUN = "the run"
_SKEWED = 1.5
_WITHHELD = {"seed": "another seed", "position": "the judge's place", "unread": "unread verdicts"}
_COUNTED = {"better": "better", "worse": "worse", "same": "the same"}
NOTE = (
    "difference: NEW − OLD, paired by example, with its 95% interval; p after Holm's correction over the "
    "candidates of a figure that changed"
)
_ANY = "; p of the gate 'any worse' is corrected over all figures, and is no smaller"
_DIGEST = 12
_VALUE_LIMIT = 200
_KEYS_IN_TERMINAL = 8


@dataclass(frozen=True)
class Changes:
    """The examples that a figure saw change for a candidate: how many, and those listed, by heading.

    `apart` says whether the figure is told apart from what it was.
    """

    candidate: str
    figure: str
    apart: bool
    counts: str
    lists: Sequence[tuple[str, Sequence[Changed]]]


@dataclass(frozen=True)
class Changed:
    """One example before and after. A text that is missing is None."""

    id: str
    question: str
    reference: str
    old_value: str
    new_value: str
    old_answer: str | None
    new_answer: str | None


def title(found: Json) -> str:
    """`quickstart: NEW against OLD`, with both names where two suites are compared."""
    old, new = found["old"], found["new"]
    same = old["suite"] == new["suite"]
    return (
        f"{new['suite']}: NEW against OLD" if same else f"{new['suite']} (NEW) against {old['suite']} (OLD)"
    )


def sources(found: Json) -> list[str]:
    """Which runs OLD and NEW are: `OLD: quickstart, folder q0, 200 examples, results.json sha256 6d1c…`."""
    return [_source(side, found[side.lower()]) for side in ("OLD", "NEW")]


def _source(side: str, run: Json) -> str:
    chosen = f"{run['candidate']} of " if run["candidate"] else ""
    examples = fmt.counted(run["examples"], "example")
    digest = f"results.json sha256 {run['sha256'][:_DIGEST]}…"
    return f"{side}: {chosen}{run['suite']}, folder {run['folder']}, {examples}, {digest}"


def facts(found: Json) -> str:
    """What was paired."""
    candidates = fmt.counted(len(found["candidates"]), "candidate")
    return f"{candidates} in both, {fmt.counted(found['examples']['common'], 'example')} in common"


def figures(found: Json) -> Table:
    """Every figure of which anything changed."""
    rows = [
        [_named(figure), row["candidate"], *_cells(figure, row)]
        for figure, row in compared_rows(found["figures"])
        if not row["unchanged"]
    ]
    head = ["figure", "candidate", "OLD", "NEW", "difference", "95% interval", "n", "p", "verdict"]
    note = f"{NOTE}; ↑ higher is better, ↓ lower is better"
    return Table("Figures", head, rows, note + _of_any(found), (0, 1))


def _of_any(found: Json) -> str:
    """A word on the other p-value of a figure, where there is one."""
    return _ANY if any(gate["over_all"] for gate in found["gates"]) else ""


def unchanged(found: Json) -> Table:
    """The figures of which no example changed, with their value."""
    rows = [
        [_named(figure), row["candidate"], fmt.score(row["new"], figure["unit"]), fmt.count(row["n"])]
        for figure, row in compared_rows(found["figures"])
        if row["unchanged"]
    ]
    note = "No example changed, by any seed: of these nothing is tested, and no p is corrected for them"
    title = f"Unchanged ({fmt.counted(len(rows), 'comparison')})"
    return Table(title, ["figure", "candidate", "OLD and NEW", "n"], rows, note, (0, 1))


def _unchanged_in_words(found: Json) -> Iterator[str]:
    """`Unchanged, in every figure: base and q; in BLEU and chrF: lora.`"""
    compared: dict[str, list[str]] = {}
    same: dict[str, list[str]] = {}
    for figure, row in compared_rows(found["figures"]):
        compared.setdefault(row["candidate"], []).append(figure["label"])
        if row["unchanged"]:
            same.setdefault(row["candidate"], []).append(figure["label"])
    alike: dict[str, list[str]] = {}
    for candidate, labels in same.items():
        where = "every figure" if labels == compared[candidate] else fmt.listed(labels)
        alike.setdefault(where, []).append(candidate)
    if alike:
        told = "; ".join(f"{fmt.listed(names)} in {where}" for where, names in alike.items())
        yield f"Unchanged, and so not tested: {told}."


def _named(figure: Json) -> str:
    return f"{figure['label']} {'↑' if figure['higher_is_better'] else '↓'}"


def _cells(figure: Json, row: Json) -> list[str]:
    unit, ends = figure["unit"], (row["low"], row["high"])
    return [
        fmt.score(row["old"], unit),
        fmt.score(row["new"], unit),
        fmt.difference(row["value"], unit, *ends),
        fmt.difference_interval(row["value"], *ends, unit) or fmt.NONE,
        fmt.count(row["n"]),
        fmt.p_figure(row["p_adjusted"]),
        row["verdict"] + (f" ({_WITHHELD[row['withheld']]})" if row["withheld"] else ""),
    ]


def gates(found: Json) -> Table:
    """What each gate found."""
    rows = [
        [gate["expression"], gate["status"], "; ".join(gate["reasons"]) or "the condition does not hold"]
        for gate in found["gates"]
    ]
    return Table("Gates", ["gate", "status", "why"], rows, "", (0, 1, 2))


def configuration(found: Json) -> Table:
    """The keys in which the runs differ, and those of each candidate."""
    rows = [[RUN, *_change(entry)] for entry in found["configuration"]]
    for candidate in found["candidates"]:
        rows += [[candidate["candidate"], *_change(entry)] for entry in candidate["configuration"]]
    return Table("What was configured otherwise", ["of", "key", "OLD", "NEW"], rows, "", (0, 1, 2, 3))


def _change(entry: Json) -> list[str]:
    return [entry["key"], _plain(entry["old"]), _plain(entry["new"])]


def _plain(value: Any) -> str:
    if value is None:
        return fmt.NONE
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _VALUE_LIMIT)


def changes(found: Json, *, most: int, limit: int) -> Iterator[Changes]:
    """The examples won and lost by each figure: at most `most` of each, their texts cut at `limit`."""
    for figure in found["figures"]:
        for row in figure["rows"]:
            told = row.get("examples")
            if not told or not told["better"] + told["worse"]:
                continue
            words = ("newly won", "newly lost") if told["flips"] else ("better", "worse")
            lists = [
                (
                    f"{word}: {fmt.count(told[key])}{_shown(told[key], most)}",
                    [_changed(figure, row, entry, found, limit) for entry in told[f"first_{key}"][:most]],
                )
                for word, key in zip(words, ("won", "lost"), strict=True)
            ]
            counts = ", ".join(f"{fmt.count(told[key])} {word}" for key, word in _COUNTED.items())
            counts += ", by the first seed" if max(row["seeds"].values()) > 1 else ""
            apart = row["verdict"] != NO_DIFFERENCE
            yield Changes(row["candidate"], figure["label"], apart, counts, lists)


def by_candidate(found: Sequence[Changes]) -> list[tuple[str, list[Changes], list[Changes]]]:
    """(candidate, changes of figures that are told apart, the others); who has any of the former first."""
    groups: dict[str, tuple[list[Changes], list[Changes]]] = {}
    for change in found:
        groups.setdefault(change.candidate, ([], []))[0 if change.apart else 1].append(change)
    return sorted(
        ((name, apart, others) for name, (apart, others) in groups.items()), key=lambda group: not group[1]
    )


def _shown(count: int, most: int) -> str:
    return f" (the first {most} are shown)" if count > most else ""


def _changed(figure: Json, row: Json, entry: Json, found: Json, limit: int) -> Changed:
    told, flips = found["texts"][entry["id"]], row["examples"]["flips"]
    answers = [told[side].get(row[f"{side}_name"]) for side in ("old", "new")]
    old, new = (None if text is None else shorten(text, limit) for text in answers)
    before, after = (_value(figure, entry[side], flips=flips) for side in ("old", "new"))
    question, reference = (shorten(told[key], limit) for key in ("question", "reference"))
    return Changed(entry["id"], question, reference, before, after, old, new)


def _value(figure: Json, value: float, *, flips: bool) -> str:
    if figure["kind"] == "judge":
        return {0.0: "loss", 0.5: "tie", 1.0: "win"}.get(value, fmt.share(value))
    if flips:
        return f"{value:.0%}"
    return fmt.score(value, figure["unit"])


def blocks(found: Json) -> list[Block]:
    """Sentences first, then what the gates say, and the figures in as few columns as will do."""
    parts: list[Block] = [
        Heading(title(found), facts(found)),
        Sentences(sources(found)),
        Sentences(found["findings"]),
    ]
    if found["gates"]:
        parts.append(Sentences([_of_gate(gate) for gate in found["gates"]]))
    if table := _for_terminal(found):
        parts.append(table)
    if told := [*_unchanged_in_words(found), *found["warnings"], *_keys(found)]:
        parts.append(Sentences(told))
    return parts


def _of_gate(gate: Json) -> str:
    """With what a gate that passed could not exclude; why another did not pass follows on standard error."""
    told = "; ".join(gate["reasons"]) if gate["status"] == PASSED else ""
    return f"gate {gate['status']}: {gate['expression']}" + (f": {told}" if told else "")


def _for_terminal(found: Json) -> Table | None:
    rows = []
    for figure, row in compared_rows(found["figures"]):
        if not row["unchanged"]:
            old, new, apart, *_, p_value, verdict = _cells(figure, row)
            word = f"= {row['withheld'] or ''}".strip() if row["verdict"] == NO_DIFFERENCE else verdict
            apart = f"{apart} {_margin(row, figure['unit'], apart)}"
            rows.append([_named(figure), row["candidate"], old, new, apart, p_value, word])
    head = ["figure", "candidate", "OLD", "NEW", "difference", "p", "verdict"]
    note = (
        f"= {NO_DIFFERENCE}{_why_withheld(found)}; ± half the 95% interval of the paired difference; p after "
        "Holm's correction over the candidates of a figure that changed"
    )
    return Table("Figures, NEW − OLD", head, rows, note + _of_any(found), (0, 1)) if rows else None


def _why_withheld(found: Json) -> str:
    """What stands behind the sign, where a difference that the test shows is not called one."""
    reasons = dict.fromkeys(row["withheld"] for _, row in compared_rows(found["figures"]) if row["withheld"])
    return "".join(f" (= {reason}: {_WITHHELD[reason]})" for reason in reasons)


def _margin(row: Json, unit: str, difference: str) -> str:
    """Half the interval with the decimals of the difference; the interval itself where it is lopsided."""
    if row["low"] is None or row["high"] is None:
        return ""
    shorter, longer = sorted((row["value"] - row["low"], row["high"] - row["value"]))
    if longer > _SKEWED * shorter:
        return f"[{fmt.difference_interval(row['value'], row['low'], row['high'], unit)}]"
    places = len(difference.partition(" ")[0].partition(".")[2])
    return "±" + fmt.fixed((row["high"] - row["low"]) / 2 * (100 if unit == "%" else 1), places)


def _keys(found: Json) -> Iterator[str]:
    """The keys that differ, of the run and of each candidate."""
    keys: dict[str, list[str]] = {}
    for owner, key, *_ in configuration(found).rows:
        keys.setdefault(owner, []).append(key)
    alike: dict[tuple[str, ...], list[str]] = {}
    for owner, mine in keys.items():
        alike.setdefault(tuple(mine), []).append(owner)
    for names, owners in alike.items():
        left = len(names) - _KEYS_IN_TERMINAL
        more = f" and {left:,} more (see --output)" if left > 0 else ""
        of = "" if owners == [RUN] else f" for {fmt.listed(owners)}"
        yield f"Configured otherwise{of}: {', '.join(names[:_KEYS_IN_TERMINAL])}{more}."
