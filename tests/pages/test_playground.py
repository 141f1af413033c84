"""The playground in a real browser: conversations, fields, tools, formats, keys and devices."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import Route, expect

from crossette.accounts.access import Caller
from crossette.errors import Unauthorized
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, has, in_turns, parrot, say, serving
from support.browser import PHONE, Visit, Visiting
from support.reasoning_engine import ReasoningEngine

pytestmark = pytest.mark.all

KEY = "sk-crossette-test"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


class OneKey:
    """An `Authenticator` of one key."""

    def caller(self, key: str | None) -> Caller:
        if key == KEY:
            return Caller("key-a", "alice")
        raise Unauthorized("The API key you provided is invalid.")


# --- conversations ---


def test_the_start_page_is_the_playground(api: ApiServer, visit: Visiting) -> None:
    visit(api.root).playground("/").ask(say("Hello")).page.get_by_text("Hello", exact=True).wait_for()


def test_an_answer_is_streamed_and_stopped(api: ApiServer, playground: Visit) -> None:
    api.engine.pause()
    playground.send(say("abcdefgh" * 50))
    api.engine.wait_for(has(waiting=1))
    for _ in range(3):
        api.engine.step()
    expect(playground.answers).to_contain_text("abc")

    playground.page.get_by_role("button", name="Stop").click()
    expect(playground.answers).to_contain_text("Stopped.")
    api.engine.resume()
    api.wait_until_idle()
    assert playground.answers.locator(".markdown").inner_text() == "abc"


def test_a_click_on_stop_that_ends_after_the_answer_sends_nothing(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).playground("/playground#mode=completion")
    api.engine.pause()
    tab.send(say("abc"))
    api.engine.wait_for(has(waiting=1))
    tab.page.get_by_role("button", name="Stop").hover()
    tab.page.mouse.down()

    api.engine.resume()
    tab.wait_for_answers()
    tab.page.mouse.up()

    tab.wait_for_answers()
    expect(tab.answers).to_have_count(1)


def test_a_closed_tab_frees_the_engine(api: ApiServer, playground: Visit) -> None:
    api.engine.pause()
    playground.send(say("a" * 5000))
    api.engine.wait_for(has(waiting=1))
    api.engine.step()
    expect(playground.answers).to_contain_text("a")

    playground.page.close()
    api.wait_until_idle()
    api.engine.resume()


def test_a_conversation_goes_on(api: ApiServer, playground: Visit) -> None:
    playground.ask(in_turns("one", "two")).ask("and?")

    assert [text.strip() for text in playground.page.locator(".answer .markdown").all_inner_texts()] == ["one", "two"]


def test_reasoning_is_apart(visit: Visiting) -> None:
    api = visit.server(serving(ReasoningEngine("<think>Two and two.</think>Four.").engine))
    answer = visit(api.root).playground().ask("2 + 2?").answers

    expect(answer.locator(".choice > .text")).to_have_text("Four.")
    reasoning = answer.locator("details.reasoning")
    expect(reasoning).not_to_have_attribute("open", "")
    reasoning.get_by_text("Reasoning").click()
    expect(reasoning.locator(".text")).to_have_text("Two and two.")


def test_choices_are_side_by_side(playground: Visit) -> None:
    playground.field("n").fill("2")
    playground.ask(say("first", "second"))

    boxes = [playground.page.get_by_label(f"Choice {number}").bounding_box() for number in (1, 2)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    assert boxes[0]["x"] < boxes[1]["x"]


def test_a_completion_continues_a_text(playground: Visit) -> None:
    playground.page.get_by_role("button", name="Completion").click()
    playground.ask(say("and so on"))

    expect(playground.answers).to_contain_text("and so on")


def test_output_is_text_and_loads_nothing(playground: Visit) -> None:
    text = "<img src=x onerror=alert(1)><script>alert(1)</script> **bold** ![cat](http://other.example/cat.png)"
    playground.ask(say(text))

    answer = playground.answers
    assert answer.locator("img, script, iframe").count() == 0
    assert answer.locator("strong").inner_text() == "bold"
    assert "<script>alert(1)</script>" in answer.inner_text()
    assert answer.get_by_role("link", name="cat").get_attribute("rel") == "noopener noreferrer"


def test_a_refused_field_is_named_in_the_answer(api: ApiServer, visit: Visiting) -> None:
    playground = visit(api.root, expects_failures=True).playground()
    playground.field("temperature").fill("3")
    playground.ask("Hello")

    expect(playground.page.get_by_role("alert")).to_contain_text("temperature must be between 0 and 2")
    expect(playground.page.get_by_role("alert").locator("code")).to_have_text("temperature")


# --- fields ---


def test_every_field_of_the_document_is_a_control_with_its_limits(api: ApiServer, playground: Visit) -> None:
    described = api.get("/openapi.json").json()["components"]["schemas"]["ChatRequest"]["properties"]
    accepted = {name for name, field in described.items() if not field["description"].startswith("Not supported.")}
    labels = playground.page.locator(".settings .field label").all_text_contents()
    shown = {label.split()[0] for label in labels if label}

    elsewhere = {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "response_format", "logprobs"}
    by_the_page = {"functions", "function_call", "return_token_ids", "return_token_details", "continue_token_ids"}
    assert accepted - shown == elsewhere | by_the_page | {"prompt_token_ids", "images"} & accepted
    temperature = playground.field("temperature")
    assert (temperature.get_attribute("min"), temperature.get_attribute("max")) == ("0", "2")


def test_a_new_field_appears_by_itself(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root, expects_failures=True)

    def with_field(route: Route) -> None:
        document = api.get("/openapi.json").json()
        field = {"description": "A field of tomorrow.", "anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]}
        document["components"]["schemas"]["ChatRequest"]["properties"]["warp"] = field
        route.fulfill(json=document)

    tab.page.route("**/openapi.json", with_field)
    tab.playground()
    tab.page.get_by_text("All other fields").click()
    tab.field("warp").fill("5")
    tab.ask("Hello")

    expect(tab.page.get_by_role("alert")).to_contain_text("warp")  # it was sent, and this server refuses it


# --- tools and formats ---


def test_a_tool_loop(playground: Visit) -> None:
    call = '<tool_call>\n{"name": "get_weather", "arguments": {}}\n</tool_call>'
    playground.page.get_by_text("Tools", exact=True).click()
    playground.page.get_by_label("tools, as JSON").fill(json.dumps([TOOL]))
    playground.ask(in_turns(call, "It says: $1"))

    expect(playground.page.locator(".tool-call")).to_contain_text("get_weather")
    playground.page.get_by_label("Result of get_weather").fill("sunny")
    playground.page.get_by_role("button", name="Send the result").click()
    playground.wait_for_answers()
    expect(playground.answers.last).to_contain_text("It says: sunny")


def test_a_refused_schema_shows_the_message_at_its_pointer(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root, expects_failures=True).playground()
    tab.page.get_by_text("Response format").click()
    tab.page.get_by_label("Format").select_option("json_schema")
    schema = {"type": "object", "properties": {"city": {"type": "string", "minLength": -1}}}
    tab.page.get_by_label("Schema", exact=True).fill(json.dumps(schema, indent=2))
    tab.page.get_by_role("button", name="Check the schema").click()

    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text("is not a valid JSON schema")
    expect(alert.locator("code")).to_have_text("/properties/city/minLength")
    expect(alert.locator("pre")).to_have_text('"minLength": -1')

    tab.page.get_by_role("button", name="Use the example").click()
    tab.page.get_by_role("button", name="Check the schema").click()
    tab.page.get_by_text("The server accepts this schema.").wait_for()


# --- keys, states, devices ---


def test_the_theme_follows_the_system_until_it_is_chosen(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root, color_scheme="dark").playground()
    theme = "document.documentElement.dataset.theme + ' ' + getComputedStyle(document.documentElement).colorScheme"
    assert tab.page.evaluate(theme) == "dark dark"

    tab.page.get_by_role("button", name="Light theme").click()
    tab.page.get_by_role("button", name="Dark theme").wait_for()
    assert tab.playground().page.evaluate(theme) == "light light"


def test_a_key_is_asked_for_and_stays_in_its_tab(visit: Visiting) -> None:
    api = visit.server(serving(FakeEngine(parrot), access=OneKey()))
    tab = visit(api.root, expects_failures=True).open("/playground")
    expect(tab.page.get_by_role("alert").first).to_contain_text("This server needs an API key")
    tab.page.get_by_role("button", name="Enter the key").click()
    tab.page.get_by_label("Key", exact=True).fill(KEY)
    tab.page.get_by_role("button", name="Use this key").click()
    expect(tab.page.get_by_role("button", name="Send", exact=True)).to_be_enabled()
    tab.ask(say("Welcome"))
    expect(tab.answers).to_contain_text("Welcome")

    assert KEY not in tab.page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href")
    other = tab.page.context.new_page()
    other.goto(f"{api.root}/playground")
    assert other.evaluate("sessionStorage.getItem('crossette-key')") is None


def test_a_server_that_is_gone_is_a_state_of_the_page(visit: Visiting) -> None:
    api = visit.server(serving(FakeEngine(parrot)))
    tab = visit(api.root, expects_failures=True).playground()
    tab.page.context.set_offline(True)
    tab.ask("Hello")
    expect(tab.page.get_by_role("alert").first).to_contain_text("The server cannot be reached")

    tab.page.context.set_offline(False)
    tab.ask(say("Back again"))
    expect(tab.answers.last).to_contain_text("Back again")
    expect(tab.page.locator(".banners .notice")).to_have_count(0)


def test_all_works_with_the_keyboard_alone(api: ApiServer, playground: Visit) -> None:
    page = playground.page
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("/")
    expect(playground.message).to_be_focused()
    page.keyboard.type(say("abc"))
    page.keyboard.press("Enter")
    playground.wait_for_answers()

    page.get_by_role("button", name="Tokens", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator(".token").first.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowRight")
    expect(page.locator(".token").nth(1)).to_be_focused()
    expect(page.get_by_label("Token 1")).to_contain_text('"b"')

    api.engine.pause()
    page.locator(".top .brand").focus()
    page.keyboard.press("/")
    page.keyboard.type(say("a" * 100))
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(playground.answers.last).to_contain_text("Stopped.")
    api.engine.resume()


def test_it_fits_a_phone(api: ApiServer, visit: Visiting) -> None:
    phone = visit(api.root, viewport=PHONE, has_touch=True, is_mobile=True).playground()
    phone.ask(say("Hello " + "x" * 300))
    assert phone.overflow <= 0
    phone.page.get_by_role("button", name="Settings").click()
    phone.page.get_by_label("System prompt").fill("Be brief.")
    phone.page.get_by_role("button", name="Compare").click()
    phone.page.get_by_role("button", name="Settings").click()
    phone.ask(say("two"))
    assert phone.overflow <= 0
    box = phone.page.get_by_role("button", name="Send", exact=True).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE["width"]
    assert box["y"] + box["height"] <= PHONE["height"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(api: ApiServer, visit: Visiting, theme: str) -> None:
    tab = visit(api.root, color_scheme=theme).playground()
    assert tab.violations() == []
    tab.ask(say("# A title\n\nSome `code`, and [a link](https://example.org).\n\n- one\n- two"))
    tab.page.get_by_role("button", name="Tokens", exact=True).click()
    tab.page.locator(".token").nth(2).click()
    tab.page.get_by_role("button", name="Prompt tokens").click()
    for group in ("Sampling", "Response format", "Tools", "All other fields"):
        tab.page.get_by_text(group, exact=True).click()
    assert tab.violations() == []
    tab.page.get_by_role("button", name="Compare").click()
    tab.page.get_by_role("button", name="Copy as").click()
    assert tab.violations() == []
