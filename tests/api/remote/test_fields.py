"""Each field of a request reaches the upstream, has its effect here, or is refused by name: none is ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossette.api.remote.fields import EXTENSIONS, HERE, REFUSED, SENT, TRANSLATED
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.completions import CompletionRequest
from support.api_server import ApiServer, serving
from support.remotes import remote
from support.sse_server import DONE, Answer, ScriptedServer, finish_chunk
from support.sse_server import serving as scripted

TOOL = {"type": "function", "function": {"name": "add"}}
SCHEMA = {"type": "object", "properties": {"a": {"default": None}}}
CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
TEXT = {"prompt": "Hi"}

TABLES = {"chat/completions": ChatRequest.table, "completions": CompletionRequest.table}
FIELDS = [(path, name) for path, table in TABLES.items() for name, field in table.items() if field.state != "refused"]

VALUES: dict[str, Any] = {
    "n": 1,
    "stop": ["x"],
    "temperature": 0.5,
    "top_p": 0.5,
    "frequency_penalty": 0.5,
    "presence_penalty": 0.5,
    "seed": 5,
    "logit_bias": {"5": 1.0},
    "tools": [TOOL],
    "parallel_tool_calls": False,
    "functions": [{"name": "add"}],
    "function_call": "auto",
    "top_k": 5,
    "min_p": 0.5,
    "typical_p": 0.5,
    "mirostat_target": 5.0,
    "mirostat_lr": 0.5,
    "repetition_penalty": 1.5,
    "min_tokens": 5,
    "ignore_eos": True,
    "priority": 5,
    "echo": True,
    "suffix": "x",
    "include_stop_str_in_output": True,
    "guided_json": SCHEMA,
    "guided_regex": "a",
    "guided_choice": ["a"],
    "guided_grammar": "start: /a/",
    "structured_outputs": {"json": SCHEMA},
    "context_length_exceeded_behavior": "error",
    "cache_prompt": False,
    "prompt_cache_isolation_key": "x",
    "safe_tokenization": True,
    "prompt_truncate_len": 5,
    "truncate_prompt_tokens": 5,
    "thinking": {"type": "disabled"},
    "reasoning": {"effort": "low"},
    "enable_thinking": False,
    "reasoning_history": "disabled",
    "chat_template_kwargs": {"a": 1, "b": None},
    "add_generation_prompt": False,
    "continue_final_message": True,
    "stop_token_ids": [5],
    "prompt_token_ids": [5],
    "continue_token_ids": [5],
    "return_token_ids": True,
    "return_token_details": True,
    "raw_output": True,
    "perf_metrics_in_response": True,
    "logprobs": True,
    "top_logprobs": 1,
    "echo_last": 1,
    "best_of": 2,
    "speculation": "x",
    "service_tier": "flex",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedServer]:
    with scripted(Answer([finish_chunk(), DONE])) as server:
        yield server


@pytest.fixture(scope="module")
def api(upstream: ScriptedServer) -> Iterator[ApiServer]:
    models = [
        remote(upstream.url, name="fake"),
        remote(upstream.url, name="plain", model="theirs", fields=frozenset()),
    ]
    with serving(remotes=models) as server:
        yield server


def ask(api: ApiServer, path: str, name: str, value: Any, model: str) -> Any:
    return api.post(f"/v1/{path}", {"model": model, **(CHAT if path.startswith("chat") else TEXT), name: value})


@pytest.mark.parametrize(("path", "name"), FIELDS)
def test_each_field_is_in_one_table(path: str, name: str) -> None:
    assert sum(name in table for table in (SENT, TRANSLATED, HERE, EXTENSIONS, REFUSED)) == 1


def test_the_tables_have_only_fields_of_requests() -> None:
    assert {*SENT, *TRANSLATED, *HERE, *EXTENSIONS, *REFUSED} == {name for _, name in FIELDS}
    assert {*SENT, *EXTENSIONS, *REFUSED} == VALUES.keys()


@pytest.mark.parametrize(("path", "name"), [pair for pair in FIELDS if pair[1] in {*SENT, *EXTENSIONS}])
def test_a_known_field_reaches_the_upstream(api: ApiServer, upstream: ScriptedServer, path: str, name: str) -> None:
    more = {"stop": "x"} if name == "include_stop_str_in_output" else {}
    last = {"messages": [{"role": "assistant", "content": "Hi"}]} if name == "continue_final_message" else {}
    tools = {"functions": [{"name": "add"}]} if name == "function_call" else {}
    body = {"model": "fake", **(CHAT if path.startswith("chat") else TEXT), name: VALUES[name], **more, **last, **tools}
    answer = api.post(f"/v1/{path}", body)

    assert answer.status_code == 200, answer.text
    assert upstream.bodies[-1][name] == VALUES[name]


@pytest.mark.parametrize(("path", "name"), [pair for pair in FIELDS if pair[1] in {*EXTENSIONS, *REFUSED}])
def test_an_unknown_field_is_refused_by_name(api: ApiServer, upstream: ScriptedServer, path: str, name: str) -> None:
    num_before = len(upstream.bodies)
    answer = ask(api, path, name, VALUES[name], "plain")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, name), answer.text
    assert len(upstream.bodies) == num_before


@pytest.mark.parametrize(("path", "name"), [pair for pair in FIELDS if pair[1] in {*EXTENSIONS, *REFUSED}])
def test_a_value_without_effect_is_not_sent(api: ApiServer, upstream: ScriptedServer, path: str, name: str) -> None:
    for value in {**EXTENSIONS, **REFUSED}[name]:
        answer = ask(api, path, name, value, "plain")
        assert answer.status_code == 200, answer.text
        assert name not in upstream.bodies[-1]


@pytest.mark.parametrize(("path", "name"), [pair for pair in FIELDS if pair[1] in HERE])
def test_a_field_of_this_server_is_not_sent(api: ApiServer, upstream: ScriptedServer, path: str, name: str) -> None:
    value: Any = {"a": "b"} if name in ("metadata", "prompt_cache_options", "prompt_cache_breakpoint") else "x"
    value = {"include_reasoning": False, "cache_control": {"type": "ephemeral"}}.get(name, value)
    assert ask(api, path, name, value, "plain").status_code == 200
    assert name not in upstream.bodies[-1]


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("max_tokens", 7, 7),
        ("max_completion_tokens", 7, 7),
        ("tool_choice", "any", "required"),
        ("tool_choice", {"type": "any"}, "required"),
        ("tool_choice", {"type": "function", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
        ("reasoning_effort", "low", "low"),
        ("reasoning_effort", True, "medium"),
        ("prediction", "Hi", {"type": "content", "content": "Hi"}),
        ("response_format", {"type": "json_object"}, {"type": "json_object"}),
        (
            "response_format",
            {"type": "json_object", "schema": SCHEMA},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        ),
        (
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}},
            {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": SCHEMA}},
        ),
        ("stream_options", {"include_usage": False}, {"include_usage": True}),
    ],
)
def test_notations_are_translated(api: ApiServer, upstream: ScriptedServer, name: str, value: Any, sent: Any) -> None:
    more = {"stream": True} if name == "stream_options" else {"tools": [TOOL]} if name == "tool_choice" else {}
    answer = api.post("/v1/chat/completions", {"model": "plain", **CHAT, name: value, **more})

    assert answer.status_code == 200, answer.text
    assert upstream.bodies[-1][name] == sent
    assert (upstream.bodies[-1]["model"], upstream.bodies[-1]["stream"]) == ("theirs", True)


def test_messages_are_sent_in_openais_notation(api: ApiServer, upstream: ScriptedServer) -> None:
    call = {"id": "c1", "index": 0, "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    parts = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]
    messages = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning": "r", "id": "x", "annotations": []},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    assert api.post("/v1/chat/completions", {"model": "plain", "messages": messages}).status_code == 200

    sent_call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}
    assert upstream.bodies[-1]["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "tool_calls": [sent_call], "reasoning_content": "r"},
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        ("completions", {"prompt": [1, 2]}, "prompt"),
        ("completions", {"prompt": [[1], [2]]}, "prompt[0]"),
        (
            "chat/completions",
            {"response_format": {"type": "grammar", "grammar": "root ::= 'a'"}},
            "response_format.type",
        ),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        ("chat/completions", {"messages": [{"role": "other", "content": ""}]}, "messages[0].role"),
        ("chat/completions", {"tool_choice": "required"}, "tool_choice"),
        ("chat/completions", {"max_tokens": 0}, "max_tokens"),
        ("chat/completions", {"nonsense": 1}, "nonsense"),
        (
            "chat/completions",
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            "stream_options.continuous_usage_stats",
        ),
    ],
)
def test_what_is_impossible_over_text_is_refused(api: ApiServer, path: str, more: dict[str, Any], param: str) -> None:
    body = {"model": "plain", **(CHAT if path.startswith("chat") else TEXT), **more}
    answer = api.post(f"/v1/{path}", body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ("/inference/v1/chat/completions", "reasoning_effort", "auto"),
        ("/v1/completions", "reasoning_effort", "none"),
        ("/v1/completions", "thinking", {"type": "disabled"}),
    ],
)
@pytest.mark.parametrize("model", ["fake", "plain"])
def test_a_default_is_not_sent(
    api: ApiServer, upstream: ScriptedServer, model: str, path: str, name: str, value: Any
) -> None:
    body = {"model": model, **(CHAT if "chat" in path else TEXT), name: value}
    answer = api.post(path, body)

    assert answer.status_code == 200, answer.text
    assert name not in upstream.bodies[-1]


def test_the_header_of_an_isolation_key_is_sent_or_refused(api: ApiServer, upstream: ScriptedServer) -> None:
    header = {"x-prompt-cache-isolation-key": "mine"}
    refused = api.post("/v1/chat/completions", {"model": "plain", **CHAT}, header)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "prompt_cache_isolation_key")

    assert api.post("/v1/chat/completions", {"model": "fake", **CHAT}, header).status_code == 200
    assert upstream.bodies[-1]["prompt_cache_isolation_key"] == "mine"
