"""Tool calls on the wire: complete, streamed, in each dialect, and as `function_call`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from support.api_server import DIALECTS, ApiServer, events, say
from support.tool_calls import CALL, FUNCTIONS, OSLO, SUM, TOOLS, body, choice_of


def test_stream_deltas_join_to_the_same_calls(api: ApiServer, prefix: str) -> None:
    request = body(f"So.\n{CALL}\n{SUM}", stream=True)
    deltas = [
        choice["delta"]
        for frame in events(api.post(f"{prefix}/chat/completions", request).content)
        for choice in frame["choices"]
    ]

    pieces = [piece for delta in deltas for piece in delta.get("tool_calls", [])]
    heads = [piece for piece in pieces if piece.get("id")]
    assert [(head["index"], head["type"], head["function"]["name"]) for head in heads] == [
        (0, "function", "weather"),
        (1, "function", "add"),
    ]
    for index, arguments in enumerate([{"city": "Oslo"}, {"a": 2, "b": True}]):
        joined = "".join(piece["function"].get("arguments", "") for piece in pieces if piece["index"] == index)
        assert json.loads(joined) == arguments
    assert "".join(delta.get("content") or "" for delta in deltas) == "So."
    assert [delta["role"] for delta in deltas if "role" in delta] == ["assistant"]


def test_each_dialect_has_its_own_deltas(api: ApiServer, prefix: str) -> None:
    frames = events(api.post(f"{prefix}/chat/completions", body(CALL, stream=True)).content)
    deltas = [choice["delta"] for frame in frames for choice in frame["choices"]]
    head, piece, *_ = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]

    if DIALECTS[prefix].name == "openai":
        assert head["function"] == {"name": "weather", "arguments": ""}
        assert piece.keys() == {"index", "function"}
    else:
        assert head["function"] == {"name": "weather"}
        assert (piece["id"], piece["type"]) == (None, "function")
    assert [choice["finish_reason"] for frame in frames for choice in frame["choices"]][-1] == "tool_calls"


def test_the_sdk_reads_calls(api: ApiServer, prefix: str) -> None:
    messages: Any = [{"role": "user", "content": say(CALL)}]
    tools: Any = TOOLS

    answer = api.sdk(prefix).chat.completions.create(model="fake", messages=messages, tools=tools)

    assert isinstance(answer, ChatCompletion)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", OSLO)


def test_calls_and_results_can_be_sent_back(api: ApiServer, prefix: str) -> None:
    first = api.post(f"{prefix}/chat/completions", body(CALL)).json()["choices"][0]["message"]
    messages = [
        {"role": "user", "content": "Weather?"},
        first,
        {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": say("It rains.", "")},
    ]

    choice = choice_of(api, prefix, messages=messages)

    assert (choice["message"]["content"], choice["finish_reason"]) == ("It rains.", "stop")


# --- functions and function_call ---


def legacy(*outputs: str, **sent: object) -> dict[str, Any]:
    request = body(*outputs, functions=FUNCTIONS, **sent)
    del request["tools"]
    return request


def test_functions_are_answered_with_function_call(api: ApiServer, prefix: str) -> None:
    choice = api.post(f"{prefix}/chat/completions", legacy(CALL)).json()["choices"][0]

    assert choice["message"]["function_call"] == {"name": "weather", "arguments": OSLO}
    assert choice["message"]["content"] is None
    assert "tool_calls" not in choice["message"]
    assert choice["finish_reason"] == "function_call"


def test_functions_are_streamed_as_function_call(api: ApiServer, prefix: str) -> None:
    frames = events(api.post(f"{prefix}/chat/completions", legacy(CALL, stream=True)).content)
    choices = [choice for frame in frames for choice in frame["choices"]]
    pieces = [choice["delta"]["function_call"] for choice in choices if "function_call" in choice["delta"]]

    assert [piece["name"] for piece in pieces if "name" in piece] == ["weather"]
    assert "".join(piece["arguments"] for piece in pieces) == OSLO
    assert choices[-1]["finish_reason"] == "function_call"


@pytest.mark.parametrize(
    ("output", "choice", "name"), [("Words.", {"name": "add"}, "add"), (CALL, "none", None), (CALL, "auto", "weather")]
)
def test_function_call_is_enforced(api: ApiServer, prefix: str, output: str, choice: object, name: str | None) -> None:
    raw = api.post(f"{prefix}/chat/completions", legacy(output, function_call=choice)).json()

    assert raw["choices"][0]["message"].get("function_call", {}).get("name") == name
