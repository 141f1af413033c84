from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossette.client.bench import BenchOptions, BenchReport, parse_concurrency, run_bench
from crossette.client.bench.connection import Chunked
from crossette.client.bench.sse import SseReader
from crossette.errors import ConfigError
from support.sse_server import (
    DONE,
    Answer,
    chat_completion,
    completion,
    error_answer,
    event,
    finish_chunk,
    serving,
    text_chunk,
    unused_url,
    usage,
    usage_chunk,
)


def bench(url: str, **options: Any) -> BenchReport:
    return run_bench(BenchOptions(**{"url": url, "concurrency": (1,), "num_requests": 1, **options}))


def measure(*answers: Answer, **options: Any) -> BenchReport:
    """Run one level against a server whose first response, to the warm-up request, is valid."""
    with serving(Answer(completion("warm")), *answers) as server:
        return bench(server.url, **{"num_requests": len(answers), **options})


def errors(report: BenchReport) -> dict[str, str]:
    return report.levels[0].first_messages


# The wire, without a server


def split(data: bytes, at: list[int]) -> list[bytes]:
    ends = sorted({end % (len(data) + 1) for end in at} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


EVENTS = st.lists(st.text().map(lambda text: json.dumps(text).encode()), max_size=5)
CUTS = st.lists(st.integers(0, 10_000), max_size=20)


@given(EVENTS, CUTS, st.sampled_from([b"\n", b"\r\n"]))
def test_events_do_not_depend_on_how_the_bytes_are_split(events: list[bytes], at: list[int], end: bytes) -> None:
    noise = b": ping" + end + end + b"event: message" + end
    stream = b"".join(noise + b"data: " + data + end + end for data in events)
    reader = SseReader()

    assert [data for piece in split(stream, at) for data in reader.feed(piece)] == events


@given(st.lists(st.binary(min_size=1), max_size=5), CUTS, st.sampled_from([b"", b"trailer: x\r\n"]))
def test_a_chunked_body_does_not_depend_on_how_the_bytes_are_split(
    chunks: list[bytes], at: list[int], trailer: bytes
) -> None:
    wire = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    body, pieces = Chunked(), split(wire + b"0\r\n" + trailer + b"\r\n", at)

    assert b"".join(body.feed(piece) for piece in pieces) == b"".join(chunks)
    assert body.done


def test_data_over_several_lines_is_one_event() -> None:
    assert SseReader().feed(b'data: {"a":\ndata:1}\n\n') == [b'{"a":\n1}']


# --- valid streams ---


@pytest.mark.slow
def test_token_counts_are_those_of_usage_and_not_the_number_of_chunks() -> None:
    report = measure(Answer(completion("Hello the", "re, you", prompt=7, tokens=9)))

    row = report.requests[0]
    assert (row["prompt_tokens"], row["completion_tokens"], row["finish_reason"]) == (7, 9, "stop")
    assert row["failure"] is None
    assert row["inter_token_s"] == pytest.approx(row["largest_gap_s"] / 8)


@pytest.mark.slow
def test_usage_on_the_finish_chunk_and_again_in_a_chunk_of_its_own_counts_once() -> None:
    pieces = [text_chunk("Hi"), finish_chunk(usage=usage(7, 3)), usage_chunk(7, 3), DONE]

    assert measure(Answer(pieces)).levels[0].completion_tokens == 3


@pytest.mark.slow
def test_usage_on_every_chunk_counts_as_its_last_value() -> None:
    pieces = [text_chunk("H", usage=usage(7, 1)), text_chunk("i", usage=usage(7, 2)), finish_chunk(), DONE]

    assert measure(Answer(pieces)).levels[0].completion_tokens == 2


@pytest.mark.slow
def test_a_stream_split_into_bytes_with_crlf_and_comments_is_parsed() -> None:
    stream = b": keep-alive\r\n\r\n" + b"".join(completion("Hi", "!", tokens=2)).replace(b"\n", b"\r\n")
    report = measure(Answer([bytes([byte]) for byte in stream]))

    assert (report.levels[0].errors, report.levels[0].completion_tokens) == ({}, 2)


@pytest.mark.slow
def test_a_server_without_usage_has_unknown_token_counts_and_no_errors() -> None:
    level = measure(Answer([text_chunk("a"), text_chunk("b"), finish_chunk(), DONE])).levels[0]

    assert (level.num_errors, level.num_without_usage) == (0, 1)
    assert (level.completion_tokens, level.output_tokens_per_s, level.inter_token_ms) == (None, None, {})
    assert level.first_token_ms.keys() == {"p50", "p95", "p99"}


@pytest.mark.slow
def test_a_response_without_text_has_no_first_token() -> None:
    level = measure(Answer([finish_chunk(), usage_chunk(7, 1), DONE])).levels[0]

    assert (level.num_errors, level.completion_tokens, level.first_token_ms) == (0, 1, {})


# Errors are counted and never end the run


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500])
def test_an_error_response_is_counted_with_its_status_and_message(status: int) -> None:
    report = measure(error_answer(status, "32 is the limit."), Answer(completion("Hi")))

    assert errors(report) == {f"HTTP {status}": "32 is the limit."}
    assert report.levels[0].num_good == 1


@pytest.mark.slow
def test_an_error_frame_ends_the_request_as_an_error_even_before_done() -> None:
    pieces = [text_chunk("Hi"), event({"error": {"message": "The engine stopped."}}), DONE]
    report = measure(Answer(pieces), Answer(completion("Hi")))

    assert errors(report) == {"error frame": "The engine stopped."}
    assert report.levels[0].num_good == 1


