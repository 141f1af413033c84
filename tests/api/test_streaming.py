"""A stream is the answer in pieces: its frames, its usage, its beginning and its end, also when it fails."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_server import DIALECTS, LIMIT_S, ApiServer, cut_short, events, has, parrot, say, serving
from crossette.api.chat import ChatReply
from crossette.api.completions import CompletionReply
from crossette.api.dialect import Dialect
from crossette.api.generate import Writer
from crossette.api.schema.chat import ChatRequest
from crossette.api.schema.common import Head
from crossette.api.schema.completions import CompletionRequest
from crossette.engines.fake import IM_END, FakeEngine, FakeTokenizer
from crossette.generation import Answer, Choice, Echo, Stops
from crossette.types import FinishReason, GenerationRequest, Logprob, SamplingParams, TokenOutput
from engine_calls import run

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
    """A request that was sent, and whose answer the test reads when it has let the engine step."""
    connection = HTTPConnection(*api.address, timeout=LIMIT_S)
    connection.request("POST", path, json.dumps(body), dict(headers or {}))
    try:
        yield connection
    finally:
        connection.close()


def read_until_said(answer: HTTPResponse) -> str:
    """The text of the next chunk that has any."""
    while True:
        line, _blank = answer.readline(), answer.readline()
        if line.startswith(b"data: ") and (text := _said(json.loads(line[6:]))):
            return text


# --- the frames ---


def test_a_stream_says_what_it_is(api: ApiServer, prefix: str, endpoint: str) -> None:
    answer = api.post(f"{prefix}/{endpoint}", make_body(endpoint))

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert "content-length" not in answer.headers
    assert events(answer.content)


def test_no_healthy_chunk_has_an_error_key(api: ApiServer, prefix: str, endpoint: str) -> None:
    chunks = events(api.post(f"{prefix}/{endpoint}", make_body(endpoint)).content)

    assert all("error" not in chunk for chunk in chunks)


def test_pieces_come_as_they_are_made(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with serving(engine) as api, begun(api, f"{prefix}/{endpoint}", make_body(endpoint)) as connection:
        engine.wait_for(has(waiting=1))
        engine.step()
        answer = connection.getresponse()
        for letter in "Hello":
            assert read_until_said(answer) == letter
            engine.step()
        assert answer.read().endswith(b"data: [DONE]\n\n")


def test_text_that_may_become_a_stop_string_is_held_back_and_not_lost(prefix: str, endpoint: str) -> None:
    with serving() as api:
        body = make_body(endpoint, "a-b--c-", stop="--", include_stop_str_in_output=False)
        chunks = events(api.post(f"{prefix}/{endpoint}", body).content)
        body = make_body(endpoint, "a-b-c-", stop="--", include_stop_str_in_output=False)
        unstopped = events(api.post(f"{prefix}/{endpoint}", body).content)

    assert [text for chunk in chunks if (text := _said(chunk))] == ["a", "-b"]
    assert "".join(map(_said, unstopped)) == "a-b-c-"


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
]


@pytest.mark.parametrize(("prefix_", "options", "ordinary", "at_finish", "added"), USAGE)
@pytest.mark.parametrize("n", [1, 3])
def test_usage_stands_where_the_dialect_and_the_request_want_it_and_never_twice(
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


def test_continuous_usage_grows_with_every_chunk(api: ApiServer, prefix: str, endpoint: str) -> None:
    body = make_body(endpoint, stream_options={"include_usage": True, "continuous_usage_stats": True})

    chunks = events(api.post(f"{prefix}/{endpoint}", body).content)

    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts)
    assert set(counts) == {1, 2, 3, 4, 5}


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


def test_a_failure_in_mid_stream_is_one_frame_and_no_done(prefix: str, endpoint: str) -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    body, headers = make_body(endpoint), {"x-request-id": "mine"}
    with serving(engine) as api, begun(api, f"{prefix}/{endpoint}", body, headers) as connection:
        engine.wait_for(has(waiting=1))
        engine.step()
        answer = connection.getresponse()
        assert read_until_said(answer) == "H"
        engine.fail_next_step(RuntimeError("kernel broke"))
        engine.step()
        (last,) = cut_short(answer.read())

    assert (set(last), set(last["error"])) == ({"error", "request_id"}, {"message", "type", "param", "code"})
    assert (last["error"]["type"], last["error"]["code"]) == DIALECTS[prefix].errors["internal"]
    assert last["request_id"] == answer.headers["x-request-id"] == "mine"


def test_the_sdk_raises_for_an_error_frame(prefix: str) -> None:
    engine = FakeEngine(parrot)
    with serving(engine) as api:
        stream = api.sdk(prefix).completions.create(
            model="fake", prompt="go on", max_tokens=4000, stream=True, extra_body={"ignore_eos": True}
        )
        next(stream)
        engine.fail_next_step(RuntimeError("kernel broke"))
        with pytest.raises(openai.APIError, match="engine failed"):
            list(stream)


def test_an_unexpected_failure_in_mid_stream_gives_nothing_away(
    prefix: str, endpoint: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Choice.read

    def read_or_fail(self: Choice, output: TokenOutput) -> Any:
        if self.num_tokens == 3:
            raise RuntimeError("secret")
        return read(self, output)

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
        assert answer.status_code == 200  # nothing was said yet
        lines = answer.iter_lines()
        assert [next(lines) for _ in range(4)] == [":", "", ":", ""]
        engine.resume()
        rest = "\n".join(lines) + "\n"

    frames = [frame for frame in rest.split("\n\n") if frame and frame != ":"]
    chunks = events(("\n\n".join(frames) + "\n\n").encode())
    assert "".join(map(_said, chunks)) == "Hello"


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


# --- the stream is the answer, wherever it is cut ---


class Scripted:
    """A generation that gives outputs as they were cut beforehand."""

    def __init__(self, outputs: list[TokenOutput]) -> None:
        self._outputs = outputs
        self._finished: set[int] = set()

    def __aiter__(self) -> AsyncIterator[TokenOutput]:
        return self

    async def __anext__(self) -> TokenOutput:
        while self._outputs:
            output = self._outputs.pop(0)
            if output.index not in self._finished:
                return output
        raise StopAsyncIteration

    def finish(self, index: int) -> None:
        self._finished.add(index)

    async def aclose(self) -> None:
        self._outputs = []


@st.composite
def said_by_choices(draw: st.DrawFn) -> list[TokenOutput]:
    """Outputs of a few choices: random bytes, random cuts, random order among choices."""
    queues: list[list[TokenOutput]] = []
    for index in range(draw(st.integers(1, 3))):
        text = draw(st.text("abcä🎆 ", max_size=25)).encode()
        tokens = [*text[: draw(st.integers(0, len(text)))], *([IM_END] * draw(st.integers(0, 1)))]
        cuts = sorted(draw(st.sets(st.integers(1, max(1, len(tokens))), max_size=6)) | {len(tokens)})
        pieces = [tuple(tokens[begin:end]) for begin, end in zip([0, *cuts], cuts, strict=False)]
        reason = draw(st.sampled_from(FinishReason))
        queue = [TokenOutput(index, piece, logprobs=records(piece)) for piece in pieces]
        queue[-1] = replace(queue[-1], finish_reason=reason)
        queue[0] = replace(queue[0], prompt_logprobs=records(PROMPT[1:]))
        queues.append(queue)
    outputs: list[TokenOutput] = []
    while any(queues):
        outputs.append(draw(st.sampled_from([queue for queue in queues if queue])).pop(0))
    return outputs


PROMPT = (*"aä\u200b".encode(), IM_END)


def records(tokens: Sequence[int]) -> tuple[Logprob, ...]:
    return tuple(Logprob(token, -token / 7, -token / 8, ((token, -token / 7), (99, -50.0))) for token in tokens)


def make_answer(outputs: list[TokenOutput], stops: Stops, num_echoed: int) -> Answer:
    n = 1 + max(output.index for output in outputs)
    request = GenerationRequest("id", PROMPT, SamplingParams(1), n)
    tokenizer = FakeTokenizer()
    echo = Echo(tokenizer, PROMPT, num_echoed) if num_echoed else None
    choices = [Choice(index, tokenizer, stops, traced=True, echo=echo) for index in range(n)]
    return Answer([Scripted(list(outputs))], [request], choices)


def plain(value: object) -> Any:
    return json.loads(msgspec.json.encode(value))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("include_usage", [False, True])
@settings(max_examples=150, deadline=None)
@given(
    outputs=said_by_choices(),
    strings=st.lists(st.text("abcä🎆 ", min_size=1, max_size=4), max_size=4),
    include=st.sampled_from([None, True, False]),
    logprobs=st.sampled_from([None, False, True, 0, 2]),
    num_echoed=st.integers(0, 6),
)
def test_the_folded_stream_is_the_whole_answer(
    dialect: Dialect,
    include_usage: bool,
    outputs: list[TokenOutput],
    strings: list[str],
    include: bool | None,
    logprobs: bool | int | None,
    num_echoed: int,
) -> None:
    options = {"include_usage": True} if include_usage else None
    asked = {"stop": strings, "include_stop_str_in_output": include, "stream": True, "stream_options": options}
    more: dict[str, object] = asked | {"logprobs": logprobs}

    async def streamed_and_whole(reply: Any, stops: Stops) -> tuple[list[Any], Any]:
        chunks = [plain(chunk) async for chunk in reply.chunks(make_answer(outputs, stops, num_echoed))]
        return chunks, plain(await reply.whole(make_answer(outputs, stops, num_echoed)))

    bodies = [
        msgspec.convert({"model": "m", "prompt": "a", **more}, CompletionRequest),
        msgspec.convert({"model": "m", "messages": [], **more}, ChatRequest),
    ]
    for body, make_reply in zip(bodies, (CompletionReply, ChatReply), strict=True):
        writer = Writer(body.logprobs_asked(dialect), FakeTokenizer(), dialect)
        reply = make_reply(Head("id", "m"), body, dialect, writer)
        chunks, whole = run(streamed_and_whole(reply, body.stops(dialect)))
        assert folded(chunks) == [
            (choice.get("text", choice.get("message", {}).get("content")), choice["finish_reason"])
            for choice in whole["choices"]
        ]
        assert folded_logprobs(chunks) == [flat(choice["logprobs"]) for choice in whole["choices"]]
        for choice in whole["choices"]:
            check_offsets(choice)
        told = [chunk["usage"] for chunk in chunks if chunk.get("usage")]
        wanted = include_usage or dialect.usage_in_stream == "on_finish"
        assert told == ([whole["usage"]] if wanted else [])


def folded(chunks: list[Any]) -> list[tuple[str, str]]:
    """Text and reason of every choice of a stream. Fails if a choice ends twice, or speaks after its end."""
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            assert choice["index"] not in reasons
            texts[choice["index"]] = texts.get(choice["index"], "") + _said({"choices": [choice]})
            if choice["finish_reason"]:
                reasons[choice["index"]] = choice["finish_reason"]
    return [(texts[index], reasons[index]) for index in sorted(texts)]


def flat(logprobs: Any) -> list[Any]:
    """The records of either shape, one for each token."""
    if logprobs is None:
        return []
    if "content" in logprobs:
        records: list[Any] = logprobs["content"]
        return records
    columns = [column for column in logprobs.values() if column is not None]
    return [*zip(*columns, strict=True)]


def folded_logprobs(chunks: list[Any]) -> list[list[Any]]:
    records: dict[int, list[Any]] = {}
    for chunk in chunks:
        for choice in chunk["choices"]:
            records.setdefault(choice["index"], []).extend(flat(choice["logprobs"]))
    return [records[index] for index in sorted(records)]


def check_offsets(choice: Any) -> None:
    """Every token begins where it says, within the text."""
    if not choice["logprobs"] or "text_offset" not in choice["logprobs"]:
        return
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    offsets = choice["logprobs"]["text_offset"]
    assert offsets == sorted(offsets)
    for offset, token in zip(offsets, choice["logprobs"]["tokens"], strict=True):
        rest = text[offset:]  # a stop string may cut the last token
        assert token.startswith(("bytes:", "<|", rest)) or rest.startswith(token)


def _said(chunk: Any) -> str:
    """The new text of a chunk of either endpoint."""
    text = ""
    for choice in chunk.get("choices", ()):
        text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text
