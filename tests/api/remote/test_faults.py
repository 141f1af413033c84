"""Faults of upstreams: fail-over before the first chunk, one error frame after it, and what clients and logs read."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import httpx
import pytest

from crossette.accounts.access import Caller, Limits
from crossette.remote.model import RemoteModel
from support.api_server import DIALECTS, LIMIT_S, ApiServer, cut_short, has, say, serving
from support.ledger_entries import InMemoryLedger
from support.remotes import remote
from support.sse_server import (
    DONE,
    Answer,
    ScriptedServer,
    chat_completion,
    delta_chunk,
    error_answer,
    event,
    finish_chunk,
    unused_url,
    usage_chunk,
)
from support.sse_server import serving as scripted
from support.waiting import wait_until

SILENCE_S = 0.5
KEY = "sk-very-secret"
GOOD = Answer(chat_completion("Hi"))


@contextmanager
def through(
    *answers: Answer, read_timeout_s: float = LIMIT_S, **settings: Any
) -> Iterator[tuple[ApiServer, ScriptedServer]]:
    """A server whose model `fake` is a scripted upstream."""
    with scripted(*answers) as upstream:
        model = remote(upstream.url, key=KEY, read_timeout_s=read_timeout_s)
        with serving(remotes=[model], **settings) as api:
            yield api, upstream


@contextmanager
def over(*scripts: Answer | None) -> Iterator[tuple[ApiServer, RemoteModel, list[ScriptedServer]]]:
    """A server whose model has several upstreams with one answer each; None is a closed port."""
    with ExitStack() as stack:
        servers = [stack.enter_context(scripted(script)) if script else None for script in scripts]
        urls = [server.url if server else unused_url() for server in servers]
        model = remote(*urls, read_timeout_s=SILENCE_S)
        api = stack.enter_context(serving(remotes=[model]))
        yield api, model, [server for server in servers if server]


def ask(api: ApiServer, prefix: str = "/v1", **more: Any) -> httpx.Response:
    return api.post(
        f"{prefix}/chat/completions", {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], **more}
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, 400, "invalid_request"),
        (422, 400, "invalid_request"),
        (413, 413, "too_large"),
        (401, 502, "upstream_failed"),
        (403, 502, "upstream_failed"),
        (404, 502, "upstream_failed"),
        (302, 502, "upstream_failed"),
        (418, 502, "upstream_failed"),
        (500, 502, "upstream_failed"),
        (429, 429, "rate_limited"),
        (503, 503, "overloaded"),
        (408, 504, "upstream_timeout"),
        (504, 504, "upstream_timeout"),
    ],
)
def test_an_error_status_has_its_meaning(prefix: str, stream: bool, status: int, expected: int, kind: str) -> None:
    with through(error_answer(status, f"no {KEY}", **{"retry-after": "7"})) as (api, upstream):
        answer = ask(api, prefix, stream=stream)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (expected, *DIALECTS[prefix].errors[kind])
    assert KEY not in answer.text
    assert answer.headers.get("retry-after") == ("7" if expected in (429, 503) else None)
    assert upstream.headers[0]["authorization"] == f"Bearer {KEY}"


def test_the_message_of_a_rejected_request_is_passed_on() -> None:
    body = {"error": {"message": "n is too large", "param": "n"}}
    with through(Answer([json.dumps(body).encode()], 400, "application/json")) as (api, _):
        error = ask(api).json()["error"]

    assert (error["message"], error["param"]) == (
        "The upstream of this model rejected the request: n is too large",
        "n",
    )


def test_a_hint_is_logged_and_a_key_is_not(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with through(error_answer(401, f"Incorrect API key {KEY}")) as (api, _):
        answer = ask(api)
        api.observed.wait_for(1)

    assert "api_key_env" in caplog.text
    assert "api_key_env" not in answer.text
    assert KEY not in caplog.text
    assert "127.0.0.1" not in answer.text


BROKEN = {
    "no stream": Answer([b'{"choices": []}'], content_type="application/json"),
    "no JSON": Answer([b"data: nonsense\n\n"]),
    "wrong types": Answer([event({"choices": [{"delta": {"content": 5}}]})]),
    "error frame": Answer([event({"error": {"message": "out of memory"}})]),
    "empty": Answer([]),
    "only [DONE]": Answer([DONE]),
    "unknown choice": Answer([event({"choices": [{"index": 1, "delta": {"content": "a"}}]}), DONE]),
    "silence": Answer(hangs=True),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_stream_is_an_error_with_its_own_status(case: str, stream: bool) -> None:
    with through(BROKEN[case], read_timeout_s=SILENCE_S) as (api, _):
        answer = ask(api, stream=stream)

    assert answer.status_code == (504 if case == "silence" else 502), answer.text


@pytest.mark.parametrize(
    "rest",
    [[], [DONE], [b"data: {\n\n"], [event({"error": "gone"})], [finish_chunk().replace(b'"index": 0', b'"index": 5')]],
)
def test_a_fault_in_mid_stream_is_one_error_frame(prefix: str, rest: list[bytes]) -> None:
    with through(Answer([delta_chunk("Hel"), *rest])) as (api, upstream):
        answer = ask(api, prefix, stream=True)

    *chunks, last = cut_short(answer.content)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "Hel"
    assert last["error"]["code"] == DIALECTS[prefix].errors["upstream_failed"][1]
    assert len(upstream.bodies) == 1


def test_silence_in_mid_stream_is_a_typed_error() -> None:
    with through(Answer([delta_chunk("Hel")], hangs=True), read_timeout_s=SILENCE_S) as (api, upstream):
        *_, last = cut_short(ask(api, stream=True).content)
        assert upstream.disconnected.wait(LIMIT_S)

    assert last["error"]["code"] == "upstream_timeout"


ROLE = event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
FAILING = [
    *(None, error_answer(500, "x"), error_answer(401, "x"), error_answer(429, "x"), Answer([ROLE])),
    *(answer for case, answer in BROKEN.items() if case != "unknown choice"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("first", FAILING)
def test_the_next_upstream_answers_if_the_first_one_fails(first: Answer | None, stream: bool) -> None:
    with over(first, GOOD) as (api, _, _):
        answer = ask(api, stream=stream)
        assert answer.status_code == 200, answer.text
        assert "Hi" in answer.text


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_rejected_request_is_not_sent_to_another_upstream(status: int) -> None:
    with over(error_answer(status, "x"), GOOD) as (api, _, (_, second)):
        assert ask(api).status_code in (400, 413)
        assert not second.bodies


def test_after_the_first_chunk_no_other_upstream_is_asked() -> None:
    with over(Answer([delta_chunk("Hel")]), GOOD) as (api, _, (_, second)):
        assert cut_short(ask(api, stream=True).content)[-1]["error"]
        assert not second.bodies


def test_of_several_refusals_the_soonest_retry_is_passed_on() -> None:
    scripts = [error_answer(503, "x", **{"retry-after": "9"}), None, error_answer(429, "x", **{"retry-after": "4"})]
    with over(*scripts) as (api, _, _):
        answer = ask(api)

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "4")


def test_a_failed_upstream_is_not_asked_until_a_probe_succeeds(prefix: str) -> None:
    with over(error_answer(500, "x"), GOOD) as (api, model, (first, second)):
        model.upstreams[0]._first_probe_s = LIMIT_S
        for _ in range(3):
            assert ask(api, prefix).status_code == 200
        assert (len(first.bodies), len(second.bodies)) == (1, 3)
        assert [upstream.is_up for upstream in model.upstreams] == [False, True]

    with over(error_answer(500, "x"), GOOD) as (api, model, (first, _)):
        assert ask(api, prefix).status_code == 200
        wait_until(lambda: model.upstreams[0].is_up)  # its list of models responds
        assert ask(api, prefix).status_code == 200
        assert len(first.bodies) == 2


def test_a_busy_upstream_is_asked_again_after_its_pause() -> None:
    with over(error_answer(429, "x", **{"retry-after": "60"}), GOOD) as (api, model, (first, second)):
        for _ in range(2):
            assert ask(api).status_code == 200
        assert (len(first.bodies), len(second.bodies)) == (1, 2)
        assert model.upstreams[0].is_up


def test_models_and_readiness_show_whether_an_upstream_responds(prefix: str) -> None:
    with over(None) as (api, model, _):
        entry = api.get(f"{prefix}/models/fake").json()
        assert (entry["state"], "context_length" in entry) == ("awake", False)
        assert ask(api, prefix).status_code == 502
        entry = api.get(f"{prefix}/models/fake").json()
        assert (entry["state"], entry["error"]) == ("failed", "None of its upstreams responds.")
        ready = api.get("/health/ready")
        assert (ready.status_code, ready.json()["models"][0]["state"]) == (200, "failed")
        labels = f'{{model="fake",upstream="{model.upstreams[0].name}"}}'
        page = api.get("/metrics").text
        assert f"crossette_upstream_up{labels} 0.0" in page
        assert f"crossette_upstream_failures_total{labels} 1.0" in page
        assert api.post(f"{prefix}/models/fake/unload", b"").status_code == 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_disconnect_closes_the_upstream_request_at_once(prefix: str, stream: bool) -> None:
    with serving() as upstream, serving(remotes=[remote(upstream.url("/v1"))]) as api:
        upstream.engine.pause()
        body = {"model": "fake", "prompt": say("x" * 500), "max_tokens": 500, "stream": stream}
        with closing(api.begin(f"{prefix}/completions", body)):
            upstream.engine.wait_for(has(waiting=1), LIMIT_S)
        upstream.wait_until_idle()
        api.observed.wait_for(1)
        assert api.observed.records[0].status == 499


def test_the_drain_timeout_ends_a_stream_with_an_error_frame() -> None:
    with through(Answer([delta_chunk("Hel")], hangs=True), drain_timeout=0) as (api, upstream):
        with api.http.stream("POST", api.url("/v1/chat/completions"), json=CHAT_STREAM) as response:
            pieces = response.iter_raw()
            first = next(pieces)
            api.server.should_exit = True
            rest = first + b"".join(pieces)
        assert upstream.disconnected.wait(LIMIT_S)

    assert "shutting down" in cut_short(rest)[-1]["error"]["message"]


CHAT_STREAM = {"model": "fake", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@pytest.mark.parametrize("stream", [False, True])
def test_limits_ledger_and_metrics_have_the_usage_of_the_upstream(stream: bool) -> None:
    ledger = InMemoryLedger()
    callers = {"key": Caller("id-1", "a key", limits=Limits(prompt_tokens_per_minute=1000, total_tokens=500))}
    script = Answer([delta_chunk("Hi"), finish_chunk("length"), usage_chunk(100, 20, 30), DONE])
    with through(script, ledger=ledger, callers=callers) as (api, upstream):
        headers = {"authorization": "Bearer key"}
        body = {**CHAT_STREAM, "stream": stream}
        answer = api.post("/v1/chat/completions", body, headers)
        assert answer.status_code == 200
        api.observed.wait_for(1)
        metrics = api.get("/metrics").text

    (entry,) = ledger.entries
    usage = entry.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == (100, 20, 30)
    assert (entry.model, entry.finish_reason, entry.key_id) == ("fake", "length", "id-1")
    assert 'crossette_prompt_tokens_total{model="fake"} 100.0' in metrics
    assert 450 < upstream.bodies[0]["max_tokens"] < 500  # the rest of the budget


def test_a_cut_stream_without_usage_is_charged_by_its_chunks() -> None:
    ledger = InMemoryLedger()
    with through(Answer([delta_chunk("a"), delta_chunk("b")]), ledger=ledger) as (api, _):
        ask(api, stream=True)
        api.observed.wait_for(1)

    (entry,) = ledger.entries
    assert entry.usage.completion_tokens == 2
    assert entry.usage.prompt_tokens > 0
    assert entry.finish_reason == "error"


def test_a_failed_request_is_not_charged() -> None:
    ledger = InMemoryLedger()
    with through(error_answer(500, "x"), ledger=ledger) as (api, _):
        ask(api)
        api.observed.wait_for(1)

    assert ledger.entries[0].usage.total_tokens == 0


@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_is_used_again(stream: bool) -> None:
    with through(GOOD) as (api, upstream):
        for _ in range(3):
            assert ask(api, stream=stream).status_code == 200

    assert len(set(upstream.ports)) == 1


def test_a_server_that_does_not_end_after_done_is_not_waited_for() -> None:
    with through(Answer(chat_completion("Hi"), hangs=True)) as (api, upstream):
        assert ask(api).status_code == 200
        assert upstream.disconnected.wait(LIMIT_S)


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_must_be_retried_does_not_count(stream: bool) -> None:
    callers = {"key": Caller("id-1", "a key", limits=Limits(requests_per_minute=1))}
    with through(error_answer(429, "x"), callers=callers) as (api, upstream):
        for _ in range(3):
            body = {**CHAT_STREAM, "stream": stream}
            answer = api.post("/v1/chat/completions", body, {"authorization": "Bearer key"})
            assert "upstream" in answer.json()["error"]["message"]
        assert len(upstream.bodies) == 3


def test_reasoning_calls_refusals_and_filters_are_read() -> None:
    def chunk(**delta: Any) -> bytes:
        return event({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    calls = [
        chunk(role="assistant", content=None, reasoning="thinking"),
        chunk(tool_calls=[{"function": {"name": "one", "arguments": "{}"}}]),
        chunk(tool_calls=[{"function": {"name": "two"}}]),
        chunk(tool_calls=[{"function": {"arguments": '{"a"'}}]),
        chunk(tool_calls=[{"function": {"arguments": ":1}"}}]),
        finish_chunk("tool_calls"),
        DONE,
    ]
    filtered = [b": comment\n\n", chunk(refusal="No."), finish_chunk("content_filter"), DONE]
    with through(Answer(calls), Answer(filtered)) as (api, _):
        first, second = (ask(api).json()["choices"][0] for _ in range(2))

    assert (first["message"]["content"], first["message"]["reasoning_content"]) == (None, "thinking")
    functions = [call["function"] for call in first["message"]["tool_calls"]]
    assert functions == [{"name": "one", "arguments": "{}"}, {"name": "two", "arguments": '{"a":1}'}]
    assert first["finish_reason"] == "tool_calls"
    assert (second["message"]["content"], second["finish_reason"]) == ("No.", "content_filter")


def test_a_stream_keeps_its_connection_while_the_upstream_is_silent() -> None:
    with through(Answer([delta_chunk("Hel")], hangs=True), read_timeout_s=SILENCE_S, comment_interval=0.02) as (api, _):
        content = ask(api, stream=True).content

    assert b"\n\n:\n\n" in content
