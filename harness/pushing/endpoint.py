"""Where the Hub is: HF_ENDPOINT, looked at before huggingface_hub takes it, and shown without a password."""

from __future__ import annotations

import ipaddress
import os
from urllib.parse import SplitResult, urlsplit

from harness.errors import InputError
from harness.report.text import one_line

DEFAULT_ENDPOINT = "https://huggingface.co"


def endpoint() -> str:
    """The address that is asked; InputError where HF_ENDPOINT is none."""
    return _address(_parts())


def shown() -> str:
    """The address without a name and password that may stand in it."""
    parts = _parts()
    return one_line(_address(parts._replace(netloc=parts.netloc.rpartition("@")[2])))


def unsafe() -> str:
    """Why the token would be read on the way; empty where it would not."""
    parts = _parts()
    if parts.scheme == "https" or _is_here(parts.hostname or ""):
        return ""
    return f"{shown()} (HF_ENDPOINT) is not https: whoever is on the way can read the token and the weights"


def _address(parts: SplitResult) -> str:
    return parts.geturl().rstrip("/")


def _parts() -> SplitResult:
    text = (os.environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT).rstrip("/")
    fix = f"give an address as {DEFAULT_ENDPOINT}, or unset it"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise InputError("HF_ENDPOINT is no address", fix=fix) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not text.isprintable():
        raise InputError("HF_ENDPOINT is no address", fix=fix)
    return parts


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
