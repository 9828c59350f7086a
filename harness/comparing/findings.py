"""What a comparison says, in sentences: the conclusion first, then what speaks against believing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness import format as fmt
from harness.comparing.rows import compared_rows
from harness.leaderboard.cautions import FEW_EXAMPLES, OF_FEW
from harness.records import ALL
from harness.stats.multiplicity import ALPHA, NO_DIFFERENCE

Json = dict[str, Any]
_LISTED = 3
"""Names that a sentence has room for, perhaps with a few figures each."""


def findings(found: Json) -> list[str]:
    """The conclusion, a sentence for each candidate of which something can be said."""
    rows = list(compared_rows(found["figures"]))
    if not rows:
        return [f"Nothing can be compared: {_why_nothing(found)}."]
    n = fmt.counted(found["examples"]["common"], "example")
    compared = f"{fmt.counted(len(rows), 'comparison')} on {n}"
    by_candidate: dict[str, list[tuple[Mapping[str, Any], Json]]] = {}
    for figure, row in rows:
        by_candidate.setdefault(row["candidate"], []).append((figure, row))
    if all(row["value"] == 0 for _, row in rows):
        changed = sum(entry["answers_changed"] for entry in found["candidates"])
        if changed:
            return [f"No figure differs, though {fmt.count(changed)} answers do: {compared}."]
        return [f"Nothing differs: {compared}, and every answer is the same."]
    told = [sentence for name, mine in by_candidate.items() if (sentence := _verdict(name, mine, found))]
    withheld = any(row["withheld"] for _, row in rows)
    why = "what seems to differ is withheld" if withheld else "none shows a difference after correction"
    return told or [f"Nothing can be told apart: {compared}; {why}."]


def _verdict(name: str, mine: Sequence[tuple[Mapping[str, Any], Json]], found: Json) -> str:
    """`lora is better than before by gpt4 (…), and worse by chrF (…)`; empty where nothing is shown."""
    entry = next(entry for entry in found["candidates"] if entry["candidate"] == name)
    same = entry["old"] == entry["new"]
    than = " than before" if same else f" than {entry['old']} (OLD)"
    parts: list[str] = []
    for word in ("better", "worse"):
        if figures := [_figure(figure, row) for figure, row in mine if row["verdict"] == word]:
            parts.append(f"{word}{'' if parts else than} by {fmt.listed(figures)}")
    subject = entry["new"] if same else f"{entry['new']} (NEW)"
    return f"{subject} is {', and '.join(parts)}." if parts else ""


def _figure(figure: Mapping[str, Any], row: Json) -> str:
    unit, ends = figure["unit"], (row["low"], row["high"])
    return (
        f"{figure['label']} ({fmt.difference(row['value'], unit, *ends)}, {fmt.p_value(row['p_adjusted'])})"
    )


def _why_nothing(found: Json) -> str:
    if not found["candidates"]:
        return "no candidate is in both runs; name one of each, as OLD:lora NEW:full"
    reasons = [figure["missing"] for figure in found["figures"] if figure["missing"]]
    reasons += [row["missing"] for figure in found["figures"] for row in figure["rows"] if "missing" in row]
    return reasons[0] if reasons else "the runs have no figure"


def warnings(found: Json) -> list[str]:
    """What to know before believing the comparison."""
    return [
        *_several(found),
        *_examples(found),
        *_one_sided(found),
        *_not_compared(found),
        *_seeds(found),
        *_judges(found),
        *_boards(found),
    ]


def _several(found: Json) -> Iterator[str]:
    """Each figure is corrected over its candidates; of many figures some differ by chance all the same."""
    apart = [(f, row) for f, row in compared_rows(found["figures"]) if row["verdict"] != NO_DIFFERENCE]
    lost = [f"{row['candidate']} by {f['label']}" for f, row in apart if not row["p_over_all"] < ALPHA]
    if lost:
        yield (
            f"After correction over all {fmt.counted(found['family'], 'comparison')} at once there is no "
            f"difference of {fmt.listed(lost)}: of so many figures some differ by chance."
        )


def _examples(found: Json) -> Iterator[str]:
    counts = found["examples"]
    for key, what in (
        ("only_old", "only in OLD"),
        ("only_new", "only in NEW"),
        ("changed", "in both with another prompt or reference under the same id"),
    ):
        if counts[key]:
            yield f"{fmt.counted(counts[key], 'example')}, {what}, not compared."
    if 0 < counts["common"] < FEW_EXAMPLES:
        yield f"The runs share {fmt.counted(counts['common'], 'example')}: {OF_FEW}"


def _one_sided(found: Json) -> Iterator[str]:
    for key, side in (("only_old", "OLD"), ("only_new", "NEW")):
        if found[key]:
            yield f"Only in {side}, and not compared: {fmt.listed(found[key])}."
    for entry in found["candidates"]:
        for side, failure in entry["failed"].items():
            if failure:
                yield f"{entry[side]} failed in {side.upper()}, in {failure['stage']}: {failure['message']}"


def _not_compared(found: Json) -> Iterator[str]:
    """What is true of several figures of a candidate is said once."""
    missing: dict[tuple[str, str], list[str]] = {}
    for figure in found["figures"]:
        if figure["missing"]:
            yield f"{figure['label']} cannot be compared: {figure['missing']}."
        for row in figure["rows"]:
            if "missing" in row:
                missing.setdefault((row["candidate"], row["missing"]), []).append(figure["label"])
            elif row.get("unread"):
                yield f"{figure['label']} of {row['candidate']} shows nothing: {row['unread']}."
    for (candidate, reason), labels in missing.items():
        yield f"{fmt.listed(labels)} of {candidate} cannot be compared: {reason}."


def _seeds(found: Json) -> Iterator[str]:
    rows = [row for figure in found["figures"] for row in figure["rows"] if row.get("value")]
    mine = [
        entry
        for entry in found["candidates"]
        if any(row["candidate"] == entry["candidate"] and _trained_once(entry, row) for row in rows)
    ]
    if names := [entry["candidate"] for entry in mine if entry["only_seeds_differ"]]:
        yield (
            f"{fmt.listed(names)}: the same recipe with another seed, and one training on a side. How far "
            "apart two trainings by one recipe lie cannot be told from that, so no difference is called real."
        )
    others = [entry for entry in mine if entry["configuration"] and not entry["only_seeds_differ"]]
    if others:
        yield (
            f"{fmt.listed([entry['candidate'] for entry in others])}: trained once on a side. The difference "
            "is between these models; another seed may change it."
        )


def _trained_once(entry: Json, row: Json) -> bool:
    """Whether one side rests on one training: what was never trained has no seeds that could vary."""
    return any(trained and row["seeds"][side] == 1 for side, trained in entry["trained"].items())


def _judges(found: Json) -> Iterator[str]:
    said: dict[tuple[str, int], list[str]] = {}
    for figure in found["figures"]:
        label = figure["label"]
        for row in figure["rows"]:
            for opponent, count in (row.get("opponents_changed") or {}).items():
                judges = said.setdefault((opponent, count), [])
                judges += [] if label in judges else [label]
            if row.get("withheld") == "position":
                yield (
                    f"{label} of {row['candidate']}: a judge who always prefers the same place would show as "
                    f"large a difference, so it is {NO_DIFFERENCE}."
                )
    n = found["examples"]["common"]
    for (opponent, count), judges in said.items():
        yield (
            f"{opponent}, an opponent before {fmt.listed(judges)}, answers {count:,} of {n:,} examples "
            "otherwise in NEW: win rates against it differ for that reason too."
        )


def _boards(found: Json) -> Iterator[str]:
    """Of a round robin: where a win rate that is compared is not the board's, and why."""
    for figure in found["figures"]:
        if figure["against"] != ALL:
            continue
        told = [_on_boards(row, figure["unit"]) for row in figure["rows"] if "boards" in row]
        told = [each for each in told if each]
        left = f"; and {len(told) - _LISTED:,} more candidates" if len(told) > _LISTED else ""
        if told:
            yield (
                f"{figure['label']}: a win rate here is over the opponents and prompts that both sides have "
                f"verdicts on, the board's over all that a candidate met: {'; '.join(told[:_LISTED])}{left}."
            )


def _on_boards(row: Json, unit: str) -> str:
    """`lora 51.9% → 42.6% here, against full, n = 45, and 54.3% → 41.7% on the boards`, if they differ."""
    here, boards = (
        " → ".join(fmt.NONE if value is None else fmt.score(value, unit) for value in values)
        for values in ((row["old"], row["new"]), (row["boards"]["old"], row["boards"]["new"]))
    )
    if here == boards:
        return ""
    met = row["opponents"]
    against = fmt.counted(len(met), "opponent") if len(met) > _LISTED else fmt.listed(met)
    return (
        f"{row['candidate']} {here} here, against {against}, n = {fmt.count(row['n'])}, and {boards} on the "
        "boards"
    )
