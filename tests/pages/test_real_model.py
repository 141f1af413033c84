"""The real model in a real browser: tokens, drafts and times are what the API says, and a tool's result goes on."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from crossette.engines.openvino.engine import OpenVINOEngine
from support.api_server import ApiServer, serving
from support.browser import Visit, Visiting

pytestmark = pytest.mark.all

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def api(real_engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(real_engine) as server:
        yield server


@pytest.fixture(params=["openai", "fireworks"])
def asked(request: pytest.FixtureRequest, api: ApiServer, visit: Visiting) -> tuple[Visit, Any]:
    """A tab with a seeded answer, and the API's own answer to the request that the page sent."""
    tab = visit(api.root).playground(f"/playground#dialect={request.param}&seed=3&temperature=0.8&max_tokens=24")
    with tab.page.expect_request(lambda sent: sent.url.endswith("/chat/completions")) as request_sent:
        tab.ask(QUESTION)
    body = json.loads(request_sent.value.post_data or "")
    assert body.pop("stream")
    del body["stream_options"]
    path = request_sent.value.url.removeprefix(api.root)
    return tab, api.post(path, body).json()


def shown_tokens(tab: Visit) -> Locator:
    """The tokens of the last answer."""
    tab.answers.last.get_by_role("button", name="Tokens", exact=True).click()
    return tab.answers.last.locator(".token")


def text_of(token: Locator) -> str:
    return token.evaluate("node => node.textContent").replace("⏎\n", "\n")  # type: ignore[no-any-return]


