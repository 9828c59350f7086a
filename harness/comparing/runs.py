"""A run as it is named on the command line, and which of its candidates is set against which of another's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.judging.rows import quoted
from harness.report.files import EXAMPLES, RESULTS, VERDICTS, read_results, report_folder
from harness.report.text import ellipsis
from harness.report.verdict_checks import members_first
from harness.store import file_digest
from harness.validation import suggestion
from harness.whole_files import reason

Json = dict[str, Any]
_LONGEST = 200


@dataclass(frozen=True)
class Run:
    """A finished run. `side` is OLD or NEW; `chosen` the candidate that was named with it, if any was."""

    side: str
    results_file: Path
    results: Json
    chosen: str | None = None

    @property
    def examples_file(self) -> Path:
        return self.results_file.parent / EXAMPLES

    @cached_property
    def sha256(self) -> str:
        """The digest of results.json as sha256sum prints it."""
        return file_digest(self.results_file)

    @property
    def verdicts_file(self) -> Path:
        return self.results_file.parent / VERDICTS

    @cached_property
    def candidates(self) -> Mapping[str, Json]:
        return {row["name"]: row for row in self.results["candidates"]}

    @cached_property
    def metrics(self) -> Mapping[str, Json]:
        return {metric["name"]: metric for metric in self.results["metrics"]}

    @cached_property
    def judges(self) -> Mapping[str, Json]:
        return {judge["name"]: judge for judge in self.results["judges"]}


@dataclass(frozen=True)
class Pair:
    """A candidate of OLD and the candidate of NEW that is set against it."""

    old: str
    new: str

    @property
    def label(self) -> str:
        return self.new if self.old == self.new else f"{self.old} → {self.new}"

    def of(self, run: Run) -> str:
        """The name on that run's side."""
        return self.old if run.side == "OLD" else self.new

    def row(self, found: Json) -> Json:
        """The row of a figure: what was found of the two, under their names."""
        return {"candidate": self.label, "old_name": self.old, "new_name": self.new, **found}


def open_run(side: str, spelled: str) -> Run:
    """`FOLDER`, `FOLDER/results.json`, or either with `:candidate`; InputError where it is no such thing."""
    try:
        file, chosen = _found(spelled)
        run = Run(side, file, read_results(file), chosen)
    except OSError as error:
        where = ellipsis(spelled, _LONGEST)
        raise InputError(f"cannot be read: {reason(error)}", where=where) from error
    members_first(run.results, str(file))
    if chosen is not None and chosen not in run.candidates:
        raise _unknown(run, chosen)
    return run


def _found(spelled: str) -> tuple[Path, str | None]:
    """The results.json that is meant, and the candidate that is named behind it."""
    path, chosen = Path(spelled), None
    if not path.exists():
        head, colon, tail = spelled.rpartition(":")
        if not (colon and head and Path(head).exists()):
            fix = "name a report's folder or its results.json, with :CANDIDATE if need be"
            raise InputError("no such file or folder", where=ellipsis(spelled, _LONGEST), fix=fix)
        path, chosen = Path(head), tail
    return report_folder(path) / RESULTS, chosen


def folder_names(old: Run, new: Run) -> tuple[str, str]:
    """The last part of each run's folder; of two that end alike, the last two, as far as they were given.

    What is above it is of no use to others.
    """
    folders = [run.results_file.parent for run in (old, new)]
    names = [folder.name or folder.resolve().name for folder in folders]
    if names[0] == names[1]:
        names = ["/".join(folder.parts[-2:]) or name for folder, name in zip(folders, names, strict=True)]
    return names[0], names[1]


def _unknown(run: Run, name: str) -> InputError:
    what = f"{run.side} has no candidate {quoted(name)}"
    return InputError(what, where=str(run.results_file), fix=suggestion(name, run.candidates))


def paired(old: Run, new: Run) -> tuple[list[Pair], list[str], list[str]]:
    """Who is set against whom, by name unless candidates were chosen, and who is in OLD or NEW alone.

    One candidate that was chosen on one side stands against that of its name on the other.
    """
    if old.chosen is None and new.chosen is None:
        return (
            [Pair(name, name) for name in new.candidates if name in old.candidates],
            [name for name in old.candidates if name not in new.candidates],
            [name for name in new.candidates if name not in old.candidates],
        )
    pair = Pair(old.chosen or new.chosen or "", new.chosen or old.chosen or "")
    for run in (old, new):
        if pair.of(run) not in run.candidates:
            raise _unknown(run, pair.of(run))
    return [pair], [], []
