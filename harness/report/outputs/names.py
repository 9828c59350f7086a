"""Names of candidates and suites as names of folders and files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from harness.text import well_formed

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_OTHER = re.compile(r"[^A-Za-z0-9.-]+")
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""What Windows takes for a device, whatever its folder."""


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """Name -> the name of its folder: itself where it can be one, else made safe, with a digest of it.

    No two are alike on a file system that does not tell upper from lower case.
    """
    alike = Counter(name.casefold() for name in names)
    return {
        name: name if _can_be_a_folder(name) and alike[name.casefold()] == 1 else safe_name(name)
        for name in names
    }


def safe_name(name: str) -> str:
    """A name of letters, digits, dots and dashes that no other name has."""
    digest = hashlib.sha256(well_formed(name).encode()).hexdigest()[:8]
    return f"{_OTHER.sub('-', name).strip('.-')[:40] or 'unnamed'}-{digest}"


def _can_be_a_folder(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not name.endswith(".") and not _DEVICES.fullmatch(name)
