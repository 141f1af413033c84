"""Copied programs in the environments of their clients: each asks the same, and gets the text that the page has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from crossette.engines.openvino.engine import OpenVINOEngine
from support.api_server import ApiServer, say, serving
from support.browser import Visit, Visiting
from support.client_environments import node, npm_folder, output_of, python_of, typecheck

pytestmark = [pytest.mark.all, pytest.mark.timeout(1200)]  # the first test may install the clients

DIALECTS = {
    "openai": ["curl", "Python (openai)", "TypeScript (openai)"],
    "fireworks": ["curl", "Python (openai)", "TypeScript (openai)", "Python (fireworks-ai)"],
}
SAMPLING = {"top_k": 20, "min_p": 0.05, "frequency_penalty": 0.2, "repetition_penalty": 1.1, "top_p": 0.9}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'
TEXT = "it's “quoted”, a \\ and\n\tmore"


@pytest.fixture(scope="module")
def api(real_engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(real_engine) as server:
        yield server


@pytest.fixture(scope="module")
def fake() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def opened(visit: Visiting, api: ApiServer, dialect: str, **fields: object) -> Visit:
    settings = "&".join(f"{name}={value}" for name, value in fields.items())
    return visit(api.root).playground(f"/playground#dialect={dialect}&{settings}")


def saved(tab: Visit, folder: Path) -> list[dict[str, Any]]:
    """The choices of the last answer, as the page has them."""
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name="Save").click()
    download.value.save_as(folder / "conversation.json")
    turns = json.loads((folder / "conversation.json").read_text())["turns"]
    choices: list[dict[str, Any]] = turns[-1]["choices"]
    return choices


def printed(tab: Visit, dialect: str) -> dict[str, str]:
    """What the program of each client prints: for curl, the parts of its events together."""
    tab.page.get_by_role("button", name="Copy as").click()
    dialog = tab.page.get_by_role("dialog")
    clients = dialog.get_by_role("group", name="Client").get_by_role("button")
    expect(clients).to_have_text(DIALECTS[dialect])
    found = {}
    for client in DIALECTS[dialect]:
        chosen = clients.get_by_text(client, exact=True)
        chosen.click()
        expect(chosen).to_have_attribute("aria-pressed", "true")
        found[client] = ran(client, dialog.locator(".program").inner_text())
    return found


def ran(client: str, program: str) -> str:
    if client == "curl":
        return joined(output_of(["bash", "-c", program]))
    if client.startswith("Python"):
        return output_of([str(python_of("fireworks" if "fireworks" in client else "openai_3")), "-c", program])
    script = npm_folder("openai_js") / f"copied-{os.getpid()}.ts"
    script.write_text(program)
    if "/inference/" not in program:  # the other dialect's program differs by its address only
        assert typecheck("openai_js", script.name) == ""
    return output_of([str(node()), str(script)])


def joined(stream: str) -> str:
    text = ""
    for data in re.findall(r"^data: (\{.*)$", stream, re.MULTILINE):
        for choice in json.loads(data)["choices"]:
            delta = choice.get("delta", {})
            text += choice.get("text") or delta.get("content") or ""
            for call in delta.get("tool_calls") or []:
                text += (call["function"].get("name") or "") + (call["function"].get("arguments") or "")
    return text


def test_sampled_chat(api: ApiServer, visit: Visiting, dialect: str, tmp_path: Path) -> None:
    tab = opened(visit, api, dialect, seed=3, temperature=0.8, max_tokens=16, **SAMPLING)
    tab.page.get_by_label("System prompt").fill("You are 'brief'.")
    tab.field("stop").fill("\\n\\n\n###")
    tab.ask('Say "hello", and don\'t stop.')

    (choice,) = saved(tab, tmp_path)
    assert choice["content"]
    assert printed(tab, dialect) == dict.fromkeys(DIALECTS[dialect], choice["content"])


def test_a_completion(api: ApiServer, visit: Visiting, dialect: str, tmp_path: Path) -> None:
    tab = opened(visit, api, dialect, mode="completion", seed=3, temperature=0.8, max_tokens=16, **SAMPLING)
    tab.ask("Once upon a time")

    (choice,) = saved(tab, tmp_path)
    assert choice["content"]
    assert printed(tab, dialect) == dict.fromkeys(DIALECTS[dialect], choice["content"])


def test_an_answer_of_a_schema(fake: ApiServer, visit: Visiting, dialect: str, tmp_path: Path) -> None:
    tab = opened(visit, fake, dialect, seed=3)
    tab.page.get_by_text("Response format").click()
    tab.page.get_by_label("Format").select_option("json_schema")
    tab.page.get_by_role("button", name="Use the example").click()
    tab.ask(say('{"city": "Paris"}'))

    (choice,) = saved(tab, tmp_path)
    assert choice["content"] == '{"city": "Paris"}'
    assert printed(tab, dialect) == dict.fromkeys(DIALECTS[dialect], choice["content"])


def test_a_call_of_a_tool(fake: ApiServer, visit: Visiting, dialect: str, tmp_path: Path) -> None:
    tab = opened(visit, fake, dialect)
    tab.page.get_by_text("Tools", exact=True).click()
    tab.page.get_by_role("button", name="Use the example").last.click()
    tab.page.get_by_label("tool_choice").fill("required")
    tab.ask(say(CALL))

    (choice,) = saved(tab, tmp_path)
    (call,) = choice["calls"]
    assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
    assert printed(tab, dialect) == dict.fromkeys(DIALECTS[dialect], call["name"] + call["arguments"])


def test_several_choices_of_any_text(fake: ApiServer, visit: Visiting, dialect: str, tmp_path: Path) -> None:
    tab = opened(visit, fake, dialect, n=2)
    tab.ask(say(TEXT, "another"))

    assert [choice["content"] for choice in saved(tab, tmp_path)] == [TEXT, "another"]
    texts = printed(tab, dialect)
    assert len(texts.pop("curl")) == len(TEXT + "another")  # its events, which alternate
    assert texts == dict.fromkeys(DIALECTS[dialect][1:], f"{TEXT}\n\nanother\n")
