"""The command's own server in a real browser: a model is pulled from a Hub with progress, used and watched."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from support.browser import LIMIT_MS, Visiting
from support.hub_server import LookAlike, hub_server
from support.installed import ROOT, Served, served
from support.tiny_model import write_tiny_gguf

pytestmark = pytest.mark.all

MIB = 2**20


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", layers=4, width=512, context_length=8192)


@pytest.fixture
def hub(gguf: Path) -> Iterator[LookAlike]:
    """A Hub that has the file as `o/r`, and waits in its middle."""
    with hub_server(o__r={"m.gguf": gguf.read_bytes()}) as it:
        it.holds_at = gguf.stat().st_size // 2
        yield it


@contextmanager
def serving(gguf: Path, hub: LookAlike, folder: Path, *arguments: str) -> Iterator[Served]:
    environ = {
        "HF_ENDPOINT": hub.hub,
        "NO_PROXY": "127.0.0.1",
        "CROSSETTE_HOME": str(folder),
        "CROSSETTE_DATABASE_URL": f"sqlite:///{folder / 'keys.db'}",
        "PYTHONPATH": str(ROOT / "src"),
    }
    with served([sys.executable, "-m", "crossette", "serve", str(gguf), *arguments], folder, **environ) as server:
        yield server


def fact(card: Locator, name: str) -> Locator:
    return card.locator("dl > div", has=card.page.get_by_text(name, exact=True)).locator("dd")


def test_a_model_is_pulled_from_a_hub_with_progress(
    gguf: Path, hub: LookAlike, tmp_path: Path, visit: Visiting
) -> None:
    size = gguf.stat().st_size
    server = visit.server(serving(gguf, hub, tmp_path))
    page = visit(server.root).open("/admin#models").page
    page.get_by_label("Pull a model").fill("hf:o/r")
    page.get_by_role("button", name="Pull").click()
    bar = page.get_by_role("progressbar")
    expect(page.locator(".pulling")).to_contain_text(f" of {size / MIB:.1f} MiB")
    assert int(bar.get_attribute("max") or 0) == size
    expect(bar).not_to_have_attribute("value", "0")
    assert 0 < int(bar.get_attribute("value") or 0) < size

    hub.released.set()
    page.get_by_text("o--r is served.").wait_for()
    row = page.get_by_role("row", name=re.compile("^o--r"))
    expect(row).to_contain_text("cold")
    row.get_by_role("button", name="Load").click()
    expect(row).to_contain_text("awake")
    assert hub.sent["m.gguf"] >= size

    tab = visit(server.root).playground("/playground#model=o--r&mode=completion&max_tokens=4&ignore_eos=true")
    expect(tab.ask("Once").answers.locator(".facts")).to_contain_text("4 tokens")

    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    expect(page.get_by_role("row")).to_have_count(2)  # the titles, and the model from the start


def test_the_status_shows_speed_steps_cache_and_memory(hub: LookAlike, tmp_path: Path, visit: Visiting) -> None:
    # An answer that lasts for a minute, 7 ms a token: fewer, or faster ones, may end before the page has asked twice.
    gguf = write_tiny_gguf(tmp_path / "tiny.gguf", layers=12, width=512, context_length=9000)
    server = visit.server(serving(gguf, hub, tmp_path, "--kernels", "openvino", "--max-draft-rows", "0"))
    status = visit(server.root).open("/admin#status").page
    expect(status.get_by_label("Status").locator("> .note")).to_contain_text(
        re.compile(r"The process has [\d.]+ (MiB|GiB) in memory")
    )
    tab = visit(server.root).playground("/playground#mode=completion&max_tokens=8000&ignore_eos=true&tokens=false")
    tab.send("Once upon a time")
    card = status.locator(".card")
    expect(fact(card, "Streams")).to_have_text("1")
    expect(fact(card, "Step")).to_have_text(re.compile(r"^[\d.]+ ms$"))
    expect(fact(card, "Generated")).to_have_text(re.compile(r"^[1-9][\d.]* tokens/s$"))
    expect(fact(card, "Queue")).to_have_text("0")
    expect(card).to_contain_text(re.compile(r"[1-9]\d* of [\d,]+ blocks in use"))
    expect(fact(card, "KV cache")).to_have_text(re.compile(r"^63\.\d MiB$"))  # whole blocks of 64 MiB
    tab.page.close()
    # test_playground.py has that a closed tab frees the engine; here a busy machine may need long to ask again.
    expect(fact(card, "Streams")).to_have_text("0", timeout=3 * LIMIT_MS)
    expect(fact(card, "Step")).to_have_text("idle")
