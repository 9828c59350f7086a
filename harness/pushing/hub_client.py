"""Sends files to a model repository of the Hub, in one commit, and says in a line what went wrong.

`HfApi.create_commit` and not `upload_folder`, which huggingface_hub 2 may cut into several commits. The token
is read where huggingface_hub keeps it (HF_TOKEN, `hf auth login`) and is never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from harness.errors import HubError, InputError
from harness.hub import is_offline
from harness.pushing.bounded import DeadlinePassedError, heard, within
from harness.pushing.endpoint import endpoint, shown
from harness.pushing.payload import Payload
from harness.report.text import one_line, shorten

TIMEOUT_SECONDS = 120.0
"""For a server that says nothing; huggingface_hub itself would wait for ever."""
DEADLINE_SECONDS, BYTES_PER_SECOND = 600.0, 50_000
"""A step of an upload has so long, and beside that the time that its bytes take on a slow line."""
_MESSAGE_LIMIT = 200
_WANTED = "give OWNER/NAME"
_TOKENS = "huggingface.co/settings/tokens"
_REMEDIES = {
    400: "what it says is wrong with the upload has to be mended",
    401: f"the token is not known there: give a valid one in HF_TOKEN ({_TOKENS})",
    402: "its owner has to have a plan that allows this",
    403: f"the token may not write there: give one with the right to write ({_TOKENS}), or another owner",
    404: "check the owner's name, and that the token may see the repository",
    409: "somebody else changed the repository at the same time: push again",
    412: "somebody else changed the repository at the same time: push again",
    413: "a file is larger than the server takes",
    429: "too many requests: wait a few minutes and push again",
}


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
    from huggingface_hub import HfApi, get_session

    token = _token()
    _no_registry()
    get_session().timeout = timeout
    push = _Push(HfApi(endpoint=endpoint(), token=token), payload, repo, deadline)
    try:
        with heard(lambda text: tell(f"warning: {_safe(text, token)}"), "huggingface_hub"):
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
        raise HubError(_told(error, token)) from None
    return f"{shown()}/{push.made}"


def _token() -> str:
    from huggingface_hub import get_token

    if is_offline():
        raise InputError("HF_HUB_OFFLINE is set", fix="unset it to push")
    token = get_token()
    if not token:
        raise InputError("no token for the Hub", fix=f"set HF_TOKEN to one that may write ({_TOKENS})")
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
        self.made = str(within(self._deadline, create).repo_id)
        check_repo(self.made)

    def commit(self, message: str) -> None:
        """Upload the files and commit them; HubError where the Hub leaves any out."""
        from huggingface_hub import CommitOperationAdd

        files = self._payload.files
        added = [CommitOperationAdd(path_in_repo=file.name, path_or_fileobj=file.source) for file in files]
        allowed = self._deadline + sum(file.size for file in files) / BYTES_PER_SECOND
        within(allowed, partial(self._api.preupload_lfs_files, self.made, added, repo_type="model"))
        _refuse_ignored(added, self.made)
        self._committing = True
        commit = partial(self._api.create_commit, self.made, added, commit_message=message, repo_type="model")
        within(allowed, commit)
        _refuse_ignored(added, self.made)

    def stopped(self) -> str:
        """What is there after Ctrl-C."""
        there = f"{self.made} is there and has" if self.made else f"{self._repo} has"
        late = ", unless the Hub makes it yet" if self._committing else ""
        return f"stopped; {there} no new commit{late}"


def _no_registry() -> None:
    """Keep huggingface_hub from asking for its list of coding agents.

    It keeps whatever answers for a day, a page to log in at too, and fails with every request until then.
    """
    with suppress(ImportError):
        from huggingface_hub.utils import _detect_agent

        _detect_agent._registry = {"standardEnvVars": [], "harnesses": {}}


def _refuse_ignored(added: Sequence[Any], repo: str) -> None:
    """HubError where the Hub leaves files out, of which huggingface_hub says nothing."""
    ignored = [one.path_in_repo for one in added if one._should_ignore]
    if ignored:
        named = shorten(", ".join(map(one_line, ignored)), _MESSAGE_LIMIT)
        fix = f"take what matches them out of {repo}'s .gitignore and push again"
        raise HubError(f"the Hub would leave out {named}, so nothing was committed; {fix}")


def _told(error: Exception, token: str) -> str:
    """One line: what the Hub answered, or that it did not, and what can be done about it."""
    from huggingface_hub.errors import HfHubHTTPError

    chain = list(_causes(error))
    refused = next((one for one in chain if isinstance(one, HfHubHTTPError)), None)
    if refused is not None:
        status = refused.response.status_code
        fix = _REMEDIES.get(status, "it is a fault of the server: push again later")
        return f"the Hub at {shown()} answered {status}: {_safe(refused.server_message or '', token)}; {fix}"
    fix = "check the network and HF_ENDPOINT, then push again"
    if isinstance(error, DeadlinePassedError):
        return f"the Hub at {shown()} did not answer in time; {fix}"
    last = chain[-1]
    said = f"{type(last).__name__}: {_safe(str(last), token)}"
    if isinstance(error, InputError | ValueError | LookupError | TypeError | AttributeError):
        return f"what answers at {shown()} is not the Hub, perhaps a page to log in at ({said}); {fix}"
    return f"the Hub at {shown()} cannot be reached or broke off ({said}); {fix}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _safe(text: str, token: str) -> str:
    """A server's words on one line, without the token that it may have been shown."""
    return shorten(one_line(text.replace(token, "…")), _MESSAGE_LIMIT) or "no reason given"
