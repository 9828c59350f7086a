"""HTTP as this package wants it of a server that it does not trust: in bounded time, of bounded size.

The openai client's timeout is one for each read, and its replies may be of any length. It also follows
redirects, and so may show what is asked to a server that nobody has named.
"""

from __future__ import annotations

import time
from typing import Any

import httpx2

LARGEST_REPLY = 8 * 2**20
"""Bytes of a reply, once it is unpacked; a completion has a few thousand."""
FILES = ("/files", "/content")
"""How the addresses of a batch's files end: these may be large, and slow."""
ADDED_BY_TRANSFER = ("content-encoding", "content-length", "transfer-encoding")


class BoundedClient(httpx2.Client):
    """A client whose timeout holds for a whole reply as well, and that follows no redirect.

    Raises httpx2.ReadTimeout for a reply that takes longer, httpx2.ReadError for one that is longer than
    LARGEST_REPLY.
    """

    def __init__(self) -> None:
        # The throttle says how many are in flight; the pool need not.
        super().__init__(follow_redirects=False, limits=httpx2.Limits(max_keepalive_connections=100))

    def send(self, request: httpx2.Request, *, stream: bool = False, **more: Any) -> httpx2.Response:
        """The response, read to its end; `stream` is for the files of batches, and for them alone."""
        if request.url.path.endswith(FILES):
            return super().send(request, stream=stream, **more)
        seconds = request.extensions.get("timeout", {}).get("read")
        end = None if seconds is None else time.monotonic() + seconds
        response = super().send(request, stream=True, **more)
        try:
            content = _content(response, end)
        finally:
            response.close()
        headers = [(name, value) for name, value in response.headers.multi_items() if _is_kept(name)]
        return httpx2.Response(
            response.status_code,
            headers=headers,
            content=content,
            request=request,
            extensions=response.extensions,
        )


def _content(response: httpx2.Response, end: float | None) -> bytes:
    content, is_late = bytearray(), False
    for piece in response.iter_bytes():
        if is_late:  # what was late but is whole has been paid for, and is taken
            raise httpx2.ReadTimeout("the reply takes too long")
        content += piece
        if len(content) > LARGEST_REPLY:
            raise httpx2.ReadError(f"the reply is longer than {LARGEST_REPLY // 2**20} MB")
        is_late = end is not None and time.monotonic() > end
    return bytes(content)


def _is_kept(header: str) -> bool:
    return header.lower() not in ADDED_BY_TRANSFER