@pytest.mark.slow
def test_a_stream_without_done_is_an_error_and_its_tokens_are_not_counted() -> None:
    cut_short = Answer([text_chunk("Hi"), usage_chunk(7, 5)])
    level = measure(cut_short, Answer(completion("Hi", tokens=2))).levels[0]

    assert level.errors == {"no [DONE]": 1}
    assert level.completion_tokens == 2


@pytest.mark.slow
def test_a_response_that_is_not_a_stream_is_an_error() -> None:
    assert errors(measure(Answer([b"{}"], content_type="application/json"))).keys() == {"not a stream"}


@pytest.mark.slow
def test_a_chunk_with_invalid_json_is_an_error_that_shows_it() -> None:
    assert "{oops" in errors(measure(Answer([b"data: {oops\n\n", DONE])))["unreadable chunk"]


@pytest.mark.slow
def test_a_server_that_stops_sending_is_a_timeout_and_sees_the_disconnect() -> None:
    with serving(Answer([text_chunk("Hi")], hangs=True)) as server:
        report = bench(server.url, timeout_s=0.3)

        assert errors(report).keys() == {"timeout"}
        assert server.disconnected.wait(20)


def test_a_server_that_is_down_fails_every_request_and_not_the_run() -> None:
    report = bench(unused_url(), model="tiny", num_requests=5)

    assert report.levels[0].errors == {"connection": 5}


# What is sent


@pytest.mark.slow
def test_every_stream_runs_at_once_and_the_warm_up_is_not_counted() -> None:
    valid = completion("Hi")
    with serving(Answer(valid), Answer(valid, together=asyncio.Barrier(4))) as server:
        report = bench(server.url, concurrency=(4,), num_requests=None)

    assert (report.levels[0].num_requests, report.levels[0].num_good) == (16, 16)
    assert (len(server.bodies), len(report.requests)) == (17, 16)
    assert server.max_in_flight == 4


@pytest.mark.slow
def test_no_prompt_is_sent_twice_in_a_run() -> None:
    with serving() as server:
        bench(server.url, concurrency=(1, 2), num_requests=8)

    assert len({body["prompt"] for body in server.bodies}) == len(server.bodies) == 18


@pytest.mark.slow
def test_a_completion_request_includes_usage_and_the_options() -> None:
    with serving(models=("first", "second")) as server:
        bench(server.url, max_tokens=9, ignore_eos=True, token_ids=True, prompt_tokens=33, api_key="k")

    body = server.bodies[-1]
    assert len(body.pop("prompt")) == 33
    assert body == {
        "model": "first",
        "max_tokens": 9,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    assert server.headers[-1]["authorization"] == "Bearer k"


@pytest.mark.slow
def test_ignore_eos_is_sent_only_if_requested() -> None:
    """Most servers reject unknown fields."""
    with serving() as server:
        bench(server.url)

    assert "ignore_eos" not in server.bodies[-1]


@pytest.mark.slow
def test_chat_requests_have_messages_and_their_deltas_are_parsed() -> None:
    with serving(Answer(chat_completion("Hi", "!"))) as server:
        report = bench(server.url, endpoint="chat/completions", shape="shared")

    assert [message["role"] for message in server.bodies[-1]["messages"]] == ["system", "user"]
    assert len(server.bodies) == 2
    assert report.levels[0].first_token_ms


def test_an_unreachable_server_is_an_error_that_names_the_url() -> None:
    url = unused_url()

    with pytest.raises(ConfigError, match=url):
        bench(url)


@pytest.mark.slow
def test_a_server_without_models_is_an_error_that_requests_a_model() -> None:
    with serving(models=()) as server, pytest.raises(ConfigError, match="--model"):
        bench(server.url)


@pytest.mark.slow
def test_on_level_is_called_after_each_level() -> None:
    levels: list[int] = []
    with serving() as server:
        options = BenchOptions(url=server.url, concurrency=(1, 2), num_requests=2)
        run_bench(options, lambda level: levels.append(level.concurrency))

    assert levels == [1, 2]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "ftp://127.0.0.1:8000"}, "--url"),
        ({"url": "http://host:port/v1"}, "--url"),
        ({"concurrency": (1, 0)}, "-c"),
        ({"concurrency": ()}, "-c"),
        ({"num_requests": 0}, "-n"),
        ({"endpoint": "chat"}, "--endpoint"),
        ({"shape": "tall"}, "--shape"),
        ({"prompt_tokens": 0}, "--prompt-tokens"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"token_ids": True, "endpoint": "chat/completions"}, "--token-ids"),
        ({"timeout_s": 0.0}, "--timeout"),
    ],
)
def test_an_invalid_option_is_rejected_by_name(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        BenchOptions(**options)


def test_concurrency_is_parsed_from_comma_separated_numbers() -> None:
    assert parse_concurrency("1,8,32") == parse_concurrency("1, 8, 32") == (1, 8, 32)
    for text in ("", "1,", "1_0", "+1", "-1", "01", "\u0661", "1.0"):
        with pytest.raises(ConfigError, match="-c takes numbers of streams such as 1,8,32"):
            parse_concurrency(text)
    with pytest.raises(ConfigError, match="1;8"):
        parse_concurrency("1;8")
