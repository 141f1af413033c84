"""A disconnect at any time frees what the request held, and does not affect others."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, events, has, parrot, say, serving
from support.engine_calls import is_empty

pytestmark = pytest.mark.slow

ENDPOINTS = ("completions", "chat/completions")


def make_body(endpoint: str, text: str = "x" * 900, **fields: object) -> dict[str, object]:
    prompt: dict[str, object] = (
        {"messages": [{"role": "user", "content": say(text)}]}
        if endpoint == "chat/completions"
        else {"prompt": say(text)}
    )
    return {"model": "fake", "max_tokens": 1000, "stream": True, **prompt, **fields}


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@pytest.fixture(params=[True, False], ids=["streamed", "whole"])
def streamed(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen


def paused_engine(**fields: Any) -> FakeEngine:
    engine = FakeEngine(parrot, **fields)
    engine.pause()
    return engine


def gone(engine: FakeEngine) -> None:
    """Wait until the engine is empty without a further step: everything was cancelled."""
    steps = engine.stats().steps
    engine.wait_for(lambda stats: is_empty(engine))
    assert engine.stats().steps == steps


def test_a_disconnect_before_the_first_step_leaves_the_queue(prefix: str, endpoint: str, streamed: bool) -> None:
    engine = paused_engine()
    with serving(engine) as api:
        connection = api.begin(f"{prefix}/{endpoint}", make_body(endpoint, stream=streamed, n=3))
        engine.wait_for(has(waiting=3))
        connection.close()
        gone(engine)


def test_a_disconnect_while_queued_leaves_the_queue_and_not_the_batch(prefix: str, streamed: bool) -> None:
    engine = paused_engine(max_sequences=1)
    with serving(engine) as api:
        runs = api.begin(f"{prefix}/completions", make_body("completions"))
        engine.wait_for(has(waiting=1))
        engine.step()
        engine.wait_for(has(running=1, waiting=0))
        queued = api.begin(f"{prefix}/completions", make_body("completions", stream=streamed))
        engine.wait_for(has(running=1, waiting=1))
        queued.close()
        engine.wait_for(has(running=1, waiting=0))
        runs.close()
        gone(engine)


def test_a_disconnect_while_running_frees_every_block(prefix: str, endpoint: str, streamed: bool) -> None:
    engine = paused_engine()
    with serving(engine) as api:
        connection = api.begin(f"{prefix}/{endpoint}", make_body(endpoint, stream=streamed, n=2))
        engine.wait_for(has(waiting=2))
        engine.step()
        engine.wait_for(has(running=2))
        connection.close()
        gone(engine)


def test_a_disconnect_in_mid_stream_frees_every_block(prefix: str, endpoint: str) -> None:
    engine = paused_engine()
    with serving(engine) as api:
        connection = api.begin(f"{prefix}/{endpoint}", make_body(endpoint))
        engine.wait_for(has(waiting=1))
        engine.step()
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        connection.close()
        gone(engine)


def test_a_disconnect_between_status_and_first_token_frees_every_block(prefix: str, endpoint: str) -> None:
    engine = paused_engine()
    with serving(engine, first_byte_timeout=0.01) as api:
        connection = api.begin(f"{prefix}/{endpoint}", make_body(endpoint))
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")
        connection.close()
        gone(engine)


def test_a_disconnect_ends_all_of_several_prompts(prefix: str, streamed: bool) -> None:
    engine = paused_engine()
    body = make_body("completions", stream=streamed) | {"prompt": [say("x" * 500)] * 5}
    with serving(engine) as api:
        connection = api.begin(f"{prefix}/completions", body)
        engine.wait_for(has(waiting=5))
        engine.step()
        engine.wait_for(has(running=5))
        connection.close()
        gone(engine)


def test_a_disconnect_within_the_body_never_reaches_the_engine(prefix: str) -> None:
    with serving(paused_engine()) as api:
        connection = api.connect()
        connection.sendall(f"POST {prefix}/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\n\r\n{{".encode())
        connection.close()
        assert api.get(f"{prefix}/models").status_code == 200
        assert is_empty(api.engine)


def test_other_streams_are_not_affected(prefix: str, endpoint: str) -> None:
    texts = [f"stream {i} says " + "abcdefghij" * 30 for i in range(6)]
    expected = [text for i, text in enumerate(texts) if i % 2]
    engine = paused_engine()
    with serving(engine) as api:
        quitters = [api.begin(f"{prefix}/{endpoint}", make_body(endpoint, text)) for text in texts[::2]]
        answers: dict[str, str] = {}
        readers = [
            threading.Thread(target=_read, args=(api, f"{prefix}/{endpoint}", endpoint, text, answers))
            for text in expected
        ]
        for reader in readers:
            reader.start()
        engine.wait_for(has(waiting=6))
        for _ in range(20):
            engine.step()
        engine.wait_for(has(steps=20))
        for quitter in quitters:
            quitter.close()
        engine.wait_for(has(running=3))
        engine.resume()
        for reader in readers:
            reader.join()
        api.wait_until_idle()

    assert answers == {text: text for text in expected}


def _read(api: ApiServer, path: str, endpoint: str, text: str, answers: dict[str, str]) -> None:
    chunks = events(api.post(path, make_body(endpoint, text)).content)
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    answers[text] = "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def test_a_client_that_reads_nothing_does_not_delay_others(prefix: str) -> None:
    """Only its own stream waits for the socket buffer."""
    with serving(FakeEngine(context_length=100_000, tokens_per_step=64)) as api:
        body = {"model": "fake", "prompt": "go on", "max_tokens": 90_000, "ignore_eos": True, "stream": True}
        with api.begin(f"{prefix}/completions", body):
            api.engine.wait_for(
                lambda stats: stats.steps > 0
            )  # it has started, and may even be finished, as nothing reads it

            answer = api.post(
                f"{prefix}/completions", json.dumps({"model": "fake", "prompt": "x", "max_tokens": 5}).encode()
            )

            assert answer.json()["usage"]["completion_tokens"] == 5
        api.wait_until_idle()
