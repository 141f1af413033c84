"""A request through a remote model is answered as without it: both servers run the same fake engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from support.api_server import ApiServer, events, in_turns, say, serving
from support.remotes import remote

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
ONE = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def api(upstream: ApiServer) -> Iterator[ApiServer]:
    with serving(remotes=[remote(upstream.url("/v1"))]) as server:
        yield server


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}], **more}


def comparable(value: Any) -> Any:
    """A decoded answer without ids, times and fingerprints."""
    if isinstance(value, dict):
        changing = ("id", "created", "system_fingerprint")
        return {name: comparable(item) for name, item in value.items() if name not in changing}
    return [comparable(item) for item in value] if isinstance(value, list) else value


BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "text": ("/chat/completions", chat(say("Hello, Welt: äöü 🎆"))),
    "choices": ("/chat/completions", chat(say("one|two"), n=3)),
    "cut": ("/chat/completions", chat(say("Hello"), max_completion_tokens=3)),
    "stop": ("/chat/completions", chat(say("one. two. three"), stop=[". t"])),
    "call": ("/chat/completions", chat(say(CALL), tools=[TOOL], tool_choice="any")),
    "legacy call": ("/chat/completions", chat(say(CALL), functions=[TOOL["function"]])),
    "format": ("/chat/completions", chat("JSON", response_format={"type": "json_schema", "json_schema": ONE})),
    "prompts": ("/completions", {"model": "fake", "prompt": [say("a|b"), say("c")], "n": 2}),
    "default length": ("/completions", {"model": "fake", "prompt": say("x" * 40)}),
    "echo": ("/completions", {"model": "fake", "prompt": say("x"), "echo": True}),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_complete_answer_is_the_same(api: ApiServer, upstream: ApiServer, prefix: str, case: str) -> None:
    path, body = BODIES[case]
    through, direct = api.post(prefix + path, body), upstream.post(prefix + path, body)

    assert through.status_code == direct.status_code == 200, through.text
    assert comparable(through.json()) == comparable(direct.json())


@pytest.mark.parametrize("usage", [None, True, False])
@pytest.mark.parametrize("case", BODIES)
def test_a_stream_has_the_same_text_and_usage(
    api: ApiServer, upstream: ApiServer, prefix: str, case: str, usage: bool | None
) -> None:
    path, body = BODIES[case]
    body = {**body, "stream": True}
    if usage is not None:
        body["stream_options"] = {"include_usage": usage}
    through, direct = (events(server.post(prefix + path, body).content) for server in (api, upstream))

    assert joined(through) == joined(direct)
    assert [chunk["usage"] for chunk in through if chunk.get("usage")] == [
        chunk["usage"] for chunk in direct if chunk.get("usage")
    ]


def joined(chunks: list[Any]) -> dict[int, list[str]]:
    """The text, the reasoning, the calls and the finish reason of each choice."""
    found: dict[int, list[str]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            parts = found.setdefault(choice["index"], ["", "", "", ""])
            delta = choice.get("delta", choice)
            parts[0] += delta.get("content", delta.get("text")) or ""
            parts[1] += delta.get("reasoning_content") or ""
            for call in [*delta.get("tool_calls", ()), {"function": delta.get("function_call") or {}}]:
                parts[2] += call["function"].get("name", "") + call["function"].get("arguments", "")
            parts[3] += choice["finish_reason"] or ""
    return found


@given(
    text=st.text(st.characters(exclude_characters="|\0", exclude_categories=["Cs"]), max_size=30), stream=st.booleans()
)
def test_any_text_is_the_same(api: ApiServer, upstream: ApiServer, text: str, stream: bool) -> None:
    body = {"model": "fake", "prompt": say(text), "max_tokens": 200, "stream": stream}
    answers = [server.post("/v1/completions", body) for server in (api, upstream)]

    if stream:
        through, direct = (joined(events(answer.content)) for answer in answers)
        assert through == direct
    else:
        assert comparable(answers[0].json()) == comparable(answers[1].json())


def test_the_sdk_streams_and_calls_tools(api: ApiServer, prefix: str) -> None:
    sdk: OpenAI = api.sdk(prefix)
    stream = sdk.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": say("Hi there")}], stream=True
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hi there"

    asked: Any = {"role": "user", "content": in_turns(CALL, "It is $1.")}
    tools: Any = [TOOL]
    first = sdk.chat.completions.create(model="fake", messages=[asked], tools=tools).choices[0].message
    assert first.tool_calls
    result: Any = {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "2"}
    messages: Any = [asked, first, result]
    answer = sdk.chat.completions.create(model="fake", messages=messages, tools=tools)
    assert answer.choices[0].message.content == "It is 2."
