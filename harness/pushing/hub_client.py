"""Sends files to a model repository of the Hub, in one commit, and says in a line what went wrong.

`HfApi.create_commit` and not `upload_folder`, which huggingface_hub 2 may cut into several commits. The token
is read where huggingface_hub keeps it (HF_TOKEN, `hf auth login`) and is never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from harness.errors import HubError, InputError
from harness.hub import is_offline
from harness.pushing.answers import watched
from harness.pushing.bounded import heard, within, without_bars
from harness.pushing.endpoint import endpoint, shown
from harness.pushing.faults import MESSAGE_LIMIT, TOKENS, safe, told
from harness.pushing.payload import Payload
from harness.report.text import one_line, shorten

TIMEOUT_SECONDS = 120.0
"""For a server that says nothing; huggingface_hub itself would wait for ever."""
DEADLINE_SECONDS, BYTES_PER_SECOND = 600.0, 50_000
"""A step of an upload has so long, and beside that the time that its bytes take on a slow line."""
_WANTED = "give OWNER/NAME"
_RETRIES = re.compile(r"thrown while requesting|^Retrying in \d")
"""huggingface_hub tries again within seconds; where that fails too the error says why."""


def check_repo(repo: str) -> None:
    """InputError where this cannot be a repository's name."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise InputError(
            f"'{repo}' is no name of a repository ({one_line(str(error))})", fix=_WANTED
        ) from None
    if "/" not in repo:
        raise InputError(f"'{repo}' does not say whose repository it is", fix=_WANTED)


def send(
    payload: Payload,
    repo: str,
    *,
    private: bool,
    message: str,
    tell: Callable[[str], None],
    timeout: float = TIMEOUT_SECONDS,
    deadline: float = DEADLINE_SECONDS,
) -> str:
    """Create the repository if need be and commit the files; returns the address of the repository.

    `tell` gets what is to be said beside that, a line at a time. Raises InputError without a token, HubError
    where the Hub refuses, leaves files out or does not answer in time.
    """
    from huggingface_hub import HfApi

    token = _token()
    _no_registry()
    push = _Push(HfApi(endpoint=endpoint(), token=token), payload, repo, deadline)

    def warn(text: str) -> None:
        if not _RETRIES.search(text):
            tell(f"warning: {safe(text, token)}")

    with watched(timeout, deadline) as answers, without_bars(), heard(warn, "huggingface_hub"):
        try:
            push.create(private=private)
            if push.made != repo:
                tell(f"the Hub calls {repo} {push.made}")
            push.commit(message)
        except HubError:
            raise
        except KeyboardInterrupt:
            tell(push.stopped())
            raise
        except Exception as error:  # httpx, xet and sockets each have a tree of their own
            raise HubError(told(error, token, status=answers.status, there=push.there)) from None
    return f"{shown()}/{push.made}"


def _token() -> str:
    from huggingface_hub import get_token

    if is_offline():
        raise InputError("HF_HUB_OFFLINE is set", fix="unset it to push")
    token = get_token()
    if not token:
        raise InputError("no token for the Hub", fix=f"set HF_TOKEN to one that may write ({TOKENS})")
    return str(token)


class _Push:
    """The steps of an upload, each within its time, and how far they came: `made` is the repository's id."""

    def __init__(self, api: Any, payload: Payload, repo: str, deadline: float) -> None:
        self._api, self._payload, self._repo, self._deadline = api, payload, repo, deadline
        self._committing = False
        self.made = ""

    def create(self, *, private: bool) -> None:
        """Create the repository unless it is there."""
        create = partial(
            self._api.create_repo, self._repo, repo_type="model", private=private or None, exist_ok=True
        )
        made = str(within(self._deadline, create).repo_id)
        check_repo(made)
        self.made = made

    def commit(self, message: str) -> None:
        """Upload the files and commit them; HubError where the Hub leaves any out."""
        from huggingface_hub import CommitOperationAdd

        files = self._payload.files
        added = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.source) for file in files]
        allowed = self._deadline + sum(file.size for file in files) / BYTES_PER_SECOND
        within(allowed, partial(self._api.preupload_lfs_files, self.made, added, repo_type="model"))
        self._refuse_ignored(added)
        self._committing = True
        commit = partial(self._api.create_commit, self.made, added, commit_message=message, repo_type="model")
        within(allowed, commit)
        self._refuse_ignored(added)

    def _refuse_ignored(self, added: Sequence[Any]) -> None:
        """HubError where the Hub leaves files out, of which huggingface_hub says nothing."""
        ignored = [one.path_in_repo for one in added if one._should_ignore]
        if ignored:
            named = shorten(", ".join(map(one_line, ignored)), MESSAGE_LIMIT)
            fix = f"take what matches them out of {self.made}'s .gitignore and push again"
            left = self.there(True)
            raise HubError(f"the Hub would leave out {named}, so nothing was committed{left}; {fix}")

    def there(self, settled: bool) -> str:
        """What is there after an error, to go on with; nothing before the repository is there.

        An error that does not settle it leaves open whether a commit that was sent is made.
        """
        late = ", unless the Hub makes it yet" if self._committing and not settled else ""
        return f"; {self.made} is there and has no new commit{late}" if self.made else ""

    def stopped(self) -> str:
        """What is there after Ctrl-C."""
        return f"stopped{self.there(False) or f'; {self._repo} has no new commit'}"


def _no_registry() -> None:
    """Keep huggingface_hub from asking for its list of coding agents.

    It keeps whatever answers for a day, a page to log in at too, and fails with every request until then.
    """
    with suppress(ImportError):
        from huggingface_hub.utils import _detect_agent

        _detect_agent._registry = {"standardEnvVars": [], "harnesses": {}}
