"""Names of candidates and suites as names of folders and files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_OTHER = re.compile(r"[^A-Za-z0-9.-]+")
_OTHER_OR_DOTS = re.compile(r"[^A-Za-z0-9-]+")
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
"""What Windows takes for a device, whatever its folder."""


def folder_names(names: Sequence[str]) -> dict[str, str]:
    """Name -> the name of its folder: itself where it can be one, else made safe, with a digest of it.

    No two are alike on a file system that does not tell upper from lower case.
    """
    alike = Counter(name.casefold() for name in names)
    safe = {name: _safe_name(name) for name in names}
    taken = {folder.casefold() for folder in safe.values()}
    return {
        name: name if _can_be_a_folder(name) and alike[key] == 1 and key not in taken else safe[name]
        for name in names
        for key in (name.casefold(),)
    }


def task_name(results: Mapping[str, Any]) -> str:
    """The suite's name as that of lm-eval's task, which is part of a file's name."""
    return _OTHER.sub("_", str(results["suite"]["name"])).strip("_.")[:80] or "suite"


def _safe_name(name: str) -> str:
    """A name of letters, digits and dashes that no other has; what stands before a dot may be a device."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{_OTHER_OR_DOTS.sub('-', name).strip('-')[:40] or 'unnamed'}-{digest}"


def _can_be_a_folder(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not name.endswith(".") and not _DEVICES.fullmatch(name)
