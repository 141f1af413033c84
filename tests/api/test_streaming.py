"""Streams: frames, usage, start, end, and failures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import openai
import pytest

from crossette.generation.choice import Choice
from crossette.testing.fake_engine import FakeEngine
from crossette.types import TokenOutput
from support.api_server import DIALECTS, LIMIT_S, ApiServer, cut_short, events, has, parrot, say, serving

ENDPOINTS = ("completions", "chat/completions")
ABSENT = "absent"


def make_body(endpoint: str, order: str = "Hello", **fields: object) -> dict[str, object]:
    prompt: dict[str, object] = (
        {"messages": [{"role": "user", "content": say(order)}]}
        if endpoint == "chat/completions"
        else {"prompt": say(order)}
    )
    return {"model": "fake", "max_tokens": 50, "stream": True, **prompt, **fields}


@pytest.fixture(params=ENDPOINTS)
def endpoint(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


@contextmanager
def begun(
    api: ApiServer, path: str, body: object, headers: Mapping[str, str] | None = None
) -> Iterator[HTTPConnection]:
    """A request whose answer the test reads after it has stepped the engine."""
    connection = HTTPConnection(*api.address, timeout=LIMIT_S)
    connection.request("POST", path, json.dumps(body), dict(headers or {}))
    try:
        yield connection
    finally:
        connection.close()


def read_until_text(answer: HTTPResponse) -> str:
    """The text of the next chunk that has any."""
    while True:
        line, _blank = answer.readline(), answer.readline()
        if line.startswith(b"data: ") and (text := _text_of(json.loads(line[6:]))):
            return text


# --- the frames ---


def test_a_stream_has_the_event_stream_headers(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint))

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert "content-length" not in answer.headers
    assert events(answer.content)


def test_only_error_frames_have_an_error_key(api: ApiServer, prefix: str, endpoint: str) -> None:
    chunks = events(api.post(f"{prefix}/{endpoint}", make_body(endpoint)).content)

    assert all("error" not in chunk for chunk in chunks)


def test_chunks_are_sent_as_tokens_are_generated(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api, begun(api, f"{prefix}/{endpoint}", make_body(endpoint)) as connection:
        engine.wait_for(has(waiting=1))
        engine.step()
        answer = connection.getresponse()
        for letter in "Hello":
            assert read_until_text(answer) == letter
            engine.step()
        assert answer.read().endswith(b"data: [DONE]\n\n")


def test_text_that_may_become_a_stop_string_is_held_back_and_not_lost(prefix: str, endpoint: str) -> None:
    with serving() as api:
        body = make_body(endpoint, "a-b--c-", stop="--", include_stop_str_in_output=False)
        chunks = events(api.post(f"{prefix}/{endpoint}", body).content)
        body = make_body(endpoint, "a-b-c-", stop="--", include_stop_str_in_output=False)
        unstopped = events(api.post(f"{prefix}/{endpoint}", body).content)

    assert [text for chunk in chunks if (text := _text_of(chunk))] == ["a", "-b"]
    assert "".join(map(_text_of, unstopped)) == "a-b-c-"


# --- usage ---

# (prefix, stream_options) -> usage on an ordinary chunk, on the chunk with the reason, and whether a chunk is added
USAGE = [
    ("/v1", None, ABSENT, ABSENT, False),
    ("/v1", {}, ABSENT, ABSENT, False),
    ("/v1", {"include_usage": None}, ABSENT, ABSENT, False),
    ("/v1", {"include_usage": False}, ABSENT, ABSENT, False),
    ("/v1", {"include_usage": True}, None, None, True),
    ("/inference/v1", None, None, "usage", False),
    ("/inference/v1", {}, None, "usage", False),
    ("/inference/v1", {"include_usage": None}, None, "usage", False),
    ("/inference/v1", {"include_usage": False}, None, None, False),
    ("/inference/v1", {"include_usage": True}, None, None, True),
    ("/v1", {"include_usage": False, "continuous_usage_stats": True}, ABSENT, ABSENT, False),
    ("/inference/v1", {"include_usage": False, "continuous_usage_stats": True}, None, None, False),
]


@pytest.mark.parametrize(("prefix_", "options", "ordinary", "at_finish", "added"), USAGE)
@pytest.mark.parametrize("n", [1, 3])
def test_usage_is_sent_once_in_the_chunk_that_dialect_and_request_define(
    api: ApiServer,
    endpoint: str,
    prefix_: str,
    options: object,
    ordinary: object,
    at_finish: object,
    added: bool,
    n: int,
) -> None:
    body = make_body(endpoint, "Hello|you|Hi", stream_options=options, n=n)

    chunks = events(api.post(f"{prefix_}/{endpoint}", body).content)
    whole = api.post(f"{prefix_}/{endpoint}", body | {"stream": False, "stream_options": None}).json()["usage"]

    if added:
        last = chunks.pop()
        assert (last["choices"], last["usage"]) == ([], whole)
    last_finish = max(i for i, chunk in enumerate(chunks) if chunk["choices"][0]["finish_reason"])
    usages = [chunk.get("usage", ABSENT) for chunk in chunks]
    assert last_finish == len(chunks) - 1
    assert usages == [ordinary] * last_finish + [whole if at_finish == "usage" else at_finish]


@pytest.mark.parametrize("include", [True, None], ids=["and at the end", "alone"])
def test_continuous_usage_grows_with_every_chunk(
    api: ApiServer, prefix: str, endpoint: str, include: bool | None
) -> None:
    body = make_body(endpoint, stream_options={"include_usage": include, "continuous_usage_stats": True})

    chunks = events(api.post(f"{prefix}/{endpoint}", body).content)

    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    role = [0] if endpoint == "chat/completions" else []
    assert counts == [*role, 1, 2, 3, 4, 5, 5, *([5] if include else [])]
    assert len({chunk["usage"]["prompt_tokens"] for chunk in chunks}) == 1


@pytest.mark.parametrize("tokens_per_step", [1, 2, 3])
def test_usage_counts_a_choice_from_its_first_text_on(prefix: str, endpoint: str, tokens_per_step: int) -> None:
    """Even if its first text is held back because it may become a stop string."""
    body = make_body(endpoint, "Hello|--ab|-x", n=3, stop="--!", stream_options={"continuous_usage_stats": True})
    with serving(FakeEngine(parrot, tokens_per_step=tokens_per_step)) as api:
        chunks = events(api.post(f"{prefix}/{endpoint}", body).content)

    counts, tokens_of = [], [0, 0, 0]
    for chunk in chunks:
        (choice,), count = chunk["choices"], chunk["usage"]["completion_tokens"]
        counts.append(count)
        others = sum(tokens for index, tokens in enumerate(tokens_of) if index != choice["index"])
        is_role = "role" in choice.get("delta", {})
        assert (count == others) == is_role
        tokens_of[choice["index"]] = count - others
    assert counts == sorted(counts)
    assert tokens_of == [len("Hello"), len("--ab"), len("-x")]


# --- failing ---


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"max_tokens": 0}, 400), ({"model": "other"}, 404), ({"huh": 1}, 400), ({"max_tokens": 5000}, 400)],
)
def test_an_early_failure_keeps_its_status(
    api: ApiServer, endpoint: str, fields: dict[str, object], status: int
) -> None:
    answer = api.post(f"/v1/{endpoint}", make_body(endpoint) | fields)

    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json")


def test_a_failure_before_the_first_token_keeps_its_status(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api, api.begin(f"{prefix}/{endpoint}", make_body(endpoint)) as connection:
        engine.wait_for(has(waiting=1))
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.step()
        status = connection.makefile("rb").readline()

    assert status == b"HTTP/1.1 500 Internal Server Error\r\n"


def test_a_failure_in_mid_stream_is_one_error_frame_without_done(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    body, headers = make_body(endpoint), {"x-request-id": "mine"}
    with serving(engine) as api, begun(api, f"{prefix}/{endpoint}", body, headers) as connection:
        engine.wait_for(has(waiting=1))
        engine.step()
        answer = connection.getresponse()
        assert read_until_text(answer) == "H"
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.step()
        (last,) = cut_short(answer.read())

    assert (set(last), set(last["error"])) == ({"error", "request_id"}, {"message", "type", "param", "code"})
    assert (last["error"]["type"], last["error"]["code"]) == DIALECTS[prefix].errors["internal"]
    assert last["request_id"] == answer.headers["x-request-id"] == "mine"


@pytest.mark.slow
def test_the_sdk_raises_for_an_error_frame(prefix: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine, first_byte_timeout=0.01) as api:
        stream = api.sdk(prefix).completions.create(
            model="fake", prompt="go on", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        engine.step()
        next(stream)
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.resume()
        with pytest.raises(openai.APIError, match="engine failed"):
            list(stream)


def test_an_unexpected_failure_in_mid_stream_reveals_no_details(
    prefix: str, endpoint: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Choice.read

    def read_or_fail(self: Choice, output: TokenOutput, *time: float) -> Any:
        if self.num_tokens == 3:
            raise RuntimeError("secret")
        return read(self, output, *time)

    monkeypatch.setattr(Choice, "read", read_or_fail)
    with serving() as api:
        answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint))
        api.wait_until_idle()

    last = cut_short(answer.content)[-1]
    assert answer.status_code == 200
    assert last["error"]["code"] == DIALECTS[prefix].errors["internal"][1]
    assert "secret" not in answer.text
    assert "secret" in caplog.text


# --- waiting for the first token ---


def test_a_long_wait_sends_the_status_and_comments_and_then_the_answer(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01, comment_interval=0.01) as api,
        api.http.stream("POST", api.url(f"{prefix}/{endpoint}"), json=make_body(endpoint)) as answer,
    ):
        assert answer.status_code == 200  # no output yet
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [":", "", ":", ""]
        engine.resume()
        rest = "\n".join(lines) + "\n"

    frames = [frame for frame in rest.split("\n\n") if frame and frame != ":"]
    chunks = events(("\n\n".join(frames) + "\n\n").encode())
    assert "".join(map(_text_of, chunks)) == "Hello"


def test_a_failure_after_a_long_wait_is_a_frame(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with (
        serving(engine, first_byte_timeout=0.01, comment_interval=0.01) as api,
        api.http.stream("POST", api.url(f"{prefix}/{endpoint}"), json=make_body(endpoint)) as answer,
    ):
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.step()
        (only,) = cut_short(answer.read())

    assert answer.status_code == 200
    assert only["error"]["code"] == DIALECTS[prefix].errors["internal"][1]


def test_without_a_long_wait_no_comment_is_sent(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint))

    assert b"\n:" not in answer.content


def _text_of(chunk: Any) -> str:
    """The new text of a chunk of either endpoint."""
    text = ""
    for choice in chunk.get("choices", ()):
        text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text
