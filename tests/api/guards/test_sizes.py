"""Size limits of fields that are expensive to process; the error names the setting."""

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
def test_the_number_of_messages_is_limited(prefix: str, num_messages: int, status: int) -> None:
    with serving(max_messages=3) as api:
        answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": [MESSAGE] * num_messages})

    assert answer.status_code == status
    if status == 400:
        error = answer.json()["error"]
        assert (error["type"], error["code"]) == DIALECTS[prefix].errors["invalid_request"]
        assert error["param"] == "messages"
        assert "has 4 entries, and the limit is 3" in error["message"]
        assert api.observed.records[0].hint == "--max-messages is the limit"


@pytest.mark.parametrize("endpoint", ["completions", "chat/completions"])
@pytest.mark.parametrize(
    "fields",
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
    ids=lambda fields: "-".join([*fields]),
)
def test_the_size_of_a_response_format_is_limited_in_every_notation(endpoint: str, fields: dict[str, Any]) -> None:
    prompt: dict[str, Any] = {"prompt": "a"} if endpoint == "completions" else {"messages": [MESSAGE]}
    (name,) = fields
    with serving(max_schema_bytes=500) as api:
        for prefix in PREFIXES:
            answer = api.post(f"{prefix}/{endpoint}", {"model": "fake", "max_tokens": 5, **prompt, **fields})
            error = answer.json()["error"]
            assert (answer.status_code, error["param"]) == (400, name)
            assert "the limit is 500" in error["message"]
        assert {record.hint for record in api.observed.records} == {"--max-schema-bytes is the limit"}


@pytest.mark.parametrize(
    "tools",
    [
        {"tools": [{"type": "function", "function": {"name": "a", "parameters": SCHEMA}}]},
        {"tools": [{"type": "function", "function": {"name": name, "description": "x" * 250}} for name in "ab"]},
        {"functions": [{"name": "a", "parameters": SCHEMA}]},
    ],
    ids=["parameters", "together", "functions"],
)
def test_the_size_of_tools_is_checked_before_they_are_processed(
    prefix: str, tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def worked_on(self: ChatRequest) -> None:
        raise AssertionError("the tools were looked at")

    monkeypatch.setattr(ChatRequest, "tools_and_choice", worked_on)
    (name,) = tools
    with serving(max_schema_bytes=500) as api:
        answer = api.post(f"{prefix}/chat/completions", {"model": "fake", "messages": [MESSAGE], **tools})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, name)
    assert "the limit is 500" in error["message"]


def test_the_length_of_a_stop_string_is_limited(prefix: str) -> None:
    with serving() as api:
        for stop, status in (("x" * 4096, 200), ("x" * 4097, 400), (["a", "x" * 4097], 400)):
            answer = api.post(f"{prefix}/completions", {"model": "fake", "prompt": say("Hello"), "stop": stop})
            assert answer.status_code == status
            if status == 400:
                assert answer.json()["error"]["param"] == ("stop" if isinstance(stop, str) else "stop[1]")
                assert "up to 4096 characters, not 4097" in answer.json()["error"]["message"]


def test_a_response_format_of_the_maximum_size_is_accepted(prefix: str) -> None:
    with serving(max_schema_bytes=502) as api:  # a JSON string includes its quotes
        body = {"model": "fake", "prompt": "a", "max_tokens": 5, "guided_regex": PATTERN}
        assert api.post(f"{prefix}/completions", body).status_code == 200
