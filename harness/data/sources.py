"""Where rows come from: files, folders saved by `datasets`, folders of files, the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data import textfiles
from harness.data.textfiles import Table
from harness.errors import DataError, first_line

FILE_KINDS = (*textfiles.PARSERS, ".parquet")
SPLIT_NAME = re.compile(r"(train|training|test|validation|valid|val|dev|eval)(?=[-_.]|$)", re.IGNORECASE)
"""How a file's name says which split it holds: train.jsonl, test-00000-of-00002.parquet."""


@dataclass(frozen=True)
class SourceSpec:
    """A dataset, or one part of a mixture.

    `path` is an absolute path where `local`, else a Hub id with its configuration `name` and `revision`.
    `columns` maps our column names to theirs ({"instruction": "question"}). `split` chooses among the
    splits of a `datasets` folder, a folder of files named for their splits, or a Hub dataset.
    """

    path: str
    format: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str = "train"
    name: str | None = None
    revision: str | None = None
    local: bool = True

    @property
    def where(self) -> str:
        """The source in errors: the path as short as it is clear, or the Hub id."""
        return display(Path(self.path)) if self.local else self.path

    @property
    def label(self) -> str:
        """The source in reports: a file's or folder's name without the machine's folders, or the Hub id."""
        return Path(self.path).name if self.local else self.path


def display(path: Path) -> str:
    """The path, relative to the working folder if it lies inside."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def read(spec: SourceSpec) -> list[Table]:
    """The rows of a source, one table a file. DataError names the place that is missing or malformed."""
    if not spec.local:
        return [_read_hub(spec)]
    path = Path(spec.path)
    if is_saved_dataset(path):
        return [_read_saved(spec)]
    return [_read_file(file) for file in files(spec)]


def files(spec: SourceSpec) -> list[Path]:
    """The data files of a local source: the file itself, or the folder's files for the wanted split.

    Where a folder names its files for splits, only those of `split` are taken: a test file must not
    slip into training because it lies beside the training file.
    """
    path = Path(spec.path)
    if not path.exists():
        raise DataError("no such file or folder", where=spec.where, fix="check the path under data:")
    if path.is_file():
        return [_known_kind(path)]
    found = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in FILE_KINDS)
    if not found:
        fix = f"give a folder with {', '.join(FILE_KINDS)} files, or one that `datasets` saved"
        raise DataError("the folder holds no data files", where=spec.where, fix=fix)
    named = [file for file in found if file.stem == spec.split or _split_of(file) == spec.split.lower()]
    if named:
        return named
    if spec.split != "train" or any(map(_split_of, found)):
        what = f"no file for split '{spec.split}' among {', '.join(file.name for file in found)}"
        raise DataError(what, where=spec.where, fix="set split: or name the file itself")
    return found


def _split_of(file: Path) -> str:
    match = SPLIT_NAME.match(file.stem)
    return match[1].lower() if match else ""


def _known_kind(path: Path) -> Path:
    if path.suffix.lower() in FILE_KINDS:
        return path
    what = f"cannot tell what kind of file this is from '{path.suffix}'" if path.suffix else "has no suffix"
    raise DataError(what, where=display(path), fix=f"known are {', '.join(FILE_KINDS)}")


def is_saved_dataset(path: Path) -> bool:
    """Whether the folder was written by `save_to_disk` of `datasets`."""
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _read_file(path: Path) -> Table:
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else textfiles.load(path, display(path))


def _read_parquet(path: Path) -> Table:
    with _parquet(path) as file:
        return _some_rows(Table(display(path), file.read().to_pylist()))


def parquet_facts(path: Path) -> tuple[int, tuple[str, ...]]:
    """The number of rows and the columns, from the file's footer alone."""
    with _parquet(path) as file:
        return file.metadata.num_rows, tuple(file.schema_arrow.names)


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"not Parquet: {first_line(error)}", where=display(path)) from error


def _read_saved(spec: SourceSpec) -> Table:
    from datasets import Dataset, DatasetDict, load_from_disk

    try:
        loaded: Dataset | DatasetDict = load_from_disk(spec.path)
    except (OSError, ValueError, KeyError, TypeError) as error:  # a file is missing, or is not what it was
        raise DataError(
            f"`datasets` cannot load the folder: {first_line(error)}", where=spec.where
        ) from error
    if isinstance(loaded, DatasetDict):
        loaded = loaded[choose_split(spec, list(loaded))]
    return _some_rows(Table(spec.where, loaded.to_list()))


def choose_split(spec: SourceSpec, splits: list[str]) -> str:
    """The wanted split, or DataError with those that are there."""
    if spec.split in splits:
        return spec.split
    what = f"no split '{spec.split}'; it has {', '.join(splits)}"
    raise DataError(what, where=spec.where, fix="set split: to one of them")


def _read_hub(spec: SourceSpec) -> Table:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    try:
        loaded = load_dataset(spec.path, name=spec.name, split=spec.split, revision=spec.revision)
    # OSError holds the connection's errors, ValueError an unknown configuration or split.
    except (DatasetsError, OSError, ValueError) as error:
        fix = "check the id, name, split and revision, HF_TOKEN and the network, or give a local path"
        raise DataError(
            f"cannot be loaded from the Hub: {first_line(error)}", where=spec.where, fix=fix
        ) from error
    return _some_rows(Table(spec.where, loaded.to_list()))


def _some_rows(table: Table) -> Table:
    if not table.rows:
        raise DataError("has no rows", where=table.where, fix="give a dataset with at least one row")
    return table
