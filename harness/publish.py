"""From a rank artifact to a report folder; nothing is written where nothing changed."""

from __future__ import annotations

import filecmp
from pathlib import Path

from harness.report.files import FILES, write_report
from harness.whole_files import telling


def publish(artifact: Path, folder: Path) -> bool:
    """Render the results into `folder` and copy them there; False if they were there already, rendered."""
    fix = "name another place by --reports; the results are kept and nothing is done again"
    with telling("the report cannot be written", folder, fix):
        if (folder / "index.html").is_file() and all(_same(artifact / name, folder / name) for name in FILES):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        write_report(folder, artifact)
    return True


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
