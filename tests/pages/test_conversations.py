"""Conversations of the playground are compared, saved and opened again, and their settings are shared as a link."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, has, parrot, say, serving
from support.browser import Visit, Visiting

pytestmark = pytest.mark.all


def test_a_comparison_says_whether_texts_are_equal(playground: Visit) -> None:
    playground.page.get_by_role("button", name="Compare").click()
    playground.page.get_by_label("Settings of B").get_by_label("Dialect").select_option("fireworks")
    playground.ask(say("the same"))
    expect(playground.page.locator(".verdict")).to_have_text("Both texts are equal: 8 characters.")

    playground.field("stop", pane=1).fill("e s")
    playground.ask(say("the same"))
    expect(playground.page.locator(".verdict")).to_contain_text("differ from character 6 on")


def test_two_models_are_compared_at_the_same_time(visit: Visiting) -> None:
    engines = {name: FakeEngine(parrot, name=name) for name in ("one", "two")}
    api = visit.server(serving(pool=ModelPool.of(engines)))
    tab = visit(api.root).playground("/playground#model=one")
    tab.page.get_by_role("button", name="Compare").click()
    tab.page.get_by_label("Settings of B").get_by_label("Model").select_option("two")
    for engine in engines.values():
        engine.pause()
    tab.send(say("side by side"))
    for engine in engines.values():
        engine.wait_for(has(waiting=1))
    for engine in engines.values():
        for _ in range(4):
            engine.step()
    expect(tab.answers.locator(".markdown")).to_have_text(["side", "side"])
    assert tab.page.locator(".answer[aria-busy=true]").count() == 2
    assert tab.page.locator(".verdict").count() == 0

    for engine in engines.values():
        engine.resume()
    expect(tab.page.locator(".verdict")).to_have_text("Both texts are equal: 12 characters.")


def test_a_conversation_is_saved_and_opened_again(playground: Visit, tmp_path: Path) -> None:
    playground.page.evaluate("sessionStorage.setItem('crossette-key', 'sk-secret')")
    playground.field("seed").fill("7")
    playground.ask(say("to be kept"))
    with playground.page.expect_download() as saved:
        playground.page.get_by_role("button", name="Save").click()
    file = tmp_path / "conversation.json"
    saved.value.save_as(file)
    assert "sk-secret" not in file.read_text()

    playground.playground()
    playground.page.get_by_label("Conversation file").set_input_files(file)
    expect(playground.answers).to_contain_text("to be kept")
    expect(playground.field("seed")).to_have_value("7")


def test_a_file_of_something_else_is_refused(playground: Visit, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    playground.page.get_by_label("Conversation file").set_input_files(tmp_path / "other.json")

    playground.page.get_by_text("This file is not a conversation that was saved here.").wait_for()


def test_a_link_has_settings_and_no_content(api: ApiServer, playground: Visit, visit: Visiting) -> None:
    playground.page.get_by_label("System prompt").fill("A secret system prompt")
    playground.field("stop").fill("a secret stop")
    playground.field("temperature").fill("0.3")
    playground.page.get_by_label("Dialect").select_option("fireworks")
    playground.ask(say("a secret answer"))
    playground.page.get_by_role("button", name="Copy a link").click()
    playground.page.get_by_text("It has the settings").wait_for()
    link = playground.page.url
    assert "secret" not in link

    other = visit(api.root).playground(link.removeprefix(api.root))
    expect(other.field("temperature")).to_have_value("0.3")
    expect(other.page.get_by_label("Dialect")).to_have_value("fireworks")
