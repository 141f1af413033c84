"""Errors in Anthropic's format: of every status, under the names of its fields, and within streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from crossette.accounts.access import Caller, Limits
from crossette.api.anthropic.chat_body import name_of
from crossette.api.anthropic.request import MessagesRequest
from crossette.api.guards.admission import AdmissionController
from crossette.errors import Unauthorized
from crossette.testing.fake_engine import FakeEngine
from support.anthropic_messages import message_body, named_events
from support.api_server import PREFIXES, ApiServer, parrot, say, serving

USER = {"role": "user", "content": "a"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}


def blocks(*sent: object, role: str = "user") -> dict[str, Any]:
    return {"messages": [{"role": role, "content": list(sent)}]}


def nested(depth: int) -> Any:
    value: Any = {}
    for _ in range(depth):
        value = {"a": value}
    return value


BAD: list[tuple[dict[str, Any], str]] = [
    ({"messages": None}, "field: 'messages'"),
    ({"messages": []}, "messages is empty"),
    ({"messages": [{"role": "user"}]}, "Field required, field: 'messages[0].content'"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "field: 'messages[0].role'"),
    ({"messages": [USER | {"name": "x"}]}, "field: 'messages[0].name'"),
    (blocks({"type": "text"}), "Field required, field: 'messages[0].content[0].text'"),
    (blocks({"type": "text", "text": "a"}, {"type": "text", "text": 5}), "field: 'messages[0].content[1].text'"),
    (blocks({"type": "text", "text": "a", "input": {}}), "'messages[0].content[0].input' is no field"),
    (blocks({"type": "text", "text": "a", "citations": [{}]}), "'messages[0].content[0].citations' is not supported"),
    (blocks({"type": "image", "source": {"type": "url", "url": "x"}}), "'messages[0].content[0].source.url' must be"),
    (blocks({"type": "image", "source": {"type": "file", "file_id": "x"}}), "'messages[0].content[0].source.file_id'"),
    (blocks({"type": "image", "source": {"type": "text", "data": "x"}}), "field: 'messages[0].content[0].source.type'"),
    (
        blocks({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}),
        "'messages[0].content[0].source.data'",
    ),
    (
        blocks({"type": "image", "source": {"type": "base64", "media_type": "text/plain", "data": "eA=="}}),
        "'messages[0].content[0].source.media_type' must be",
    ),
    (
        {"system": "Hi", **blocks({"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}})},
        "This model accepts text only, and 'messages[0].content[0]' is an image",
    ),
    (blocks({"type": "redacted_thinking", "data": "x"}, role="assistant"), "'messages[0].content[0]' is encrypted"),
    (
        blocks({"type": "server_tool_use", "id": "a", "name": "b", "input": {}}),
        "'messages[0].content[0].type', 'server",
    ),
    (blocks({"type": "document", "source": {"type": "url", "url": "x"}}), "'messages[0].content[0].source.url'"),
    (
        blocks({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "x"}}),
        "'messages[0].content[0].source.type' is 'base64'",
    ),
    (
        blocks({"type": "document", "source": {"type": "text", "media_type": "text/html", "data": "x"}}),
        "'messages[0].content[0].source.type' is 'text/html'",
    ),
    (blocks({"type": "document", "source": {"type": "text"}}), "field: 'messages[0].content[0].source.data'"),
    (blocks({"type": "document", "source": {"type": "content"}}), "field: 'messages[0].content[0].source.content'"),
    (blocks(CALL), "'messages[0].content[0].type' is 'tool_use', which is for messages of role 'assistant'"),
    (blocks({"type": "tool_result", "tool_use_id": "t"}, role="assistant"), "which is for messages of role 'user'"),
    (blocks({"type": "thinking", "thinking": "a"}), "which is for messages of role 'assistant'"),
    (blocks({"type": "tool_result"}), "field: 'messages[0].content[0].tool_use_id'"),
    (
        blocks({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image"}]}),
        "'messages[0].content[0].content[0]' is an image",
    ),
    (
        blocks({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference", "tool_name": "x"}]}),
        "'messages[0].content[0].content[0]' is found by tool search",
    ),
    (
        blocks({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "thinking"}]}),
        "'messages[0].content[0].content[0].type', 'thinking', is none of the types text, document",
    ),
    (
        {"messages": [USER, {"role": "assistant", "content": [CALL | {"input": nested(70)}]}, USER]},
        "'messages[1].content[0].input' is nested more than 64 levels deep",
    ),
    ({"messages": [USER, {"role": "assistant", "content": [CALL]}]}, "'messages[1]' is the last message and has tool"),
    ({"system": [{"type": "image"}]}, "field: 'system[0].type'"),
    ({"system": [{"type": "text", "text": "a", "citations": [1]}]}, "'system[0].citations' is not supported"),
    ({"max_tokens": 0}, "max_tokens must be at least 1: 0"),
    ({"max_tokens": "5"}, "field: 'max_tokens'"),
    ({"temperature": 1.1}, "temperature must be between 0 and 1: 1.1"),
    ({"top_p": -0.1}, "top_p must be between 0 and 1: -0.1"),
    ({"top_k": -1}, "top_k must be at least 0: -1"),
    ({"stop_sequences": "a"}, "field: 'stop_sequences'"),
    ({"stop_sequences": ["a"] * 129}, "the length of stop_sequences must be between 0 and 128: 129"),
    ({"metadata": {"user_id": "a" * 257}}, "metadata.user_id may have up to 256 characters, not 257."),
    ({"metadata": {"user": "a"}}, "field: 'metadata.user'"),
    ({"cache_control": {"ttl": "a" * 600}}, "cache_control may have up to 512 characters"),
    ({"service_tier": "flex"}, "field: 'service_tier'"),
    ({"thinking": {"type": "enabled"}}, "Field required, field: 'thinking.budget_tokens'"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1023}}, "thinking.budget_tokens must be at least 1024: 1023"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1024}, "max_tokens must be greater than"),
    ({"thinking": {"type": "disabled", "budget_tokens": 1024}}, "'thinking.budget_tokens' is not for thinking"),
    ({"thinking": {"type": "disabled", "display": "omitted"}}, "'thinking.display' is not for thinking"),
    ({"thinking": {"type": "adaptive", "budget_tokens": 1024}}, "'thinking.budget_tokens' is not for thinking"),
    ({"thinking": {"type": "on"}}, "field: 'thinking.type'"),
    (
        {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000},
        "This model does not reason, so 'thinking.budget_tokens' can only disable reasoning.",
    ),
    (
        {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "max_tokens": 2000,
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
        },
        "Thinking may not be enabled when tool_choice forces tool use",
    ),
    (
        {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "max_tokens": 2000,
            "messages": [USER, {"role": "assistant", "content": "a"}],
        },
        "Thinking may not be enabled when the last message is the assistant's",
    ),
    ({"output_config": {"effort": "enormous"}}, "field: 'output_config.effort'"),
    ({"output_config": {"effort": "low"}}, "so 'output_config.effort' can only disable reasoning."),
    ({"output_config": {"format": {"type": "json_schema"}}}, "Field required, field: 'output_config.format.schema'"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "frog"}}}},
        "output_config.format.schema is not a valid JSON schema: at '/type'",
    ),
    ({"tools": [{"name": "f"}]}, "Field required, field: 'tools[0].input_schema'"),
    ({"tools": [TOOL, {"name": "g", "input_schema": {"type": "frog"}}]}, "'g', tools[1].input_schema"),
    ({"tools": [TOOL | {"name": "a b"}]}, "A function's name must have 1 to 128 letters"),
    ({"tools": [TOOL | {"name": "a" * 129}]}, "A function's name must have 1 to 128 letters"),
    ({"tools": [TOOL, TOOL]}, "tools has two functions with the name 'f'."),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "'tools[0].type' is 'web_search_20250305'"),
    ({"tools": [TOOL | {"defer_loading": True}]}, "'tools[0].defer_loading' is not supported"),
    ({"tools": [TOOL | {"input_examples": [{"n": 1}]}]}, "'tools[0].input_examples' is not supported"),
    ({"tools": [TOOL | {"allowed_callers": ["code_execution_20250825"]}]}, "'tools[0].allowed_callers' is not"),
    ({"tools": [TOOL | {"function": {}}]}, "field: 'tools[0].function'"),
    ({"tools": [TOOL], "tool_choice": "auto"}, "field: 'tool_choice'"),
    ({"tools": [TOOL], "tool_choice": {"type": "tool"}}, "Field required, field: 'tool_choice.name'"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "auto", "name": "f"}},
        "'tool_choice.name' is for a tool_choice of type",
    ),
    ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "tool_choice names 'g', which is not among"),
    (
        {"tools": [TOOL], "tool_choice": {"type": "none", "disable_parallel_tool_use": True}},
        "'tool_choice.disable_parallel_tool_use' is not for a tool_choice of type 'none'",
    ),
    ({"tool_choice": {"type": "any"}}, "tool_choice requires a call, but no tools were sent."),
    (
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        "'context_management.edits[0].type' is",
    ),
    (
        {"context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns"}}]}},
        "field: 'context_management.edits[0].keep.value'",
    ),
    (
        {
            "context_management": {
                "edits": [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 0}}]
            }
        },
        "context_management.edits[0].keep.value must be at least 1: 0",
    ),
    ({"context_management": {"edits": [{"type": "clear_thinking_20251015"}] * 17}}, "context_management.edits must be"),
    ({"seed": 5}, "Extra inputs are not permitted, field: 'seed'"),
    ({"anthropic_version": "x"}, "Extra inputs are not permitted, field: 'anthropic_version'"),
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("sent", "message"), BAD)
def test_bad_input_is_named_as_it_was_sent(
    api: ApiServer, prefix: str, sent: dict[str, Any], message: str, streamed: bool
) -> None:
    answer = api.post(f"{prefix}/messages", message_body(stream=streamed) | sent)

    assert answer.status_code == 400, answer.text
    assert_error(answer.json(), "invalid_request_error")
    assert message in answer.json()["error"]["message"]
    assert answer.json()["request_id"] == answer.headers["request-id"] == answer.headers["x-request-id"]


def assert_error(body: dict[str, Any], error_type: str) -> None:
    assert body.keys() == {"type", "error", "request_id"}
    assert body["error"].keys() == {"type", "message"}
    assert (body["type"], body["error"]["type"]) == ("error", error_type)


REFUSED = [name for name, field in MessagesRequest.table.items() if field.state == "refused"]


@pytest.mark.parametrize("name", REFUSED)
def test_a_field_without_effect_is_refused_by_name(api: ApiServer, prefix: str, name: str) -> None:
    field = MessagesRequest.table[name]
    for value in (None, *field.neutral):
        api.post(f"{prefix}/messages", message_body(**{name: value})).raise_for_status()
    answer = api.post(f"{prefix}/messages", message_body(**{name: "other"}))

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"'{name}' is not supported yet: leave it out")


NEUTRAL: list[tuple[dict[str, Any], list[Any], object]] = [
    ({"system": [{"type": "text", "text": "a", "citations": "VALUE"}]}, [None, []], [{}]),
    (blocks({"type": "text", "text": "a", "citations": "VALUE"}), [None, [], {"enabled": False}], {"enabled": True}),
    (
        blocks({"type": "document", "source": {"type": "text", "data": "a"}, "citations": "VALUE"}),
        [None, {"enabled": False}],
        {"enabled": True},
    ),
    (blocks({"type": "document", "source": {"type": "text", "data": "a", "url": "VALUE"}}), [None], None),
    (
        {"messages": [USER, {"role": "assistant", "content": [CALL | {"caller": "VALUE"}]}, USER]},
        [None, {"type": "direct"}],
        {"type": "code_execution_20250825"},
    ),
    ({"messages": [USER, {"role": "assistant", "content": [CALL | {"toolset_name": "VALUE"}]}, USER]}, [None], "a"),
    ({"tools": [TOOL | {"defer_loading": "VALUE"}]}, [None, False], True),
    ({"tools": [TOOL | {"allowed_callers": "VALUE"}]}, [None, ["direct"]], ["direct", "other"]),
    ({"tools": [TOOL | {"input_examples": "VALUE"}]}, [None, []], [{}]),
    ({"tools": [TOOL | {"eager_input_streaming": "VALUE"}]}, [None, True, False], None),
    ({"tools": [TOOL | {"type": "VALUE"}]}, [None, "custom"], "bash_20250124"),
    ({"thinking": {"type": "adaptive", "display": "VALUE"}}, [None, "summarized", "omitted"], "full"),
    ({"service_tier": "VALUE"}, [None, "auto", "standard_only"], "priority"),
    ({"metadata": {"user_id": "VALUE"}}, [None, "u"], 5),
]


@pytest.mark.parametrize(("sent", "accepted", "refused"), NEUTRAL)
def test_values_without_effect_are_accepted_and_others_refused(
    api: ApiServer, prefix: str, sent: dict[str, Any], accepted: list[Any], refused: object
) -> None:
    def status(value: object) -> int:
        text = json.dumps(message_body() | sent).replace('"VALUE"', json.dumps(value))
        return api.post(f"{prefix}/messages", text.encode()).status_code

    assert [status(value) for value in accepted] == [200] * len(accepted)
    assert refused is None or status(refused) == 400


def test_max_tokens_is_required_where_anthropic_requires_it(api: ApiServer) -> None:
    body = message_body(say("Hello"), max_tokens=None)
    refused, answered = (api.post(f"{prefix}/messages", body) for prefix in PREFIXES)

    assert refused.json()["error"]["message"] == "Field required, field: 'max_tokens'"
    assert answered.json()["content"][0]["text"] == "Hello"


# --- every status ---


@pytest.mark.parametrize(
    ("method", "path", "status", "error_type"),
    [
        ("GET", "/messages", 405, "invalid_request_error"),
        ("DELETE", "/messages/count_tokens", 405, "invalid_request_error"),
        ("POST", "/messages/batches", 404, "not_found_error"),
        ("GET", "/messages/batches/b1", 404, "not_found_error"),
    ],
)
def test_errors_by_path(api: ApiServer, prefix: str, method: str, path: str, status: int, error_type: str) -> None:
    answer = api.http.request(method, api.url(prefix + path))

    assert answer.status_code == status
    assert_error(answer.json(), error_type)
    assert answer.headers["request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    ("raw", "headers", "status", "error_type"),
    [
        (b"{", {}, 400, "invalid_request_error"),
        (b"[]", {}, 400, "invalid_request_error"),
        (b"{}", {"content-encoding": "br"}, 415, "invalid_request_error"),
        (b"{}", {"origin": "https://evil.example"}, 403, "permission_error"),
        (b"a" * (2**24 + 1), {}, 413, "request_too_large"),
        (json.dumps(message_body(model="nope")).encode(), {}, 404, "not_found_error"),
    ],
)
@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
def test_errors_by_body(
    api: ApiServer, prefix: str, path: str, raw: bytes, headers: dict[str, str], status: int, error_type: str
) -> None:
    if path == "/messages/count_tokens" and b"nope" in raw:
        raw = raw.replace(b'"max_tokens": 200, ', b"")
    answer = api.post(prefix + path, raw, headers)

    assert answer.status_code == status
    assert_error(answer.json(), error_type)


def test_other_paths_keep_their_errors(api: ApiServer, prefix: str) -> None:
    for path in ("/chat/completions", "/messagesx", "/models/nope"):
        body = api.get(prefix + path).json()
        assert body["error"].keys() == {"message", "type", "param", "code"}


class Keys:
    """One key without limits, and one that may send a request at a time."""

    def caller(self, key: str | None) -> Caller:
        if key == "limited":
            return Caller("limited", "limited", limits=Limits(requests_per_minute=1))
        if key != "key":
            raise Unauthorized("Invalid API key.")
        return Caller("id", "key", models=frozenset({"fake"}))


@pytest.fixture(scope="module")
def keyed() -> Iterator[ApiServer]:
    with serving(FakeEngine(parrot), access=Keys(), admissions=AdmissionController()) as server:
        yield server


@pytest.mark.parametrize("header", [{"x-api-key": "key"}, {"authorization": "Bearer key"}])
def test_both_headers_authenticate(keyed: ApiServer, prefix: str, header: dict[str, str]) -> None:
    version = {"anthropic-version": "2023-06-01", "anthropic-beta": "a,b"}
    for path, body in (("", message_body()), ("/count_tokens", {"model": "fake", "messages": [USER]})):
        keyed.post(f"{prefix}/messages{path}", body, header | version).raise_for_status()


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
def test_a_wrong_key(keyed: ApiServer, prefix: str, path: str) -> None:
    answer = keyed.post(prefix + path, message_body(), {"x-api-key": "other"})

    assert answer.status_code == 401
    assert_error(answer.json(), "authentication_error")


@pytest.mark.parametrize("path", ["/messages", "/messages/count_tokens"])
def test_a_limit_of_a_key(keyed: ApiServer, prefix: str, path: str) -> None:
    """A count is a request, too, without tokens."""
    body = message_body() if path == "/messages" else {"model": "fake", "messages": [USER]}
    answers = [keyed.post(prefix + path, body, {"x-api-key": "limited"}) for _ in range(2)]

    assert answers[1].status_code == 429
    assert_error(answers[1].json(), "rate_limit_error")
    assert "retry-after" in answers[1].headers


# --- within streams ---


def test_an_error_within_a_stream_is_its_last_event(prefix: str) -> None:
    engine = FakeEngine()

    def fail(request: object, index: int) -> Iterator[int]:
        yield from b"Half"
        engine.fail_next_step(RuntimeError("as the test asked"))
        yield from b" an answer"

    engine = FakeEngine(fail)
    with serving(engine) as api:
        answer = api.post(f"{prefix}/messages", message_body(stream=True))
    events = named_events(answer.content)

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert events[0]["type"] == "message_start"
    assert "message_stop" not in [event["type"] for event in events]
    assert_error(events[-1], "api_error")
    assert events[-1]["request_id"] == answer.headers["request-id"]


# --- names ---


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tools[3].function.parameters", "tools[3].input_schema"),
        ("tools[3].function.parameters.properties.x", "tools[3].input_schema.properties.x"),
        ("tools[12].function.name", "tools[12].name"),
        ("response_format", "output_config.format"),
        ("response_format.json_schema", "output_config.format"),
        ("response_format.json_schema.schema", "output_config.format.schema"),
        ("reasoning_effort", "output_config.effort"),
        ("stop", "stop_sequences"),
        ("stop[3]", "stop_sequences[3]"),
        ("user", "metadata.user_id"),
        ("max_tokens", "max_tokens"),
        ("model", "model"),
        ("messages", "messages"),
        ("temperature", "temperature"),
        ("tool_choice", "tool_choice"),
        ("thinking.budget_tokens", "thinking.budget_tokens"),
    ],
)
def test_the_names_of_fields(path: str, name: str) -> None:
    assert name_of(path) == name
