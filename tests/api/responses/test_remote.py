"""Responses of models that other servers run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.api_server import ApiServer, serving
from support.remotes import remote
from support.response_events import accumulated, response_events, without_ids
from support.sse_server import DONE, Answer, ScriptedServer, event, finish_chunk, usage_chunk
from support.sse_server import serving as scripted

ADD = {"type": "function", "name": "add", "parameters": {"type": "object", "properties": {}}}


def delta(**sent: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": sent}]})


def call(index: int, name: str = "", arguments: str = "") -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return {"index": index, "function": function}


@contextmanager
def upstream_of(*chunks: bytes, fields: frozenset[str] = frozenset()) -> Iterator[tuple[ApiServer, ScriptedServer]]:
    with (
        scripted(Answer([*chunks, usage_chunk(7, 5, 4), DONE])) as upstream,
        serving(remotes=[remote(upstream.url, fields=fields)]) as api,
    ):
        yield api, upstream


def test_reasoning_text_and_calls_that_grow_side_by_side(prefix: str) -> None:
    chunks = [
        delta(reasoning_content="Hm."),
        delta(content="Wait"),
        delta(content="."),
        delta(tool_calls=[call(0, "add")]),
        delta(tool_calls=[call(1, "sub", '{"b"')]),
        delta(tool_calls=[call(0, arguments="{}"), call(1, arguments=": 1}")]),
        finish_chunk("tool_calls"),
    ]
    body = {"model": "fake", "input": "Hi", "tools": [ADD], "instructions": "Be brief.", "max_output_tokens": 9}
    with upstream_of(*chunks) as (api, upstream):
        whole = api.post(f"{prefix}/responses", body).json()
        events = response_events(api.post(f"{prefix}/responses", {**body, "stream": True}).content)
        sent = upstream.bodies[-1]

    assert without_ids(accumulated(events)) == without_ids(whole)
    reasoning, message, *calls = whole["output"]
    assert reasoning["content"][0]["text"] == "Hm."
    assert message["content"][0]["text"] == "Wait."
    assert [(one["name"], json.loads(one["arguments"])) for one in calls] == [("add", {}), ("sub", {"b": 1})]
    details = whole["usage"]["input_tokens_details"]
    assert details == {"cached_tokens": 4, "cache_write_tokens": 0}
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert (sent["max_completion_tokens"], sent["tools"][0]["function"]["name"]) == (9, "add")


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"top_logprobs": 1}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"top_k": 5}, "top_k"),
        ({"service_tier": "flex"}, "service_tier"),
    ],
)
def test_what_an_upstream_does_not_know_is_refused_by_name(prefix: str, sent: dict[str, Any], param: str) -> None:
    with upstream_of(finish_chunk()) as (api, upstream):
        answer = api.post(f"{prefix}/responses", {"model": "fake", "input": "Hi", **sent})

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert upstream.bodies == []


def test_tokens_of_a_remote_model_are_not_counted(prefix: str) -> None:
    with upstream_of(finish_chunk()) as (api, _):
        answer = api.post(f"{prefix}/responses/input_tokens", {"model": "fake", "input": "Hi"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "model")
