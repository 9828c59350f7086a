"""What a report folder says of its judges, checked before anything is read again: a report is sent to others.

The results have the form of their schema already (`read_results`); here is what a schema cannot say. Each
finding is an InputError with its place. Nothing is run or opened that a file names.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.judging.formats import read_ours
from harness.judging.rows import quoted
from harness.leaderboard.verdict_lines import READING
from harness.records import REFERENCE
from harness.report.files import FIX, VERDICTS, read_objects
from harness.report.named_plugins import is_plain
from harness.text import well_formed

Json = dict[str, Any]
PLACE = ("example_id", "seed", "first", "second", "control")
"""What no two verdicts of one judge share."""
_CHARS = ("first_chars", "second_chars")
_KEYS = frozenset(("judge", *PLACE, "raw", *READING, *_CHARS))
_TEXTS = ("judge", "example_id", "first", "second", "control", "choice", "fault", "reason", "raw")
_NUMBERS = ("preference", *_CHARS)


def members_first(results: Json, where: str) -> list[Json]:
    """The judges of a results.json, those that others combine before these."""
    by_name = {judge["name"]: judge for judge in results["judges"]}
    for judge in by_name.values():
        _check_plugin(judge, where)
        if unknown := [name for name in judge["members"] if name not in by_name]:
            name = quoted(judge["name"])
            what = f"judge {name} combines {quoted(unknown[0])}, which is no judge of the report"
            raise InputError(what, where=where, fix=FIX)
    try:
        order = TopologicalSorter({name: judge["members"] for name, judge in by_name.items()})
        return [by_name[name] for name in order.static_order()]
    except CycleError:
        raise InputError("holds judges that combine each other in a circle", where=where, fix=FIX) from None


def _check_plugin(judge: Json, where: str) -> None:
    """A report may name a plugin that is installed here, but no code that came with it."""
    plugin = judge["plugin"]["name"]
    if not is_plain(plugin):
        name = quoted(judge["name"])
        what = f"judge {name} names {quoted(plugin)}, and a report may not say what file to run"
        raise InputError(what, where=where, fix="name it as a plugin is called, and give --suite")


def read_lines(folder: Path, results: Json, examples: Collection[str]) -> dict[str, list[Json]]:
    """Judge -> its lines of verdicts.jsonl; `examples` are the known ids, none where they are not known."""
    path = folder / VERDICTS
    if not path.is_file():
        raise InputError("no such file", where=str(path), fix=FIX)
    players = {row["name"] for row in results["candidates"]} | {REFERENCE}
    lines: dict[str, list[Json]] = {judge["name"]: [] for judge in results["judges"]}
    seen: dict[tuple[Any, ...], str] = {}
    for where, line in read_objects(path):
        try:
            _check_line(line, lines, players, examples)
        except InputError as error:
            what = f"not a verdict of this report: {error}"
            raise InputError(what, where=where, fix=FIX) from None
        before = seen.setdefault(tuple(line[key] for key in ("judge", *PLACE)), where)
        if before != where:
            raise InputError(f"stands at {before} already", where=where, fix=FIX)
        lines[line["judge"]].append(line)
    for judge in results["judges"]:
        _check_number(judge, lines[judge["name"]], str(path))
    return lines


def _check_line(
    line: Json, judges: Mapping[str, Any], players: Collection[str], examples: Collection[str]
) -> None:
    if missing := sorted(_KEYS - line.keys()):
        raise InputError(f"it lacks {', '.join(missing)}")
    for key in _TEXTS:
        if not isinstance(line[key], str) or line[key] != well_formed(line[key]):
            raise InputError(f"'{key}' is {quoted(line[key])}, not text")
    if line["seed"] is not None and type(line["seed"]) is not int:
        raise InputError(f"'seed' is {quoted(line['seed'])}, not a whole number")
    for key in _NUMBERS:
        if isinstance(line.get(key), str):
            raise InputError(f"'{key}' is {quoted(line[key])}, not a number")
    list(read_ours(line, line["judge"]))
    for key, known in (("judge", judges), ("first", players), ("second", players), ("example_id", examples)):
        # A report without examples.jsonl does not say which ids it knows.
        if line[key] not in known and (known or key != "example_id"):
            raise InputError(f"'{key}' is {quoted(line[key])}, which the report does not know")


def _check_number(judge: Json, lines: Sequence[Json], where: str) -> None:
    """Both orders of each pair that was judged are there; controls are not counted by the receipt."""
    found, told = sum(not line["control"] for line in lines), 2 * judge["receipt"]["examples"]
    if found != told:
        what = f"has {found:,} verdicts of judge {quoted(judge['name'])}, but {told:,} were given"
        raise InputError(what, where=where, fix=FIX)
