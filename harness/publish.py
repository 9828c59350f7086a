"""From a rank artifact to a report folder; nothing is written where nothing changed."""

from __future__ import annotations

import filecmp
import json
import sys
from itertools import zip_longest
from pathlib import Path
from typing import Any

from harness.format import counted
from harness.leaderboard.verdict_lines import READING
from harness.report.files import FILES, VERDICTS, write_report
from harness.report.text import visible
from harness.whole_files import telling


def publish(artifact: Path, folder: Path) -> bool:
    """Render the results into `folder` and copy them there; False if they were there already, rendered."""
    fix = "name another place by --reports; the results are kept and nothing is done again"
    with telling("the report cannot be written", folder, fix):
        if (folder / "index.html").is_file() and all(_same(artifact / name, folder / name) for name in FILES):
            return False
        folder.mkdir(parents=True, exist_ok=True)
        reread = _read_otherwise(artifact / VERDICTS, folder / VERDICTS)
        write_report(folder, artifact)
    if reread:
        verb = "is" if reread == 1 else "are"
        what = f"{counted(reread, 'verdict')} that had been read again {verb} put back as the run read them"
        print(f"warning: {visible(str(folder))}: {what}; run harness report --reparse again", file=sys.stderr)
    return True


def _read_otherwise(one: Path, other: Path) -> int:
    """In how many lines two files of verdicts differ, where all else but what was read is the same."""
    if not (one.is_file() and other.is_file()):
        return 0
    count = 0
    with one.open("rb") as ours, other.open("rb") as theirs:
        for mine, yours in zip_longest(ours, theirs, fillvalue=b""):
            if mine != yours:
                before, after = _without_reading(mine), _without_reading(yours)
                if before is None or before != after:
                    return 0
                count += 1
    return count


def _without_reading(line: bytes) -> dict[str, Any] | None:
    """A verdict without what was read out of its reply; None where the line is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return {k: v for k, v in found.items() if k not in READING} if isinstance(found, dict) else None


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and filecmp.cmp(one, other, shallow=False)