def facts_of(inspector: Locator) -> dict[str, str]:
    inspector.wait_for()
    names, values = inspector.locator("dt").all_inner_texts(), inspector.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def test_tokens_and_alternatives_are_those_of_the_api(asked: tuple[Visit, Any]) -> None:
    tab, answer = asked
    choice = answer["choices"][0]
    content = choice["logprobs"]["content"]

    tokens = shown_tokens(tab)
    expect(tokens).to_have_count(len(content))
    assert [text_of(token) for token in tokens.all()] == [entry["token"] for entry in content]
    for position in (0, len(content) // 2, len(content) - 1):
        entry = content[position]
        tokens.nth(position).click()
        inspector = tab.page.get_by_label(f"Token {position}", exact=True)
        facts = facts_of(inspector)
        assert facts["Token id"] == str(choice["token_ids"][position])
        assert bytes.fromhex(facts["Bytes"]) == bytes(entry["bytes"])
        assert f"logprob {entry['logprob']:.4f}" in facts["Model probability"]
        assert f"logprob {entry['sampling_logprob']:.4f}" in facts["Sampled with"]
        rows = inspector.locator("tbody tr")
        assert rows.locator("code").all_inner_texts() == [
            json.dumps(one["token"], ensure_ascii=False) for one in entry["top_logprobs"]
        ]
        assert rows.locator("td:nth-child(3)").all_inner_texts() == [
            f"{one['logprob']:.4f}" for one in entry["top_logprobs"]
        ]
        assert [float(value) for value in rows.locator("meter").evaluate_all("all => all.map(one => one.value)")] == (
            pytest.approx([math.exp(one["logprob"]) for one in entry["top_logprobs"]])
        )


def test_the_answer_goes_on_from_another_token(asked: tuple[Visit, Any]) -> None:
    tab, answer = asked
    content = answer["choices"][0]["logprobs"]["content"]
    shown_tokens(tab).nth(2).click()
    other = next(one for one in content[2]["top_logprobs"] if one["token_id"] != content[2]["token_id"])
    tab.page.get_by_role("button", name=json.dumps(other["token"], ensure_ascii=False)).click()
    tab.wait_for_answers()

    expect(tab.answers).to_contain_text("2 of 2")
    begin = [entry["token"] for entry in content[:2]] + [other["token"]]
    expect(tab.answers.locator(".token").nth(2)).to_be_visible()
    assert [text_of(token) for token in tab.answers.locator(".token").all()[:3]] == begin

    tab.page.get_by_role("button", name="Answer before").click()
    expect(tab.answers).to_contain_text("1 of 2")
    assert text_of(tab.answers.locator(".token").nth(2)) == content[2]["token"]


def test_the_prompt_has_its_tokens_and_those_from_the_cache(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).playground("/playground#max_tokens=4")
    long = "Please answer briefly. " * 20 + QUESTION
    tab.ask(long).page.get_by_role("button", name="Clear the conversation").click()
    tab.ask(long)
    facts = tab.answers.locator(".facts").inner_text()
    found = re.search(r"prompt (\d+), (\d+) from the cache", facts)
    assert found is not None
    num_tokens, num_cached = map(int, found.groups())
    assert 0 < num_cached < num_tokens

    tab.page.get_by_role("button", name="Prompt tokens").click()
    tokens = tab.page.locator(".prompt-tokens .token")
    expect(tokens).to_have_count(num_tokens)
    assert tab.page.locator(".prompt-tokens .token.cached").count() == num_cached
    tokens.nth(5).click()
    assert "Model probability" in facts_of(tab.page.get_by_label("Token 5", exact=True))


def test_the_same_seed_has_the_same_text_in_both_dialects(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).playground("/playground#seed=5&max_tokens=16&temperature=1.5")
    tab.page.get_by_role("button", name="Compare").click()
    tab.page.get_by_label("Settings of B").get_by_label("Dialect").select_option("fireworks")
    tab.ask(QUESTION)
    expect(tab.page.locator(".verdict")).to_contain_text("Both texts are equal")

    tab.field("seed", pane=1).fill("6")
    tab.page.get_by_role("button", name="Answer again").click()
    tab.wait_for_answers()
    expect(tab.page.locator(".verdict")).to_contain_text("differ from character")


def test_accepted_drafts_and_times_are_those_of_the_stream(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).playground("/playground#mode=completion&temperature=0&max_tokens=24")
    line = "one two three four five six seven eight nine ten\n"
    streams: list[str] = []

    def keep(route: Route) -> None:
        answer = route.fetch()
        streams.append(answer.text())
        route.fulfill(response=answer)

    tab.page.route("**/completions", keep)
    tab.ask(line * 3 + line[:8])
    chunks = [json.loads(data) for data in re.findall(r"^data: (\{.*)$", streams[0], re.MULTILINE)]
    details = [detail for chunk in chunks for choice in chunk["choices"] for detail in choice["token_details"] or ()]
    accepted = [position for position, detail in enumerate(details) if detail["accepted_draft"]]
    assert accepted

    expect(tab.answers.locator(".facts")).to_contain_text(f"{len(accepted)} accepted drafts")
    first, last = details[0]["time"], details[-1]["time"]
    expect(tab.answers.locator(".facts")).to_contain_text(f"{(len(details) - 1) / (last - first):.1f} tokens/s")
    expect(tab.answers.locator(".facts")).to_contain_text(f"first token after {first * 1000:.0f} ms")
    gaps = [(token["time"] - before["time"]) * 1000 for before, token in itertools.pairwise(details)]
    median, longest = sorted(gaps)[len(gaps) // 2], max(gaps)
    expect(tab.page.get_by_role("img", name="Time between tokens")).to_have_accessible_name(
        f"Time between tokens: median {median:.1f} ms, longest {longest:.1f} ms"
    )
    tokens = shown_tokens(tab)
    expect(tokens).to_have_count(len(details))
    drafts = tokens.evaluate_all("all => all.flatMap((one, at) => one.classList.contains('draft') ? [at] : [])")
    assert drafts == accepted
    tokens.nth(accepted[0]).click()
    facts = facts_of(tab.page.get_by_label(f"Token {accepted[0]}", exact=True))
    assert facts["Draft"] == "accepted"
    time = details[accepted[0]]["time"] * 1000
    since = f"{gaps[accepted[0] - 1]:.1f}\u00a0ms after the token before"
    assert facts["Time"] == f"{time:.1f}\u00a0ms after the request, {since}"


def test_the_result_of_a_forced_call_goes_on(api: ApiServer, visit: Visiting) -> None:
    tab = visit(api.root).playground("/playground#temperature=0&max_tokens=48")
    tab.page.get_by_text("Tools", exact=True).click()
    tools = tab.page.locator("details.group").filter(has=tab.page.get_by_text("tools, as JSON"))
    tools.get_by_role("button", name="Use the example").click()
    tab.page.get_by_label("tool_choice").fill('{"type": "function", "function": {"name": "get_weather"}}')
    tab.ask("How is the weather in Paris?")
    call = tab.page.locator(".tool-call")
    expect(call).to_have_count(1)
    assert call.locator("code").inner_text() == "get_weather"
    given = json.loads(call.locator("pre").inner_text())
    assert isinstance(given["city"], str)

    tab.page.get_by_label("tool_choice").fill("none")
    tab.page.get_by_label("Result of get_weather").fill('{"temperature": 21, "sky": "clear"}')
    with tab.page.expect_request(lambda sent: sent.url.endswith("/chat/completions")) as sent:
        tab.page.get_by_role("button", name="Send the result").click()
    tab.wait_for_answers()

    body = json.loads(sent.value.post_data or "")
    question, asked, result = body["messages"]
    assert (question["role"], result["role"]) == ("user", "tool")
    assert result["content"] == '{"temperature": 21, "sky": "clear"}'
    assert [one["id"] for one in asked["tool_calls"]] == [result["tool_call_id"]]
    assert json.loads(asked["tool_calls"][0]["function"]["arguments"]) == given
    answer = api.post("/v1/chat/completions", body | {"stream": False, "stream_options": None}).json()
    shown = shown_tokens(tab)
    expect(shown).to_have_count(len(answer["choices"][0]["logprobs"]["content"]))
    assert "".join(text_of(token) for token in shown.all()) == answer["choices"][0]["message"]["content"]
