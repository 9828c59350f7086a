"""prepare: datasets become three frozen files of Examples, train, validation and eval.

The order matters. Rows are held out first. Eval rows that do not fit the prompt's max_length leave, as no
candidate could be scored on them whole; only then is overlap searched for, against the eval rows that
stayed. In an overlap the row that is held out stays: eval before validation before train.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data import conversion, splits
from harness.data.conversion import Loaded
from harness.data.examples import examples_digest, unique_ids
from harness.data.leakage import Match, find_overlap
from harness.data.sources import SourceSpec
from harness.errors import DataError
from harness.protocols import Progress
from harness.records import Example, ModelRef, Prompting, from_json, write_json, write_jsonl

VERSION = 1
STEPS = 4
SHOWN_PAIRS = 5
SHOWN_CHARACTERS = 300
UNLIMITED = 1 << 30


@dataclass(frozen=True)
class Splits:
    """The three parts of the data while they are being cleaned."""

    train: list[Example]
    validation: list[Example]
    eval: list[Example]


def run(params: Mapping[str, Any], inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:  # noqa: ARG001
    """Write train.jsonl, validation.jsonl (if there is any), eval.jsonl and data.json."""
    progress(0, STEPS, "reading rows")
    loaded, parts = _load(params)
    progress(1, STEPS, f"measuring {sum(map(len, vars(parts).values()))} rows in tokens")
    parts, fit = _fit(parts, params)
    progress(2, STEPS, "looking for eval rows in train")
    parts, overlap = _clean(parts, params["overlap"])
    progress(3, STEPS, "writing")
    parts = Splits(*map(unique_ids, (parts.train, parts.validation, parts.eval)))
    _write(parts, out)
    write_json(
        out / "data.json",
        {
            "sources": [source.summary() for source in loaded],
            "rows": {name: len(rows) for name, rows in vars(parts).items()},
            "overlap": overlap,
            "train_duplicates": _repeats(parts.train),
            **fit,
            "eval_sha256": examples_digest(parts.eval),
        },
    )
    progress(STEPS, STEPS)
