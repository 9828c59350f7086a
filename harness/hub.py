"""A Hub revision is pinned to a commit before it enters a key: `main` moves, results must not."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from harness.errors import InputError

COMMIT = re.compile(r"[0-9a-f]{40}")


def pin(repo_id: str, revision: str | None, kind: Literal["model", "dataset"], *, where: str = "") -> str:
    """The commit that `revision` (default `main`) names.

    What the local cache already holds decides, so that a suite stays on the version it was first run
    with and works offline; otherwise the Hub is asked. InputError where neither knows.
    """
    name = revision or "main"
    if COMMIT.fullmatch(name):
        return name
    cached = _cache() / f"{kind}s--{repo_id.replace('/', '--')}" / "refs" / name
    if cached.is_file():
        return cached.read_text(encoding="utf-8").strip()
    return _ask(repo_id, name, kind, where)


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE keeps this process from the Hub; read anew, which huggingface_hub does once."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}


def _cache() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()


def _ask(repo_id: str, revision: str, kind: str, where: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    def refusal(what: str) -> InputError:
        fix = "give a local folder, or check the name, HF_TOKEN and the network"
        return InputError(f"{kind} '{repo_id}' {what}", where=where, fix=fix)

    if is_offline():
        raise refusal("is not in the local cache and HF_HUB_OFFLINE is set")
    try:
        sha = HfApi().repo_info(repo_id, revision=revision, repo_type=kind, timeout=15).sha
    except (HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        raise refusal(f"at revision '{revision}' is not to be had from the Hub ({reason})") from error
    except Exception as error:  # httpx, requests and sockets each have a tree of their own
        raise refusal("is not in the local cache and the Hub cannot be reached") from error
    if sha is None:
        raise refusal(f"has no commit at revision '{revision}'")
    return sha
