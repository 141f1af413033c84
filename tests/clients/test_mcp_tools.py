"""The tools of MCP servers that agents use, sent as a client of the API passes them on: unchanged, and all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, cycle, repeat
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from crossette.testing.fake_tokenizer import END_OF_TEXT, IM_END
from crossette.types import GenerationRequest
from support.api_server import ApiServer, serving
from support.mcp_servers import SERVERS, functions_of
from support.schema_walks import ENDING, verdict

pytestmark = [pytest.mark.all, pytest.mark.timeout(1200)]  # the first test may install all

CONTEXT = 2**20
"""The longest list has a token for each of its 100,000 bytes."""
MAX_TOKENS = 4000
FREE_TOKENS = 100
"""Tokens after which arguments prefer those that lead to their end."""
FEWEST_TOOLS = {
    "notion": 15,
    "firecrawl": 5,
    "playwright": 15,
    "filesystem": 10,
    "everything": 5,
    "memory": 5,
    "sequential-thinking": 1,
}


def random_arguments(request: GenerationRequest, index: int) -> Iterator[int]:
    """The beginning of a call, and then what the grammar allows: first any token, later those that lead to an end."""
    return chain(b"<tool_call>\n", repeat(END_OF_TEXT, FREE_TOKENS), cycle((IM_END, *ENDING)))


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with serving(FakeEngine(random_arguments, context_length=CONTEXT, tokens_per_step=16)) as api:
        yield api


def body(functions: list[dict[str, Any]], choice: object, max_tokens: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Use a tool."}]
    sent = {"tools": functions, "tool_choice": choice, "max_tokens": max_tokens, "seed": 1}
    return {"model": "fake", "messages": messages, **sent}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_lists_its_tools(name: str) -> None:
    assert len(functions_of(name)) >= FEWEST_TOOLS[name]


@pytest.mark.parametrize("choice", ["auto", "required"])
@pytest.mark.parametrize("name", SERVERS)
def test_a_list_of_tools_is_accepted_as_it_is(server: ApiServer, name: str, prefix: str, choice: str) -> None:
    answer = server.post(f"{prefix}/chat/completions", body(functions_of(name), choice, max_tokens=30))

    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", SERVERS)
def test_arguments_of_every_tool_are_valid(server: ApiServer, name: str, prefix: str) -> None:
    functions = functions_of(name)
    for function in functions:
        named = {"type": "function", "function": {"name": function["function"]["name"]}}
        answer = server.post(f"{prefix}/chat/completions", body(functions, named, MAX_TOKENS))
        if answer.status_code == 200:
            check_call(function["function"], answer.json()["choices"][0])
        else:
            # Random arguments need not match a keyword that the grammar cannot enforce, which `strict` refuses.
            assert answer.json()["error"]["code"].lower() == "constraint_failed", answer.text
            strict = {"type": "function", "function": {**function["function"], "strict": True}}
            assert server.post(f"{prefix}/chat/completions", body([strict], named, 30)).status_code == 400


def check_call(function: dict[str, Any], choice: dict[str, Any]) -> None:
    """Check that an answer that was not cut is one call with valid arguments."""
    if choice["finish_reason"] != "length":
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == function["name"]
        assert isinstance(json.loads(call["function"]["arguments"]), dict)
        assert verdict(function["parameters"], call["function"]["arguments"]) == "valid"
