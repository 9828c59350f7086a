"""From files of verdicts to their whole analysis, as one JSON value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.judging.agreement import agreement
from harness.judging.analysis import analyse
from harness.judging.published import published_ratings
from harness.judging.readers import read
from harness.validation import suggestion

Json = dict[str, Any]
VERSION = 1
"""The form of analysis.json."""


def summarize(paths: Sequence[Path], *, against: str | None = None, with_elo: bool = False) -> Json:
    """{"version", "files", "judges": {name: analysis}, "agreement", "notes"}.

    With `against`, judges that know no such player are left out, with a note; InputError if none does.
    """
    reading = read(paths)
    judges = dict(reading.judges)
    notes = list(reading.notes)
    if against is not None:
        known = {player for table in judges.values() for player in table.players}
        if against not in known:
            raise InputError(f"no verdict on {against!a}", fix=suggestion(against, known))
        for name in [name for name, table in judges.items() if against not in table.players]:
            notes.append(f"judge {name} is left out: it has no verdict on {against}")
            del judges[name]
    found = {name: analyse(table, against=against) for name, table in judges.items()}
    believed = {name: table for name, table in judges.items() if not found[name]["refused"]}
    if len(judges) > 1:
        unread = [name for name in judges if name not in believed]
        notes += [f"judge {name} has no part in the agreement: it is not believed" for name in unread]
    if with_elo:
        for name, table in judges.items():
            found[name]["elo"] = published_ratings(table)
    return {
        "version": VERSION,
        "files": [path.name for path in paths],
        "judges": found,
        "agreement": agreement(believed),
        "notes": notes,
    }
