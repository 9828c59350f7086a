"""Parameters that a model refuses: which they are, and what it is asked instead.

Some of OpenAI's models take `max_completion_tokens` and not `max_tokens`, and no temperature but their own;
other servers know `max_tokens` alone. Only the server can tell, by refusing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.chat.replies import RequestRejected

OTHER_NAMES = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
OPTIONAL = ("temperature", "seed", "top_p")
"""Parameters that some models reject; a reply without them is as good."""
UNSUPPORTED = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed", re.IGNORECASE
)
CODES = ("unsupported_parameter", "unsupported_value")

Adjustments = Mapping[str, str | None]
"""A parameter -> the name that the model knows it by, or None where it is left out."""


def adjust(request: Mapping[str, Any], adjustments: Adjustments) -> dict[str, Any]:
    """The request as the model takes it."""
    sent = {adjustments.get(name, name): value for name, value in request.items()}
    return {name: value for name, value in sent.items() if name is not None}


def adjustments_after(
    rejected: RequestRejected, request: Mapping[str, Any], adjustments: Adjustments
) -> dict[str, str | None] | None:
    """The adjustments with the one that a rejection asks for; None if it asks for none, or again."""
    sent = adjust(request, adjustments)
    for name in (*OTHER_NAMES, *OPTIONAL):
        if name in request and name in sent and name not in adjustments and _is_refused(name, rejected):
            return {**adjustments, name: OTHER_NAMES.get(name)}
    return None


def advised(
    rejected: RequestRejected, request: Mapping[str, Any], adjustments: Adjustments
) -> RequestRejected:
    """The rejection, with what to do where a parameter is refused under its other name too."""
    for name, other in adjustments.items():
        if name in request and other is not None and _is_refused(other, rejected):
            what = f"{rejected}; the model takes neither {name} nor {other}: set {name}: null"
            return RequestRejected(
                what, status=rejected.status, code=rejected.code, parameter=rejected.parameter
            )
    return rejected


def _is_refused(name: str, rejected: RequestRejected) -> bool:
    """Whether a model does not know this parameter, or takes no such value of it."""
    if rejected.code in CODES and rejected.parameter:
        return rejected.parameter == name
    said = str(rejected)
    return re.search(rf"\b{name}\b", said) is not None and UNSUPPORTED.search(said) is not None
