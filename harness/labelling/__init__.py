"""People label pairs of answers: the page to do it on, and the import of their labels.

pairs.py      the pairs that the judges of a suite compare, from the store
page.py       one self-contained HTML page that shows some of them, blind and shuffled
importing.py  files that the page saved, into labels/ beside the suite, for the judge `human`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import InputError
from harness.labelling.importing import describe, import_labels
from harness.labelling.page import label_page
from harness.labelling.pairs import compared_pairs
from harness.labels import read_labels
from harness.store import Store
from harness.suite import Suite


def write_page(
    suite: Suite, store: Store, output: Path, *, judge: str | None = None, count: int = 50, seed: int = 0
) -> Iterator[str]:
    """Write the page for `count` pairs and say, line by line, what is on it.

    InputError where the suite's judges have nothing to compare yet.
    """
    compared = compared_pairs(suite, store, judge)
    pairs = compared.drawn(count, seed)
    if not pairs:
        raise InputError(_why_none(compared.missing), where=suite.display_path, fix=_fix(suite))
    try:
        output.write_text(label_page(suite.name, pairs, seed), encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(output)) from error
    if compared.missing:
        yield f"without {', '.join(compared.missing)}: no answers in the store"
    many = "pair" if len(pairs) == 1 else "pairs"
    yield f"{len(pairs):,} {many} to label, for a browser; it needs no network and saves a file:"
    yield str(output.resolve())
    yield f"then: harness label {suite.display_path} --import FILE"


def _why_none(missing: Sequence[str]) -> str:
    if missing:
        return f"no answers of {', '.join(missing)} in the store"
    return "no two answers differ, so there is nothing to label"


def _fix(suite: Suite) -> str:
    return f"run the suite first: harness run {suite.display_path}"


def take_in(suite: Suite, store: Store, files: Sequence[Path]) -> Iterator[str]:
    """Bring saved files into labels/ beside the suite and say, line by line, what came of it."""
    saved = [read_labels(path) for path in files]
    compared = compared_pairs(suite, store)
    known = None if compared.missing and not compared.pairs else compared.digests()
    yield from describe(suite, import_labels(suite, saved, known))
