"""POST /responses: invalid requests are rejected by the path of the field, as the client sent it."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from support.api_server import ApiServer, say, serving

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}
UNENFORCEABLE = {"type": "object", "properties": {"a": {"type": "string", "format": "no-such"}}, "$ref": "#/nowhere"}
USER = {"role": "user", "content": "Hi"}


def deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"content": "Hi"}]}, "input[0].role"),
        ({"input": [USER, {"role": "tool", "content": "Hi"}]}, "input[1].role"),
        ({"input": [USER, {"role": "user"}]}, "input[1].content"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
        (
            {"instructions": "x", "input": [USER, {"role": "user", "content": [{"type": "input_image"}]}]},
            "input[1].content[0].image_url",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]},
            "input[0].content[0].type",
        ),
        ({"input": [USER, {"type": "function_call", "name": "f"}]}, "input[1].call_id"),
        ({"input": [USER, {"type": "function_call", "call_id": "f"}]}, "input[1].name"),
        (
            {"input": [USER, {"type": "function_call", "call_id": "c", "name": "f", "arguments": deep(70)}]},
            "input[1].arguments",
        ),
        ({"input": [USER, {"type": "function_call_output", "output": "x"}]}, "input[1].call_id"),
        ({"input": [USER, {"type": "function_call_output", "call_id": "c"}]}, "input[1].output"),
        ({"input": [{"type": "reasoning", "content": [{"type": "text", "text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "reasoning", "summary": [{"type": "x"}]}]}, "input[0].summary[0].type"),
        ({"input": [USER, {"type": "web_search_call", "id": "ws"}]}, "input[1].type"),
        ({"input": [USER, {"type": "custom_tool_call", "input": "x"}]}, "input[1].type"),
        ({"input": "x" * 100_000}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 1.5}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"temperature": 9}, "temperature"),
        ({"top_logprobs": 99}, "top_logprobs"),
        ({"reasoning": {"effort": "low"}}, "reasoning.effort"),
        ({"reasoning": {"effort": "none", "summary": "concise"}}, "reasoning.summary"),
        ({"reasoning": {"summary": "auto", "generate_summary": "detailed"}}, "reasoning.generate_summary"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode"),
        ({"reasoning": {"efort": "low"}}, "reasoning.efort"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_object", "schema": {}}}}, "text.format.schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.grammar"),
        ({"text": {"format": {"type": "grammar", "grammar": "root = 1"}}}, "text.format.grammar"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": UNENFORCEABLE}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {"type": 5}}}}, "text.format.schema"),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex"),
        ({"guided_choice": ["a"], "guided_regex": "a"}, "guided_choice"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [ADD, {"type": "function", "name": "a b"}]}, "tools[1].name"),
        ({"tools": [ADD, ADD]}, "tools[1].name"),
        ({"tools": [{**ADD, "strikt": True}]}, "tools[0].strikt"),
        ({"tools": [{**ADD, "strict": "yes"}]}, "tools[0].strict"),
        ({"tools": [{**ADD, "defer_loading": True}]}, "tools[0].defer_loading"),
        ({"tools": [ADD, {**ADD, "name": "b", "parameters": UNENFORCEABLE}]}, "tools[1].parameters"),
        ({"tools": [ADD, {**ADD, "name": "b", "parameters": {"type": "string"}}]}, "tools[1].parameters"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].function"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [ADD, {"type": "mcp", "server_label": "s"}]}, "tools[1].type"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [ADD], "tool_choice": {"type": "function", "name": "sub"}}, "tool_choice"),
        ({"tools": [ADD], "tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tools": [ADD], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"include": ["message.output_text.logprobs", "file_search_call.results"]}, "include[1]"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"truncation": "latest"}, "truncation"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"messages": [USER]}, "messages"),
        ({"n": 2}, "n"),
        ({"inputs": "x"}, "inputs"),
        ({"metadata": {"k": "v" * 600}}, "metadata.k"),
        ({"stop_token_ids": [-1]}, "stop_token_ids[0]"),
        ({"chat_template_kwargs": {"no_such": 1}}, "chat_template_kwargs.no_such"),
    ],
)
def test_an_invalid_request_is_rejected_by_the_path_of_its_field(
    api: ApiServer, prefix: str, sent: dict[str, Any], param: str
) -> None:
    answer = api.post(f"{prefix}/responses", {"model": "fake", "input": say("Hi"), **sent})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param), error
    for name in ("messages", "response_format", "max_completion_tokens", "reasoning_effort", "function.parameters"):
        assert name == param or name not in error["message"]


def test_too_many_items_are_rejected_as_input(prefix: str) -> None:
    with serving(max_messages=3) as api:
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": [USER] * 4})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "input")
    assert error["message"] == "'input' has 4 entries, and the limit is 3. Send fewer."


@pytest.mark.parametrize("name", ["store", "background", "previous_response_id"])
def test_what_needs_stored_responses_names_the_setting(api: ApiServer, prefix: str, name: str) -> None:
    value = "resp_1" if name == "previous_response_id" else True
    answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", name: value})

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, name)
    assert "store_responses" in error["message"]


@pytest.mark.parametrize("kind", ["web_search", "web_search_preview", "file_search", "code_interpreter", "custom"])
def test_a_tool_of_openais_servers_is_rejected_by_name(
    api: ApiServer, prefix: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = api.post(
            f"{prefix}/responses", {"model": "fake", "input": "Hi", "tools": [{"type": kind, "name": "x"}]}
        )

    assert answer.status_code == 400
    assert kind in answer.json()["error"]["message"]
