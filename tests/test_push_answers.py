"""harness push where an answer is a server's fault, a page's, or none at all: one line that is true."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress

import pytest
from commands import HARNESS
from hub_stand_in import TOKEN, Answer, Hub
from test_push import Place, hub, place
from test_push_faults import REPO, WEIGHTS, one_error, payload_of

from harness.errors import HubError
from harness.pushing import send

__all__ = ["hub", "place"]

JSON = {"Content-Type": "application/json"}
HTML = "<html>Log in to the guest network</html>"
THERE = f"{REPO} is there and has no new commit"


def batch_error(*messages: str) -> Answer:
    """What git-lfs's batch API answers for files that it does not take."""
    objects = [
        {"oid": f"{number:064x}", "size": 1, "error": {"code": 413, "message": message}}
        for number, message in enumerate(messages)
    ]
    return Answer(200, json.dumps({"transfer": "basic", "objects": objects}), JSON)


# Progress bars


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "may not write there"), pytest.param(500, "push again later", marks=pytest.mark.slow)],
)
def test_weights_that_fail_draw_no_bars_into_a_pipe(place: Place, hub: Hub, status: int, said: str) -> None:
    hub.faults["/store/"] = (status, "no room")
    line = one_error(place.push("full", REPO, hub=hub))
    assert f"answered {status}: no room" in line
    assert said in line
    assert THERE in line


def pieces_of(terminal: int) -> Iterator[bytes]:
    """What was written to a terminal that nobody holds open any more."""
    with suppress(OSError):
        while piece := os.read(terminal, 10_000):
            yield piece


def test_bars_are_drawn_on_a_terminal(place: Place, hub: Hub) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))  # a bar has no room on a terminal without columns
    env = {**os.environ, "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1",
           "HF_HOME": str(place.base.parent / "hf")}  # fmt: skip
    try:
        done = subprocess.run(
            [HARNESS, "push", "lora-r16", REPO],
            cwd=place.folder, env=env, stdout=subprocess.DEVNULL, stderr=theirs, timeout=600, check=False,
        )  # fmt: skip
        os.close(theirs)
        drawn = b"".join(pieces_of(ours)).decode()
    finally:
        os.close(ours)
    assert done.returncode == 0, drawn
    assert f"{WEIGHTS}: " in drawn


# What is there


def test_a_refusal_after_the_repository_was_made_says_that_it_is_there(place: Place, hub: Hub) -> None:
    hub.faults["/preupload/"] = (403, "no")
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"answered 403: no; {THERE}; the token may not write there" in line
    hub.faults = {"/commit/": (409, "no")}
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"answered 409: no; {THERE}; somebody else" in line


def test_a_connection_that_is_closed_at_the_commit_leaves_it_open(place: Place, hub: Hub) -> None:
    hub.faults["/commit/"], hub.hang_seconds = (0, ""), 0.0
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"{THERE}, unless the Hub makes it yet; check the network" in line


def test_files_that_the_hub_ignores_leave_a_repository(place: Place, hub: Hub) -> None:
    hub.ignored = {WEIGHTS}
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"so nothing was committed; {THERE}; take" in line


def test_a_repository_that_was_not_made_is_not_said_to_be_there(place: Place, hub: Hub) -> None:
    hub.faults["/repos/create"] = (403, "no")
    assert "is there" not in one_error(place.push("lora-r16", REPO, hub=hub))


# Whose fault it is


@pytest.mark.parametrize(
    ("where", "answer", "said"),
    [
        ("/api/validate-yaml", Answer(500, "<html>oops</html>"), "answered 500: no reason given"),
        ("/api/validate-yaml", Answer(502, "bad gateway", {"Content-Type": "text/plain"}), "answered 502"),
        ("/api/validate-yaml", Answer(429, "slow"), "too many requests: wait a few minutes"),
        ("/api/repos/create", Answer(403, "null", JSON), "answered 403: no reason given; the token may not"),
        ("/preupload/", Answer(403, '{"errors": 5}', JSON), "answered 403: no reason given"),
        ("/commit/", Answer(503, "[3]", JSON), "answered 503: no reason given"),
        ("/objects/batch", batch_error("too \x1b[31mbig"), "refused: too ␛[31mbig"),
        (
            "/objects/batch",
            batch_error("over quota", f"not\nwith {TOKEN}"),
            "refused: over quota, not with …;",
        ),
    ],
)
def test_a_refusal_that_says_little_is_a_refusal(
    place: Place, hub: Hub, where: str, answer: Answer, said: str
) -> None:
    hub.answers[where] = answer
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert line.startswith(f"error: the Hub at {hub.url} ")
    assert said in line
    assert "is not the Hub" not in line
    assert "check the network" not in line
    assert "push again later" in line or answer.status < 500


@pytest.mark.parametrize(
    "where", ["/api/repos/create", "/api/validate-yaml", "/preupload/", "/objects/batch"]
)
@pytest.mark.parametrize("answer", [Answer(204), Answer(302), Answer(200, HTML)])
def test_what_is_no_answer_of_the_hub_is_told_with_what_is_wrong(
    place: Place, hub: Hub, where: str, answer: Answer
) -> None:
    hub.answers[where] = answer
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"what answers at {hub.url} is not the Hub" in line
    assert "StopIteration" not in line
    assert f"(answered {answer.status}, JSONDecodeError: Expecting value: line 1 column 1" in line


# Without end


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_of_any_size_is_not_kept(
    place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    hub.answers["/repos/create"] = Answer(status, " " * 2**20, endless=True)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(HubError, match="more than 64 MB") as raised:
        send(payload_of(place), REPO, private=False, message="m", tell=print, deadline=60.0)
    assert "did not answer in time" not in str(raised.value)
    assert hub.flooded < 2**28


@pytest.mark.parametrize("where", ["/preupload/", "/objects/batch", "/store/"])
def test_a_wait_that_is_longer_than_the_time_for_it_is_not_begun(place: Place, hub: Hub, where: str) -> None:
    hub.answers[where] = Answer(503, '{"error": "busy"}', {**JSON, "Retry-After": "100000"})
    line = one_error(place.push("lora-r16", REPO, hub=hub))
    assert f"answered 503: busy; {THERE}; it asks to wait 100,000 s: push again then" in line


HURRIED = """
import sys
from harness.cli import main
from harness.pushing import hub_client
hub_client.BYTES_PER_SECOND = 10**9
hub_client.send.__kwdefaults__["deadline"] = 2.5
main(sys.argv[1:])
"""


@pytest.mark.parametrize("wait", ["1", "Wed, 21 Oct 2099 07:28:00 GMT", "²", "100000", "9" * 5000])
def test_a_server_that_stays_busy_is_given_up_in_time(place: Place, hub: Hub, wait: str) -> None:
    hub.answers["/preupload/"] = Answer(503, '{"error": "busy"}', {**JSON, "Retry-After": wait})
    env = {**os.environ, "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url, "HF_HOME": str(place.base.parent / "hf")}
    done = subprocess.run(
        [sys.executable, "-c", HURRIED, "push", "lora-r16", REPO],
        cwd=place.folder, env=env, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    *warnings, line = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"error: the Hub at {hub.url} answered 503: ")
    assert THERE in line
    assert "push again" in line
    assert all("Waiting 2.0s" in warning for warning in warnings)
    assert wait == "1" or not warnings
