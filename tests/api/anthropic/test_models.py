"""POST /messages with models that other servers run, and with models that are not loaded yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from crossette.pool.pool import ModelPool
from crossette.testing.fake_engine import FakeEngine
from support.anthropic_messages import folded, message_body, named_events, without_ids
from support.api_server import ApiServer, parrot, say, serving
from support.model_loads import GIB, Loads
from support.remotes import remote

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOL = {"name": "add", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


@pytest.fixture(scope="module")
def upstream() -> Iterator[ApiServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def through(upstream: ApiServer) -> Iterator[ApiServer]:
    with serving(remotes=[remote(upstream.url("/v1"), fields=frozenset())]) as server:
        yield server


BODIES: dict[str, dict[str, Any]] = {
    "text": message_body(say("Hello, Welt: äöü 🎆"), system="s"),
    "cut": message_body(say("Hello"), max_tokens=3),
    "call": message_body(say(f"Look. {CALL}"), tools=[TOOL], tool_choice={"type": "auto"}),
    "one call": message_body(say(CALL), tools=[TOOL], tool_choice={"type": "tool", "name": "add"}),
    "format": message_body("J", output_config={"format": {"type": "json_schema", "schema": {"const": {"a": 1}}}}),
    "conversation": message_body()
    | {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": say("Two.")}]},
        ],
        "tools": [TOOL],
    },
    "disabled": message_body(say("Hello"), thinking={"type": "disabled"}),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", BODIES)
def test_a_remote_model_is_answered_as_a_local_one(
    through: ApiServer, upstream: ApiServer, prefix: str, case: str, streamed: bool
) -> None:
    answers = [server.post(f"{prefix}/messages", BODIES[case] | {"stream": streamed}) for server in (through, upstream)]
    assert [answer.status_code for answer in answers] == [200, 200], answers[0].text

    remote_message, local = (
        without_ids(folded(named_events(answer.content)) if streamed else answer.json()) for answer in answers
    )
    assert remote_message == local


def test_an_upstream_does_not_say_what_stopped_an_answer(through: ApiServer, prefix: str) -> None:
    message = through.post(f"{prefix}/messages", message_body(say("one two"), stop_sequences=["two"])).json()

    assert message["content"][0]["text"] == "one "
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"top_k": 5}, "'top_k' is not known to the server that runs this model"),
        ({"raw_output": True}, "'raw_output' is not possible for a model that another server runs"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "'a last message of role assistant' is not known to the server that runs this model",
        ),
    ],
)
def test_what_an_upstream_does_not_know_is_refused(
    through: ApiServer, prefix: str, sent: dict[str, Any], message: str
) -> None:
    answer = through.post(f"{prefix}/messages", message_body() | sent)

    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


def test_the_tokens_of_a_remote_model_are_not_counted(through: ApiServer, prefix: str) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "a"}]}
    answer = through.post(f"{prefix}/messages/count_tokens", body)

    assert answer.status_code == 400
    assert "'fake' is run by another server" in answer.json()["error"]["message"]


# --- models that are not loaded ---


@pytest.fixture
def cold() -> Iterator[ApiServer]:
    loads = Loads(parrot)
    pool = ModelPool([loads.source("fake")], memory=2 * GIB, min_idle_s=0)
    with serving(pool=pool, first_byte_timeout=0.05, comment_interval=0.01) as server:
        yield server


def test_counting_loads_a_model(cold: ApiServer, prefix: str) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "a"}]}
    counted = cold.post(f"{prefix}/messages/count_tokens", body).json()["input_tokens"]

    assert counted == cold.post(f"{prefix}/messages", message_body("a")).json()["usage"]["input_tokens"]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_message_loads_a_model(cold: ApiServer, prefix: str, streamed: bool) -> None:
    answer = cold.post(f"{prefix}/messages", message_body(say("Hello"), stream=streamed))
    message = folded(named_events(answer.content)) if streamed else answer.json()

    assert message["content"][0]["text"] == "Hello"


def test_a_bad_request_for_a_model_that_is_not_loaded_is_rejected_at_once(cold: ApiServer, prefix: str) -> None:
    answer = cold.post(f"{prefix}/messages", message_body(tools=[{"name": "a"}]))

    assert answer.status_code == 400
    assert "'tools[0].input_schema'" in answer.json()["error"]["message"]


# --- waiting ---


def test_a_long_wait_sends_pings(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01, comment_interval=0.01) as api,
        api.http.stream("POST", api.url(f"{prefix}/messages"), json=message_body(say("a"), stream=True)) as answer,
    ):
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(6)] == ["event: ping", 'data: {"type":"ping"}', ""] * 2
        engine.resume()
        rest = "\n".join(lines) + "\n"

    assert folded(named_events(rest.encode()))["content"][0]["text"] == "a"
