"""An answer of 32,000 tokens: the document changes once per frame, and its size is bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from playwright.sync_api import expect

from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving
from support.browser import Visit

pytestmark = pytest.mark.all

NUM_TOKENS = 32_000
MOST_NODES = 3_000
"""Nodes of the conversation: those of two windows of text, and a box for each other chunk."""

COUNT_UPDATES = """() => {
    const list = document.querySelector('.conversation');
    const state = window.counted = { frame: 0, most: 0, inFrame: 0, updates: 0, nodes: 0 };
    new MutationObserver(() => {
        state.updates += 1;
        state.inFrame += 1;
        state.most = Math.max(state.most, state.inFrame);
        state.nodes = Math.max(state.nodes, list.querySelectorAll('*').length);
    }).observe(list, { subtree: true, childList: true, characterData: true, attributes: true });
    const next = () => { state.frame += 1; state.inFrame = 0; requestAnimationFrame(next); };
    requestAnimationFrame(next);
}"""


def words(request: GenerationRequest, index: int) -> Iterator[int]:
    """Paragraphs without end."""
    text = cycle(("A quiet river carries small lanterns past the sleeping town. " * 12 + "\n\n").encode())
    return iter(text)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving(FakeEngine(words, context_length=40_000)) as server:
        yield server


def test_a_long_answer_keeps_the_page_usable(api: ApiServer, visit: Callable[..., Visit]) -> None:
    tab = visit(api.root).playground(f"/playground#max_tokens={NUM_TOKENS}&tokens=false")
    tab.page.evaluate(COUNT_UPDATES)
    api.engine.pause()
    tab.send("Tell me all of it.")
    api.engine.wait_for(lambda stats: stats.waiting == 1)
    for _ in range(200):
        api.engine.step()
    tab.message.press_sequentially("typed while it streams")
    for _ in range(200):
        api.engine.step()
    expect(tab.page.locator(".answer .markdown").last).to_contain_text("lanterns")
    expect(tab.message).to_have_value("typed while it streams")
    api.engine.resume()
    expect(tab.page.locator(".facts")).to_contain_text(f"{NUM_TOKENS} tokens", timeout=100_000)

    counted = tab.page.evaluate("window.counted")
    assert counted["updates"] > 10
    assert counted["most"] <= 2  # the one of a frame, and one that the reader causes between frames
    assert counted["nodes"] <= MOST_NODES
    tab.page.evaluate("document.querySelector('.conversation').scrollTop = 0")
    expect(tab.page.locator(".answer .markdown").first).to_be_visible()
