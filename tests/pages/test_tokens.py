"""Tokens in a real browser, of the real model: what the page shows is what the API says."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from crossette.engines.openvino.engine import OpenVINOEngine
from support.api_server import ApiServer, serving
from support.browser import Visit

pytestmark = pytest.mark.all

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def api(real_engine: OpenVINOEngine) -> Iterator[ApiServer]:
    with serving(real_engine) as server:
        yield server


@pytest.fixture(params=["openai", "fireworks"])
def asked(request: pytest.FixtureRequest, api: ApiServer, visit: Callable[..., Visit]) -> tuple[Visit, Any]:
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
    tab.page.get_by_role("button", name="Tokens", exact=True).click()
    return tab.answers.locator(".token")


def text_of(token: Locator) -> str:
    return token.evaluate("node => node.textContent").replace("⏎\n", "\n")  # type: ignore[no-any-return]


def facts_of(inspector: Locator) -> dict[str, str]:
    names, values = inspector.locator("dt").all_inner_texts(), inspector.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def test_tokens_and_alternatives_are_those_of_the_api(asked: tuple[Visit, Any]) -> None:
    tab, answer = asked
    choice = answer["choices"][0]
    content = choice["logprobs"]["content"]

    tokens = shown_tokens(tab)
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


def test_the_prompt_has_its_tokens_and_those_from_the_cache(api: ApiServer, visit: Callable[..., Visit]) -> None:
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


def test_the_same_seed_has_the_same_text_in_both_dialects(api: ApiServer, visit: Callable[..., Visit]) -> None:
    tab = visit(api.root).playground("/playground#seed=5&max_tokens=16&temperature=1.5")
    tab.page.get_by_role("button", name="Compare").click()
    tab.page.get_by_label("Settings of B").get_by_label("Dialect").select_option("fireworks")
    tab.ask(QUESTION)
    expect(tab.page.locator(".verdict")).to_contain_text("Both texts are equal")

    tab.field("seed", pane=1).fill("6")
    tab.page.get_by_role("button", name="Answer again").click()
    tab.wait_for_answers()
    expect(tab.page.locator(".verdict")).to_contain_text("differ from character")
