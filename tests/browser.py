"""A real browser for tests of pages: the Chromium or Chrome of this computer, shut off from every network."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
STATE = """JSON.stringify({
    ready: document.readyState, width: innerWidth, canvases: [...document.querySelectorAll('canvas')].map(c => c.width),
    images: [...document.images].map(i => [i.complete, i.naturalWidth]),
})"""
LOCAL = ("file:", "data:", "blob:", "about:")


@dataclass
class Seen:
    """What a page did while it was open: requests beyond the file itself, console errors, dialogs."""

    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)


def found() -> str | None:
    """The browser of this computer."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    return next((place for place in PLACES if Path(place).is_file()), None)


def wait_for(frame: Any, true: str, seconds: float = 60) -> None:
    """Until an expression of JavaScript holds; asked from outside, since the policy of crow's pages forbids eval.

    A headless browser may draw nothing that nobody asks for, and a frame hears of its size when it is drawn: a picture
    of the page is taken between the questions.
    """
    page = getattr(frame, "page", frame)
    ends = time.monotonic() + seconds
    while not frame.evaluate(true):
        assert time.monotonic() < ends, f"in {seconds} s it never came true that {true}: {frame.evaluate(STATE)}"
        page.wait_for_timeout(50)
        page.screenshot()


@contextmanager
def opened(
    place: Path | str, width: int = 1200, height: int = 900, dark: bool = False
) -> Iterator[tuple[Any, Seen]]:
    """A page in a headless browser: that of a file, or of a server on this computer.

    Every request to another address is refused and noted.
    """
    path = found()
    if path is None:
        pytest.skip("no Chromium or Chrome here: install one (Debian: apt-get install chromium) for this test")
    from playwright.sync_api import Page, sync_playwright

    seen = Seen()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        own = place if isinstance(place, str) else place.resolve().as_uri()
        allowed = (*LOCAL, own) if isinstance(place, str) else LOCAL
        context = browser.new_context(
            viewport={"width": width, "height": height}, offline=isinstance(place, Path),
            color_scheme="dark" if dark else "light", accept_downloads=True,
        )  # fmt: skip
        context.route("**", lambda route: route.continue_() if route.request.url.startswith(allowed) else route.abort())
        page: Page = context.new_page()
        context.on("request", lambda one: None if one.url.startswith(allowed) else seen.requests.append(one.url))
        page.on("console", lambda said: seen.errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(own)
        try:
            yield page, seen
        finally:
            browser.close()
