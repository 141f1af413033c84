"""An answer of 32,000 tokens: the document changes once per frame, its size is bounded, and typing goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

import pytest
from playwright.sync_api import expect

from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ApiServer, has, serving
from support.browser import Visiting

pytestmark = pytest.mark.all

NUM_TOKENS = 32_000
TOKENS_PER_S = 200
MOST_NODES = 3_000
"""Nodes of the conversation: those of two windows of text, and a box for each other chunk."""
TYPED = "typed while it streams, and every letter of it arrives; " * 2

NAME_FRAMES = """
    const request = window.requestAnimationFrame.bind(window);
    window.frame = 0;
    let time = 0;
    window.requestAnimationFrame = (change) => request((now) => {
        if (now !== time) window.frame += 1;
        time = now;
        change(now);
    });
"""
"""Numbers the frames, whichever callback is the first of one: all callbacks of a frame are given the same time."""

COUNT_UPDATES = """() => {
    const counted = window.counted = { most: 0, updates: 0, frames: 0, nodes: 0, keys: 0, inputs: 0 };
    const begun = window.frame;
    let [last, inFrame] = [-1, 0];
    new MutationObserver(() => {
        inFrame = window.frame === last ? inFrame + 1 : 1;
        last = window.frame;
        counted.updates += 1;
        counted.most = Math.max(counted.most, inFrame);
        counted.nodes = Math.max(counted.nodes, document.querySelectorAll('.conversation *').length);
    }).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
    addEventListener('keydown', () => { counted.keys += 1; }, true);
    addEventListener('input', () => { counted.inputs += 1; }, true);
    const next = () => { counted.frames = window.frame - begun; requestAnimationFrame(next); };
    next();
}"""


def words(request: GenerationRequest, index: int) -> Iterator[int]:
    """Paragraphs without end."""
    text = cycle(("A quiet river carries small lanterns past the sleeping town. " * 12 + "\n\n").encode())
    return iter(text)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with serving(FakeEngine(words, context_length=40_000)) as server:
        yield server


@contextmanager
def steady(api: ApiServer) -> Iterator[None]:
    """The engine makes 200 tokens a second, until the block ends; then it runs as fast as it can."""
    is_over = threading.Event()

    def step() -> None:
        while not is_over.wait(1 / TOKENS_PER_S):
            api.engine.step()

    thread = threading.Thread(target=step)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        api.engine.resume()


def test_a_long_answer_keeps_the_page_usable(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root)
    tab.page.add_init_script(NAME_FRAMES)
    tab.playground(f"/playground#max_tokens={NUM_TOKENS}&tokens=false")
    tab.page.evaluate(COUNT_UPDATES)
    api.engine.pause()
    tab.send("Tell me all of it.")
    api.engine.wait_for(has(waiting=1))
    with steady(api):
        expect(tab.answers).to_contain_text("lanterns")
        before = tab.page.evaluate("window.counted")
        tab.message.press_sequentially(TYPED)
        during = tab.page.evaluate("window.counted")
        assert tab.message.input_value() == TYPED
        assert tab.answers.get_attribute("aria-busy") == "true"  # it streams still
    assert [during[name] - before[name] for name in ("keys", "inputs")] == [len(TYPED), len(TYPED)]
    expect(tab.page.locator(".facts")).to_contain_text(f"{NUM_TOKENS} tokens", timeout=100_000)

    counted = tab.page.evaluate("window.counted")
    assert 10 < counted["updates"] <= counted["frames"]
    assert counted["most"] == 1
    assert counted["nodes"] <= MOST_NODES
    tab.page.evaluate("document.querySelector('.conversation').scrollTop = 0")
    expect(tab.page.locator(".answer .markdown").first).to_be_visible()
