"""A browser for the tests of a file: while Playwright runs, no other event loop can run in its thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, parrot, serving
from support.browser import Visit, chromium, visiting

Visiting = Callable[..., Visit]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """A function that opens a tab for a server. What a page may not do fails the test at its end."""
    with ExitStack() as stack:

        def begin(root: str, **given: Any) -> Visit:
            return stack.enter_context(visiting(browser, root, **given))

        yield begin


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot, context_length=50_000)) as server:
        yield server


@pytest.fixture
def playground(api: ApiServer, visit: Callable[..., Visit]) -> Visit:
    return visit(api.root).playground()
