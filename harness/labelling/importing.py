"""Files that the labelling page saved, brought into labels/ beside the suite: one file a person."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import DataError
from harness.json_files import write_json
from harness.labels import LabelFile, Labels, label_file_json, read_labels
from harness.plan.pairings import judges_of
from harness.suite import Suite

FOLDER = "labels"


@dataclass(frozen=True)
class Imported:
    """What an import made of one person's labels."""

    path: Path
    labeller: str
    labels: int
    new: int
    changed: int
    repeated: int
    contradicted: int
    unknown: int | None
    """Labels of pairs that the suite does not compare (any more); None: its answers are not in the store."""


def import_labels(suite: Suite, files: Sequence[LabelFile], known: Collection[str] | None) -> list[Imported]:
    """Merge files into the labels beside the suite, the latest label of a person on a pair winning.

    `known` are the digests of the suite's pairs; None: they are not known. DataError where the labels of
    another person have the name of the file; nothing is then written.
    """
    people: dict[str, list[LabelFile]] = {}
    for file in files:
        people.setdefault(file.labeller, []).append(file)
    merged = [_merge(suite, labeller, read, known) for labeller, read in people.items()]
    paths = [imported.path for imported, _ in merged]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise DataError("would hold the labels of two people", where=str(twice), fix=_RENAME)
    for imported, file in merged:
        imported.path.parent.mkdir(exist_ok=True)
        write_json(imported.path, label_file_json(file))
    return [imported for imported, _ in merged]


_RESERVED = frozenset(
    ("con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10)))
)
"""Names that no file has on Windows, whatever its suffix."""
_RENAME = "change `labeller` in one of the files"


def _merge(
    suite: Suite, labeller: str, files: Sequence[LabelFile], known: Collection[str] | None
) -> tuple[Imported, LabelFile]:
    path = suite.folder / FOLDER / f"{file_name(labeller)}.json"
    before = read_labels(path) if path.exists() else LabelFile(labeller, ())
    if before.labeller != labeller:
        raise DataError(f"holds the labels of '{before.labeller}'", where=str(path), fix=_RENAME)
    said_before = {label.pair: label.better for label in before.labels}
    counted, merged = Labels(), Labels()
    merged.add(before)
    for file in files:
        counted.add(file)
        merged.add(file)
    kept = {pair: by_person[labeller] for pair, by_person in merged.by_pair.items()}
    changed = sum(pair in said_before and said_before[pair] != label.better for pair, label in kept.items())
    imported = Imported(
        path,
        labeller,
        labels=len(kept),
        new=len(kept.keys() - said_before.keys()),
        changed=changed,
        repeated=counted.repeated,
        contradicted=counted.contradicted,
        unknown=None if known is None else len(kept.keys() - set(known)),
    )
    return imported, LabelFile(labeller, tuple(kept.values()), suite.name)


def file_name(labeller: str) -> str:
    """A name as a file's, none of Windows' own: letters and digits of any script, the rest as hyphens."""
    name = re.sub(r"[\W_]+", "-", labeller.lower()).strip("-")
    if not name:
        raise DataError(f"'{labeller}' has no letter for the name of a file", fix=_RENAME)
    return f"{name}-labels" if name in _RESERVED else name[:60]


def describe(suite: Suite, imported: Sequence[Imported]) -> Iterator[str]:
    """What a person reads of an import: a line for each labeller, and how the suite comes to know it."""
    for one in imported:
        labels = "label" if one.labels == 1 else "labels"
        said = [f"{one.labels:,} {labels} of {one.labeller}", f"{one.new:,} new", f"{one.changed:,} changed"]
        if one.repeated:
            said.append(f"{one.repeated:,} given twice, {one.contradicted:,} of them not the same")
        if one.unknown:
            said.append(f"{one.unknown:,} of pairs that the suite does not compare (answers that changed?)")
        elif one.unknown is None:
            said.append("not compared with the suite's pairs: run the suite first")
        yield f"{_shown(one.path)}: {', '.join(said)}"
    if all(one.path.resolve() in _named(suite) for one in imported):
        yield f"the suite has them already; now: harness run {suite.display_path}"
        return
    files = sorted(f"{FOLDER}/{path.name}" for path in (suite.folder / FOLDER).glob("*.json"))
    yield f"now let {suite.display_path} name them:"
    yield "judges:"
    yield f"  - human: {{labels: [{', '.join(files)}]}}"


def _named(suite: Suite) -> set[Path]:
    """The files of labels that the suite's judges name."""
    options = [judge.plugin.options.get("labels") for judge in judges_of(suite).values()]
    lists = [named if isinstance(named, list) else [named] for named in options if named is not None]
    return {Path(path).resolve() for named in lists for path in named}


def _shown(path: Path) -> str:
    return os.path.relpath(path)
