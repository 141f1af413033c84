"""A browser for the tests of a file: while Playwright runs, no other event loop can run in its thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, serving
from support.browser import Visit, Visiting, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    with ExitStack() as stack:
        yield Visiting(browser, stack)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot, context_length=50_000)) as server:
        yield server


@pytest.fixture
def playground(api: ApiServer, visit: Visiting) -> Visit:
    return visit(api.root).playground()
