"""What the tests of the examples read off the page and do there."""

from __future__ import annotations

import re
from typing import Any

from browsing import sync_api

Json = dict[str, Any]


def wait_for_hash(page: Any, part: str) -> None:
    sync_api.expect(page).to_have_url(re.compile(re.escape(part)))


def count(page: Any) -> str:
    return str(page.locator("#count").inner_text())


def numbers(page: Any) -> list[int]:
    return [int(text[1:].replace(",", "")) for text in page.locator(".permalink").all_inner_texts()]


def check(page: Any, *filters: str) -> None:
    for name in filters:
        page.locator(f"[name=show][value={name}]").check()
    wait_for_hash(page, filters[-1])


def orders(line: Json, judge: str, candidate: str, opponent: str) -> list[str]:
    """What a judge said of a candidate, as outcomes for it: shown first, then second."""
    given = [v for v in line["verdicts"][judge].get(candidate, ()) if v["opponent"] == opponent]
    won = {
        ("first", True): "win",
        ("second", False): "win",
        ("first", False): "loss",
        ("second", True): "loss",
    }
    given.sort(key=lambda verdict: not verdict["candidate_first"])
    return [won.get((v["choice"], v["candidate_first"]), v["choice"]) for v in given]
