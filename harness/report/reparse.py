"""Old replies read again, perhaps by a better parser: `harness report FOLDER --reparse`. Nobody is asked.

All that is new, the page too, is made before anything is replaced. Of the three files verdicts.jsonl is
replaced first, and the others always follow from it: what a crash leaves half-way, the same command mends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.errors import HarnessError, PluginError
from harness.json_files import ESCAPED, write_json, write_jsonl
from harness.leaderboard import boards
from harness.leaderboard.verdict_lines import READING, by_example
from harness.protocols import Combines, Rereads
from harness.records import Verdict
from harness.report.files import (
    EXAMPLES,
    RESULTS,
    VERDICTS,
    read_examples,
    read_results,
    refusing,
    write_report,
)
from harness.report.named_plugins import made
from harness.report.verdict_checks import PLACE, members_first, read_lines
from harness.store import file_digest
from harness.whole_files import telling

Json = dict[str, Any]
_BESIDE_A_SUITE = "; if it is in judges/ beside a suite, name the suite with --suite"


@dataclass(frozen=True)
class Reread:
    """What came of one judge's replies. `kept` says why they were not read again; empty where they were."""

    judge: str
    replies: int = 0
    changed: int = 0
    understood: int = 0
    kept: str = ""

    def __str__(self) -> str:
        if self.kept:
            return f"{self.judge}: left as it was; {self.kept}"
        told = f", {self.understood:,} of which were unparsed before" if self.understood else ""
        return f"{self.judge}: {self.changed:,} of {self.replies:,} verdicts changed{told}"


def reparse(folder: Path, suite_folder: Path | None = None) -> list[Reread]:
    """Read the replies in a report folder again; rewrite verdicts, examples and results, and render them.

    A judge is found by its name: bundled, installed, or in the judges/ folder beside a suite. InputError
    where the folder is no report of this schema; HarnessError where a judge fails on a reply.
    """
    results = read_results(folder / RESULTS)
    in_order = members_first(results, str(folder / RESULTS))
    examples = list(read_examples(folder / EXAMPLES, results, rewritten=True))
    lines = read_lines(folder, results, {example["id"] for example in examples})
    told = [_reread(judge, lines, suite_folder) for judge in in_order]
    with refusing(folder, "completed"):
        judges = [_counted(judge, lines[judge["name"]]) for judge in results["judges"]]
        board = boards.complete({**results, "judges": judges}, lines)
        examples = list(_with_verdicts(examples, judges, lines))
    with (
        refusing(folder, "rendered"),
        telling("the report cannot be rendered", folder),
        TemporaryDirectory() as elsewhere,
    ):
        new = Path(elsewhere)
        write_jsonl(new / VERDICTS, (line for mine in lines.values() for line in mine))
        # The texts of others stay what they are.
        write_jsonl(new / EXAMPLES, examples, ESCAPED)
        told_of = {"n": len(examples), "sha256": file_digest(new / EXAMPLES)}
        write_json(new / RESULTS, {**board, "examples": told_of}, ESCAPED)
        write_report(folder, new)
    return told


def _reread(judge: Json, lines: Mapping[str, list[Json]], suite_folder: Path | None) -> Reread:
    name, mine = judge["name"], lines[judge["name"]]
    try:
        judge_now = made("judge", judge["plugin"], suite_folder)
    except PluginError as error:
        return Reread(name, kept=f"{error}{'' if suite_folder else _BESIDE_A_SUITE}")
    if judge["members"] and isinstance(judge_now, Combines):
        found = _combined(judge_now, judge["members"], mine, lines)
    elif isinstance(judge_now, Rereads):
        found = ((line, judge_now.reread(line["raw"])) for line in mine if line["raw"])
    else:
        return Reread(name, kept="its verdicts come from no reply that could be read again")
    try:
        return _applied(name, found)
    except HarnessError:
        raise
    except Exception as error:
        raise HarnessError(f"judge '{name}' failed on a reply: {type(error).__name__}: {error}") from error


def _applied(name: str, found: Iterable[tuple[Json, Verdict]]) -> Reread:
    """Bring what was read into the lines, and count; a reply that still says nothing stays as it was."""
    replies = changed = understood = 0
    for line, verdict in found:
        replies += 1
        if line["choice"] == verdict.choice == "unparsed":
            continue
        new = {key: getattr(verdict, key) for key in READING}
        if any(line[key] != value for key, value in new.items() if key != "reason"):
            changed += 1
            understood += line["choice"] == "unparsed" and verdict.choice != "unparsed"
            line.update(new)
    return Reread(name, replies, changed, understood)


def _combined(
    panel: Any, members: Sequence[str], mine: Iterable[Json], lines: Mapping[str, Sequence[Json]]
) -> Iterator[tuple[Json, Verdict]]:
    """The panel's word on each of its lines, out of what its members say now."""
    said = {member: {_place(line): _verdict(line) for line in lines[member]} for member in members}
    for line in mine:
        if line.get("settled"):
            continue  # identical answers: nobody was asked
        verdicts = [said[member].get(_place(line)) for member in members]
        if None not in verdicts:
            yield line, panel.combine(verdicts)


def _place(line: Json) -> tuple[Any, ...]:
    return tuple(line[key] for key in PLACE)


def _verdict(line: Json) -> Verdict:
    return Verdict(raw=line["raw"], **{key: line[key] for key in READING})


def _counted(judge: Json, lines: Sequence[Json]) -> Json:
    """The judge's entry, its receipt counting what cannot be read now, controls left out."""
    unparsed = [line for line in lines if line["choice"] == "unparsed" and not line["control"]]
    faults = Counter(line["fault"] for line in unparsed if line["fault"])
    counted = {"unparsed": len(unparsed), "faults": dict(sorted(faults.items()))}
    return {**judge, "receipt": {**judge["receipt"], **counted}}


def _with_verdicts(
    examples: Iterable[Json], judges: Sequence[Json], lines: Mapping[str, Sequence[Json]]
) -> Iterator[Json]:
    shown = {judge["name"]: by_example(lines[judge["name"]], judge["against"]) for judge in judges}
    for example in examples:
        yield {**example, "verdicts": {name: found.get(example["id"], {}) for name, found in shown.items()}}
