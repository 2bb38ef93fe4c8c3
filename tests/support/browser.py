"""A real Chromium, offline, that writes down every request and every console message."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def chromium() -> str:
    """Where Chromium is; skips the test, saying why, where there is none."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine (Debian package: chromium)")
    return found


@dataclass
class Seen:
    """What a page did."""

    requests: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def watch(self, page: Any) -> None:
        """Write down requests, console messages and errors from now on."""
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))

    @property
    def outside(self) -> list[str]:
        """Requests for anything but files, and data in the page."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


@contextmanager
def browser(arguments: Sequence[str] = ARGUMENTS) -> Iterator[Any]:
    """A browser with a fresh profile."""
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        running = play.chromium.launch(executable_path=path, args=list(arguments))
        try:
            yield running
        finally:
            running.close()


@contextmanager
def opened(running: Any, url: str, *, width: int = 1280, **options: Any) -> Iterator[tuple[Any, Seen]]:
    """A page opened with the network off."""
    context = running.new_context(viewport={"width": width, "height": 900}, **options)
    try:
        context.set_offline(True)
        page, seen = context.new_page(), Seen()
        seen.watch(page)
        page.goto(url)
        yield page, seen
    finally:
        context.close()
