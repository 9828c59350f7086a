"""A real browser that opens what we write from disk, and keeps account of what a page does there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install '.[test]'")

PLACES = ("/usr/lib/chromium/chromium-headless-shell", "chromium-headless-shell", "chromium", "google-chrome")


class Reader:
    """A browser page that keeps account of requests, console messages and dialogs."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))

    def open(self, index: Path, fragment: str = "") -> Any:
        self.page.goto(index.as_uri() + fragment)
        return self.page


def chromium() -> str:
    """Debian's chromium-headless-shell, or another Chromium on the path; never playwright's own download."""
    program = next((found for place in PLACES if (found := shutil.which(place))), None)
    if program is None:
        pytest.skip("needs a browser: apt-get install chromium-headless-shell")
    return program
