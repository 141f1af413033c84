"""What is small on the wire and dear to work on is bounded, and the refusal says which setting bounds it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossette.api.schema.chat import ChatRequest
from support.api_server import DIALECTS, PREFIXES, say, serving

MESSAGE = {"role": "user", "content": say("Hello")}
SCHEMA = {"type": "object", "properties": {"a" * 500: {"type": "string"}}}
PATTERN = "a" * 500


@pytest.mark.parametrize(("num_messages", "status"), [(3, 200), (4, 400)])
def test_a_conversation_has_a_most_of_messages(prefix: str, num_messages: int, status: int) -> None:
    with serving(max_messages=3) as api:
        answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": [MESSAGE] * num_messages})

    assert answer.status_code == status
    if status == 400:
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == DIALECTS[prefix].errors["invalid_request"]
        assert error["param"] == "messages"
        assert "has 4 messages, and 3 is the limit" in error["message"]
        assert "--max-messages" in error["message"]


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "schema": json.dumps(SCHEMA)}},
        {"response_format": {"type": "grammar", "grammar": f'root ::= "{PATTERN}"'}},
        {"guided_json": SCHEMA},
        {"guided_regex": PATTERN},
        {"guided_choice": [PATTERN, "b"]},
        {"guided_grammar": f'root ::= "{PATTERN}"'},
        {"structured_outputs": {"regex": PATTERN}},
    ],
    ids=lambda form: "-".join([*form]),
)
def test_a_form_has_a_largest_size_however_it_is_spelled(endpoint: str, form: dict[str, Any]) -> None:
    prompt: dict[str, Any] = {"prompt": "a"} if endpoint == "completions" else {"messages": [MESSAGE]}
    (name,) = form
    with serving(max_schema_bytes=500) as api:
        for prefix in PREFIXES:
            answer = api.post(f"{prefix}/{endpoint}", {"model": "fake", "max_tokens": 5, **prompt, **form})
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (400, name)
            assert "500 is the limit" in error["message"]
            assert "--max-schema-bytes" in error["message"]


@pytest.mark.parametrize(
    "tools",
    [
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": SCHEMA}}]},
        {"tools": [{"type": "function", "function": {"name": name, "description": "x" * 250}} for name in "ab"]},
        {"functions": [{"name": "a", "parameters": SCHEMA}]},
    ],
    ids=["parameters", "together", "functions"],
)
def test_tools_have_a_largest_size_before_anything_is_done_with_them(
    prefix: str, tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked_on(self: ChatRequest) -> None:
        raise AssertionError("the tools were looked at")

    monkeypatch.setattr(ChatRequest, "tools_offered", worked_on)
    (name,) = tools
    with serving(max_schema_bytes=500) as api:
        answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": [MESSAGE], **tools})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, name)
    assert "500 is the limit" in error["message"]


def test_a_stop_string_has_a_largest_length(prefix: str) -> None:
    with serving() as api:
        for stop, status in (("x" * 4096, 200), ("x" * 4097, 400), (["a", "x" * 4097], 400)):
            answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": say("Hello"), "stop": stop})
            assert answer.status_code == status
            if status == 400:
                assert answer.json()["error"]["param"] == "stop"
                assert "up to 4096 characters, not 4097" in answer.json()["error"]["message"]


def test_a_form_of_the_largest_size_is_taken(prefix: str) -> None:
    with serving(max_schema_bytes=502) as api:  # a JSON string has its quotes
        body = {"model": "fake", "prompt": "a", "max_tokens": 5, "guided_regex": PATTERN}
        assert api.post(f"{prefix}/completions", body).status_code == 200
