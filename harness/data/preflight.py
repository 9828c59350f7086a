"""A look at a source before any work starts: cheap, and without importing datasets, pandas or torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.data import formats, sources, textfiles
from harness.data.sources import SourceSpec
from harness.errors import DataError
from harness.json_files import read_json

WHOLE_BYTES = 64 << 20
HEAD_BYTES = 1 << 20
"""Of text files larger than WHOLE_BYTES only so much is looked at."""


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source. `rows` is None where they were not counted; `format` as recognised.

    `columns` are those found; nothing is known of a Hub dataset before it is loaded.
    """

    rows: int | None
    format: str
    columns: tuple[str, ...] = ()


def check_source(spec: SourceSpec) -> SourceFacts:
    """DataError if a local source is missing, empty, malformed, or has columns that are not recognised."""
    if not spec.local:
        return SourceFacts(None, spec.format)
    rows, columns = _saved_facts(spec) if sources.is_saved_dataset(Path(spec.path)) else _file_facts(spec)
    if not columns:  # the head of a large file may hold no whole row
        return SourceFacts(rows, spec.format)
    layout = formats.detect(columns, wanted=spec.format, mapping=spec.columns, where=spec.where)
    return SourceFacts(rows, layout.format, columns)


def _file_facts(spec: SourceSpec) -> tuple[int | None, tuple[str, ...]]:
    facts = [_one_file(file) for file in sources.files(spec)]
    columns = tuple(dict.fromkeys(name for _, names in facts for name in names))
    counts = [rows for rows, _ in facts if rows is not None]
    return (sum(counts) if len(counts) == len(facts) else None), columns


def _one_file(path: Path) -> tuple[int | None, tuple[str, ...]]:
    if path.suffix.lower() == ".parquet":
        return sources.parquet_facts(path)
    limit = HEAD_BYTES if path.stat().st_size > WHOLE_BYTES else None
    table = textfiles.load(path, sources.display(path), limit=limit)
    return (len(table.rows) if table.whole else None), table.columns


def _saved_facts(spec: SourceSpec) -> tuple[None, tuple[str, ...]]:
    """The columns, from the JSON that `save_to_disk` leaves beside the data; its row counts may be stale."""
    folder = Path(spec.path)
    try:
        if (folder / "dataset_dict.json").is_file():
            folder = folder / sources.choose_split(spec, read_json(folder / "dataset_dict.json")["splits"])
        return None, tuple(read_json(folder / "dataset_info.json")["features"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what, fix = "is not a folder that `datasets` saved whole", "save it again with save_to_disk"
        raise DataError(what, where=spec.where, fix=fix) from error
