"""Answers to POST /messages: blocks, stop reasons and usage, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from support.anthropic_messages import folded, message_body, named_events, without_ids
from support.api_server import ApiServer, parrot, say, serving

TOOL = {
    "name": "weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}


def call(**arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': 'weather', 'arguments': arguments})}\n</tool_call>"


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(params=["whole", "streamed"])
def ask(request: pytest.FixtureRequest, api: ApiServer, prefix: str) -> Ask:
    """Send a request, and return the message."""

    def send(content: object = "Hi", **sent: object) -> dict[str, Any]:
        streamed = request.param == "streamed"
        answer = api.post(f"{prefix}/messages", message_body(content, **sent) | {"stream": streamed})
        assert answer.status_code == 200, answer.text
        assert answer.headers["request-id"] == answer.headers["x-request-id"]
        return without_ids(folded(named_events(answer.content)) if streamed else answer.json())

    return send


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value, "citations": None}


def test_a_text_is_one_block(ask: Ask) -> None:
    assert ask(say("Hello")) == {
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [text("Hello")],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 29,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 5,
            "service_tier": "standard",
        },
    }


@pytest.mark.parametrize(
    ("sent", "output", "reason", "sequence"),
    [
        ({"stop_sequences": ["x", "two"]}, "one ", "stop_sequence", "two"),
        ({"stop_sequences": ["three"]}, "one two", "end_turn", None),
        ({"max_tokens": 3}, "one", "max_tokens", None),
        ({"max_tokens": 100_000}, "one two", "end_turn", None),
    ],
)
def test_why_an_answer_ended(ask: Ask, sent: dict[str, Any], output: str, reason: str, sequence: str | None) -> None:
    message = ask(say("one two"), **sent)

    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([text(output)], reason, sequence)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_answer_that_fills_the_context_window_says_so(prefix: str, streamed: bool) -> None:
    """Claude's clients request more tokens than small models have."""
    body = message_body(say("a" * 100), max_tokens=1000, stream=streamed)
    with serving(FakeEngine(parrot, context_length=150)) as api:
        answer = api.post(f"{prefix}/messages", body)
    message = folded(named_events(answer.content)) if streamed else answer.json()

    assert message["stop_reason"] == "model_context_window_exceeded"
    assert message["usage"]["input_tokens"] + message["usage"]["output_tokens"] == 150


def test_calls_are_blocks_with_objects(ask: Ask) -> None:
    message = ask(say(f"Look. {call(city='Rome', days=3)}\n{call(city='Oslo')}"), tools=[TOOL])

    assert message["content"] == [
        text("Look."),
        {"type": "tool_use", "name": "weather", "input": {"city": "Rome", "days": 3}},
        {"type": "tool_use", "name": "weather", "input": {"city": "Oslo"}},
    ]
    assert (message["stop_reason"], message["stop_sequence"]) == ("tool_use", None)


@pytest.mark.parametrize(
    ("choice", "num_calls"),
    [
        ({"type": "none"}, 0),
        ({"type": "auto"}, 2),
        ({"type": "auto", "disable_parallel_tool_use": True}, 1),
        ({"type": "tool", "name": "weather"}, 1),
        ({"type": "any", "disable_parallel_tool_use": True}, 1),
        ({"type": "any"}, 2),
    ],
)
def test_the_tool_choice_is_enforced(ask: Ask, choice: dict[str, Any], num_calls: int) -> None:
    message = ask(say(f"{call(city='Rome')}\n{call(city='Oslo')}"), tools=[TOOL], tool_choice=choice)

    assert sum(block["type"] == "tool_use" for block in message["content"]) == num_calls


def test_a_call_that_is_cut_has_what_is_complete(api: ApiServer, prefix: str) -> None:
    whole = call(city="Rome", days=3)
    body = message_body(say(whole), tools=[TOOL], max_tokens=whole.index("days") + 2)
    message = api.post(f"{prefix}/messages", body).json()

    assert (message["content"][0]["input"], message["stop_reason"]) == ({"city": "Rome"}, "max_tokens")


def test_a_format_is_enforced(ask: Ask) -> None:
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
        "additionalProperties": False,
    }
    message = ask(say('{"n": 4}'), output_config={"format": {"type": "json_schema", "schema": schema}})

    assert json.loads(message["content"][0]["text"]) == {"n": 4}


def test_the_raw_output_is_added_on_request(ask: Ask) -> None:
    raw = ask(say("Hello"), raw_output=True)["raw_output"]

    assert (raw["completion"], len(raw["prompt_token_ids"])) == ("Hello", 29)


def test_the_default_effort_is_one_of_every_model(ask: Ask) -> None:
    """Claude Code sends it with every request."""
    message = ask(say("Hello"), output_config={"effort": "high"}, thinking={"type": "adaptive"})

    assert message["content"] == [text("Hello")]


def test_an_answer_without_text_has_no_blocks(ask: Ask) -> None:
    assert ask(say("")) | {"usage": None} == {
        "type": "message",
        "role": "assistant",
        "model": "fake",
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": None,
    }
