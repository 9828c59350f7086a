"""Text as a file can hold it."""

from __future__ import annotations


def well_formed(text: str) -> str:
    """`text` as UTF-8 can hold it: halves of a surrogate pair are joined, a lone one becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
