"""The accumulated events of a stream equal the response, for any output that is cut anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossette.types import FinishReason
from support.api_server import PREFIXES, ApiServer, serving
from support.played_engine import PlayedEngine
from support.response_events import accumulated, response_events, without_ids
from support.token_streams import TABLE, ChoiceTokens, choice_tokens, interleaved_steps, stops_in

pytestmark = pytest.mark.slow

TEMPLATE = "{% for m in messages %}{{ m.role }}{{ m.content }}{{ m.reasoning_content }}<think></think>{% endfor %}"
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": "é"}}\n</tool_call>'
PARTS = ("<think>", "</think>", "a", "é", "\n", " ", "<", CALL, CALL[:20], CALL[:-3], "🎆")
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


@pytest.fixture(scope="module")
def engine() -> PlayedEngine:
    return PlayedEngine(TABLE)


@pytest.fixture(scope="module")
def played(engine: PlayedEngine) -> Iterator[ApiServer]:
    assert engine.info.chat_template is not None
    engine.info = replace(engine.info, chat_template=TEMPLATE)
    with serving(engine) as api:
        yield api


@st.composite
def marked_up(draw: st.DrawFn) -> ChoiceTokens:
    """Reasoning, text and calls in any order, cut into tokens anywhere."""
    data = "".join(draw(st.lists(st.sampled_from(PARTS), max_size=6))).encode()
    edges = draw(st.sets(st.integers(0, len(data)))) | {0, len(data)}
    tokens = [TABLE.id_of(data[begin:end]) for begin, end in pairwise(sorted(edges))]
    return ChoiceTokens(tuple(tokens), draw(st.sampled_from(FinishReason)))


@st.composite
def bodies(draw: st.DrawFn, choice: ChoiceTokens) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "played",
        "input": "é",
        "stop": draw(stops_in(choice.text)),
        "include": draw(st.sampled_from([[], ["message.output_text.logprobs", "reasoning.encrypted_content"]])),
        "top_logprobs": draw(st.sampled_from([None, 2])),
        "reasoning": draw(st.sampled_from([None, {"summary": "auto"}])),
        "max_tool_calls": draw(st.sampled_from([None, 1])),
    }
    return body | {"tools": [TOOL]} if draw(st.booleans()) else body


@pytest.mark.parametrize("prefix", PREFIXES)
@settings(max_examples=100, deadline=None)
@given(st.data(), marked_up() | choice_tokens())
def test_the_accumulated_events_equal_the_response(
    played: ApiServer, engine: PlayedEngine, prefix: str, data: st.DataObject, choice: ChoiceTokens
) -> None:
    body = data.draw(bodies(choice))

    steps = data.draw(interleaved_steps([choice]))
    engine.play(steps)
    streamed = played.post(f"{prefix}/responses", {**body, "stream": True})
    # Usage counts the whole step in which the last call ends that `max_tool_calls` allows.
    engine.play(steps if body["max_tool_calls"] else data.draw(interleaved_steps([choice])))
    whole = played.post(f"{prefix}/responses", body)

    assert streamed.status_code == whole.status_code == 200, whole.text
    assert without_ids(accumulated(response_events(streamed.content))) == without_ids(whole.json())


@settings(max_examples=50, deadline=None)
@given(st.data(), choice_tokens())
def test_text_and_logprobs_are_those_of_a_chat(
    played: ApiServer, engine: PlayedEngine, data: st.DataObject, choice: ChoiceTokens
) -> None:
    stop = data.draw(stops_in(choice.text))
    engine.play(data.draw(interleaved_steps([choice])))
    sent = {"input": "é", "include": ["message.output_text.logprobs"], "include_stop_str_in_output": True}
    response = played.post("/v1/responses", {"model": "played", "stop": stop, **sent}).json()
    engine.play(data.draw(interleaved_steps([choice])))
    sent = {"messages": [{"role": "user", "content": "é"}], "logprobs": True, "include_stop_str_in_output": True}
    chat = played.post("/v1/chat/completions", {"model": "played", "stop": stop, **sent}).json()["choices"][0]

    parts = [part for item in response["output"] for part in item["content"]]
    assert "".join(part["text"] for part in parts) == chat["message"]["content"]
    records = [record for part in parts for record in part["logprobs"]]
    assert records == chat["logprobs"]["content"][: len(records)]
    beyond = chat["logprobs"]["content"][len(records) :]
    assert b"".join(bytes(record["bytes"]) for record in beyond).decode(errors="ignore").strip("\ufffd") == ""
