"""Messages in Anthropic's format as the prompt of a chat."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.anthropic_messages import message_body
from support.api_server import PREFIXES, ApiServer, parrot, say, serving

TOOLS = [{"name": "weather", "description": "The weather", "input_schema": {"type": "object", "properties": {}}}]
CALL = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}
TEXT = {"type": "text", "text": "one"}


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    return []


@pytest.fixture(scope="module")
def recorder(prompts: list[str]) -> Iterator[ApiServer]:
    """A server whose engine records its prompts. Control tokens are left out."""

    def remember(request: GenerationRequest, index: int) -> bytes:
        prompts.append(bytes(token for token in request.prompt if token < 256).decode())
        return parrot(request, index)

    with serving(FakeEngine(remember)) as server:
        yield server


def turns_of(recorder: ApiServer, prompts: list[str], messages: list[Any], **sent: object) -> str:
    """The prompt without its last line, which asks for an answer."""
    answer = recorder.post("/v1/messages", message_body() | {"messages": messages, **sent})
    assert answer.status_code == 200, answer.text
    return prompts[-1]


USER = {"role": "user", "content": "a"}


def result(**more: object) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "t1", **more}


def document(source: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"type": "document", "source": source, **more}


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        ([USER], "user\na\nassistant\n"),
        ([{"role": "user", "content": [TEXT, {"type": "text", "text": "two"}]}], "user\none\ntwo\nassistant\n"),
        ([USER, USER], "user\na\na\nassistant\n"),
        ([USER, {"role": "system", "content": "b"}, USER], "user\na\nsystem\nb\nuser\na\nassistant\n"),
        ([USER, {"role": "assistant", "content": "b"}, USER], "user\na\nassistant\nb\nuser\na\nassistant\n"),
        ([USER, {"role": "assistant", "content": "I am"}], "user\na\nassistant\nI am"),
        ([USER, {"role": "assistant", "content": [TEXT]}, {"role": "assistant", "content": "two"}],
         "user\na\nassistant\none\ntwo"),
        ([{"role": "user", "content": [document({"type": "text", "media_type": "text/plain", "data": "d"})]}],
         "user\nd\nassistant\n"),
        ([{"role": "user", "content": [document({"type": "text", "data": "d"}, title="T", context="C"), TEXT]}],
         "user\nT\nC\nd\none\nassistant\n"),
        ([{"role": "user", "content": [document({"type": "content", "content": "d"})]}], "user\nd\nassistant\n"),
        ([{"role": "user", "content": [document({"type": "content", "content": [TEXT, TEXT]})]}],
         "user\none\none\nassistant\n"),
        ([{"role": "user", "content": [{"type": "text", "text": ""}, TEXT]}], "user\none\nassistant\n"),
        ([{"role": "user", "content": []}], "user\n\nassistant\n"),
    ],
)  # fmt: skip
def test_messages_are_turns_of_the_template(
    recorder: ApiServer, prompts: list[str], messages: list[Any], prompt: str
) -> None:
    assert turns_of(recorder, prompts, messages) == prompt


@pytest.mark.parametrize(
    ("results", "prompt"),
    [
        ([result(content="hot")], "<tool_response>\nhot\n</tool_response>"),
        ([result(content=[TEXT, {"type": "text", "text": "two"}])], "<tool_response>\none\ntwo\n</tool_response>"),
        ([result(content="no", is_error=True)], "<tool_response>\nError: no\n</tool_response>"),
        ([result(content="no", is_error=False)], "<tool_response>\nno\n</tool_response>"),
        ([result()], "<tool_response>\n\n</tool_response>"),
        ([result(content=[document({"type": "text", "data": "d"})])], "<tool_response>\nd\n</tool_response>"),
        ([result(content="hot"), TEXT], "<tool_response>\nhot\n</tool_response>\none"),
        ([TEXT, result(content="hot")], "one\nuser\n<tool_response>\nhot\n</tool_response>"),
        ([result(content="1"), result(content="2")],
         "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"),
    ],
)  # fmt: skip
def test_results_follow_their_calls(recorder: ApiServer, prompts: list[str], results: list[Any], prompt: str) -> None:
    messages = [USER, {"role": "assistant", "content": [TEXT, CALL]}, {"role": "user", "content": results}]
    sent = turns_of(recorder, prompts, messages, tools=TOOLS)

    call = 'one\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    assert sent.partition("user\na\n")[2] == f"assistant\n{call}\nuser\n{prompt}\nassistant\n"


@pytest.mark.parametrize(
    ("system", "prompt"),
    [
        ("s", "system\ns\n"),
        ([{"type": "text", "text": "s"}], "system\ns\n"),
        (
            [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "t"}],
            "system\ns\nt\n",
        ),
        ("", ""),
        ([], ""),
        (None, ""),
    ],
)
def test_the_system_prompt(recorder: ApiServer, prompts: list[str], system: object, prompt: str) -> None:
    assert turns_of(recorder, prompts, [USER], system=system) == f"{prompt}user\na\nassistant\n"


def test_markers_of_caches_may_be_anywhere(recorder: ApiServer, prompts: list[str]) -> None:
    marked = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    messages = [
        {"role": "user", "content": [TEXT | marked]},
        {"role": "assistant", "content": [CALL | marked]},
        {"role": "user", "content": [result(content=[TEXT | marked]) | marked]},
    ]
    system = [{"type": "text", "text": "s"} | marked]
    with_markers = turns_of(recorder, prompts, messages, tools=[TOOLS[0] | marked], system=system, **marked)

    plain = [
        {"role": "user", "content": [TEXT]},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [result(content=[TEXT])]},
    ]
    assert with_markers == turns_of(recorder, prompts, plain, tools=TOOLS, system="s")


def test_the_answer_of_a_call_can_be_sent_back(recorder: ApiServer, prompts: list[str]) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>'
    first = {"role": "user", "content": say(f"Look. {call}")}
    answer = recorder.post("/v1/messages", message_body() | {"messages": [first], "tools": TOOLS}).json()
    results = [
        {"type": "tool_result", "tool_use_id": block["id"], "content": say("Sunny.")}
        for block in answer["content"]
        if block["type"] == "tool_use"
    ]
    messages = [first, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": results}]

    again = recorder.post("/v1/messages", message_body() | {"messages": messages, "tools": TOOLS}).json()
    assert again["content"][0]["text"].startswith("Sunny.")


# --- counting ---


@pytest.mark.parametrize("prefix_", PREFIXES)
@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"system": "s"},
        {"tools": TOOLS},
        {"tools": TOOLS, "tool_choice": {"type": "any"}},
        {"messages": [USER, {"role": "assistant", "content": "I am"}]},
        {"thinking": {"type": "disabled"}},
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"cache_control": {"type": "ephemeral"}},
        {"context_management": {"edits": []}},
    ],
)
def test_the_count_is_that_of_the_answer(recorder: ApiServer, prefix_: str, sent: dict[str, Any]) -> None:
    body = {"model": "fake", "messages": [USER], **sent}
    counted = recorder.post(f"{prefix_}/messages/count_tokens", body)
    answer = recorder.post(f"{prefix_}/messages", {**body, "max_tokens": 1})

    assert (counted.status_code, answer.status_code) == (200, 200), counted.text
    assert counted.json() == {"input_tokens": answer.json()["usage"]["input_tokens"]}


def test_counting_generates_nothing(recorder: ApiServer, prompts: list[str]) -> None:
    before = len(prompts)
    recorder.post("/v1/messages/count_tokens", {"model": "fake", "messages": [USER]}).raise_for_status()

    assert len(prompts) == before


@pytest.mark.parametrize("name", ["max_tokens", "stream", "temperature", "stop_sequences", "metadata"])
def test_counting_has_no_fields_of_an_answer(recorder: ApiServer, name: str) -> None:
    answer = recorder.post("/v1/messages/count_tokens", {"model": "fake", "messages": [USER], name: 1})

    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Extra inputs are not permitted, field: '{name}'"


def test_a_prompt_that_does_not_fit_is_counted(recorder: ApiServer) -> None:
    """Clients count to find out whether it fits."""
    long = {"model": "fake", "messages": [{"role": "user", "content": "a" * 10_000}]}

    assert recorder.post("/v1/messages/count_tokens", long).json()["input_tokens"] > 10_000
    refused = recorder.post("/v1/messages", {**long, "max_tokens": 1})
    assert refused.status_code == 400
    assert "prompt is too long" in refused.json()["error"]["message"]
