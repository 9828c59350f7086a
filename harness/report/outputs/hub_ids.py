"""What can be the id of a model or a dataset on the Hub."""

from __future__ import annotations

import re

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"
_WITH_OWNER = re.compile(f"{_NAME}/{_NAME}")


def hub_model(name: str) -> str | None:
    """The name, if it can be a model's id."""
    return name if re.fullmatch(f"(?:{_NAME}/)?{_NAME}", name) else None


def hub_dataset(source: str) -> str | None:
    """A data source, if it is a dataset with its owner: a file's name has no slash in a report."""
    return source if _WITH_OWNER.fullmatch(source) else None
