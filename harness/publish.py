"""From a rank artifact to a report folder; nothing is written where nothing changed."""

from __future__ import annotations

import filecmp
import shutil
from pathlib import Path

from harness.errors import InputError
from harness.report import render
from harness.report.files import EXAMPLES, RESULTS, VERDICTS

FILES = (RESULTS, EXAMPLES, VERDICTS)


def publish(artifact: Path, folder: Path) -> bool:
    """Copy the results into `folder` and render them; False if they were there already, rendered."""
    if (folder / "index.html").is_file() and all(_same(artifact / name, folder / name) for name in FILES):
        return False
    try:
        _write(artifact, folder)
    except OSError as error:
        fix = "name another place by --reports; the results are kept and nothing is done again"
        raise InputError(
            f"the report cannot be written: {error.strerror}", where=str(folder), fix=fix
        ) from error
    return True


def _write(artifact: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.html").unlink(missing_ok=True)  # a page that is there belongs to the results beside it
    for name in FILES:
        shutil.copyfile(artifact / name, folder / name)
    render(folder)


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
