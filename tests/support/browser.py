"""Chromium, and visits of a server's pages: all that a visit may not do is noted, and is empty at its end."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

T = TypeVar("T")

LIMIT_MS = 90_000  # a browser on a busy machine may need seconds for each question
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}

expect.set_options(timeout=LIMIT_MS)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium. Playwright downloads none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("This test needs Chromium. Run scripts/test --all, or: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Visit:
    """A tab with a page of a server."""

    root: str
    page: Page
    expects_failures: bool = False
    """Whether requests may fail: the browser then writes so to its console."""
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(LIMIT_MS)
        self.page.on("request", lambda request: self._note_request(request.url))
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))

    def _note_request(self, url: str) -> None:
        if not url.startswith((self.root, f"blob:{self.root}", "data:")):
            self.faults.append(f"a request to another origin: {url}")

    def _note_message(self, message: Any) -> None:  # Any: a ConsoleMessage
        is_of_network = message.text.startswith("Failed to load resource") and self.expects_failures
        if message.type in ("error", "warning") and not is_of_network:
            self.faults.append(f"console: {message.text} ({message.location['url']})")

    def open(self, path: str) -> Visit:
        self.page.goto(self.root + path)
        return self

    # --- the playground ---

    @property
    def message(self) -> Locator:
        return self.page.locator(".composer textarea")

    @property
    def answers(self) -> Locator:
        return self.page.get_by_label("Answer", exact=True)

    def playground(self, path: str = "/playground") -> Visit:
        """Open the playground, and wait until a message can be sent."""
        self.open(path)
        expect(self.page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
        return self

    def send(self, text: str) -> Visit:
        self.message.fill(text)
        self.message.press("Enter")
        return self

    def wait_for_answers(self) -> Visit:
        """Wait until all answers have ended: also those that were just asked for, and are shown in the next frame."""
        self.page.evaluate(_NEXT_FRAMES)
        expect(self.page.get_by_role("button", name="Send", exact=True)).to_be_visible()
        expect(self.page.locator(".answer[aria-busy=true]")).to_have_count(0)
        return self

    def ask(self, text: str) -> Visit:
        return self.send(text).wait_for_answers()

    def field(self, name: str, pane: int = 0) -> Locator:
        """The control of a request field."""
        return self.page.locator(".pane-settings").nth(pane).locator(f'[name="{name}"]')

    # --- checks ---

    def violations(self) -> list[str]:
        """What axe finds: each rule with the elements that break it."""
        found = Axe().run(self.page).response["violations"]
        return [f"{rule['id']}: {node['html']}" for rule in found for node in rule["nodes"]]

    @property
    def overflow(self) -> int:
        """How many pixels the document is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return wider


_NEXT_FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
"""The page renders in animation frames: what was just clicked or typed is shown after the next one."""


@contextmanager
def visiting(browser: Browser, root: str, *, expects_failures: bool = False, **context: Any) -> Iterator[Visit]:
    """A visit in a context of its own. Fails at its end if it did what it may not."""
    with _context(browser, **context) as opened:
        visit = Visit(root, opened.new_page(), expects_failures)
        yield visit
        assert not visit.faults, visit.faults


class Visiting:
    """Opens tabs for servers. What a page may not do fails the test at its end."""

    def __init__(self, browser: Browser, stack: ExitStack) -> None:
        self._browser = browser
        self._stack = stack

    def __call__(self, root: str, **given: Any) -> Visit:
        return self._stack.enter_context(visiting(self._browser, root, **given))

    def server(self, starting: AbstractContextManager[T]) -> T:
        """A server that ends after the tabs that are opened from now on: they ask it until they are closed."""
        return self._stack.enter_context(starting)


@contextmanager
def _context(browser: Browser, **given: Any) -> Iterator[BrowserContext]:
    context = browser.new_context(**{"viewport": DESKTOP, "accept_downloads": True, **given})
    try:
        yield context
    finally:
        context.close()
