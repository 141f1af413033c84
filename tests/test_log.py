"""Log lines: request and trace ids, console and JSON format, escaping."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import Any

import pytest

from crossette import log as logs
from crossette.log import configure, escape_controls, request_id
from crossette.observability import request_log
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import ApiServer, parrot, say, serving
from support.records import WORK, make_record

Capture = pytest.CaptureFixture[str]

pytestmark = pytest.mark.usefixtures("root_logger")

log = logging.getLogger("crossette.somewhere")

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"


def lines(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.parametrize(("level", "expected"), [("info", []), ("debug", ["request"])])
def test_download_requests_are_logged_at_level_debug(capsys: Capture, level: str, expected: list[str]) -> None:
    configure(level, "json")
    logging.getLogger("httpx").info("request")

    assert [line["message"] for line in lines(capsys)] == expected


@pytest.mark.parametrize("format", ["console", "json"])
def test_every_line_has_the_id_of_its_request(capsys: Capture, format: Any) -> None:
    configure("info", format)
    log.info("before")
    token = request_id.set("req-7")
    log.info("within")
    request_id.reset(token)

    before, within = capsys.readouterr().err.splitlines()
    assert "req-7" in within
    assert "req-7" not in before


def test_a_json_line_is_one_object_with_fixed_names(capsys: Capture) -> None:
    configure("info", "json")
    log.warning("two\nlines of %s", "text")

    (line,) = lines(capsys)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warning",
        "logger": "crossette.somewhere",
        "request_id": "-",
        "message": "two\nlines of text",
    }


def test_a_json_line_has_the_exception(capsys: Capture) -> None:
    configure("info", "json")
    try:
        raise RuntimeError("it broke")
    except RuntimeError:
        log.exception("Failed")

    (line,) = lines(capsys)
    assert line["message"] == "Failed"
    assert line["exception"].endswith("RuntimeError: it broke")


@pytest.mark.parametrize("trace", [TRACE_ID, ""], ids=["traced", "not traced"])
def test_a_json_line_has_the_id_of_the_trace_where_there_is_one(capsys: Capture, trace: str) -> None:
    configure("info", "json")
    with logs.ids("req-7", trace):
        log.info("within")
    log.info("after")

    within, after = lines(capsys)
    assert (within["request_id"], within.get("trace_id", "")) == ("req-7", trace)
    assert (after["request_id"], "trace_id" in after) == ("-", False)


def test_a_lone_surrogate_does_not_break_a_line(capsys: Capture) -> None:
    configure("info", "json")
    log.info("half: %s", "\ud800", extra={logs.FIELDS: lambda: {"odd": object}})

    (line,) = lines(capsys)
    assert line["message"] == "half: \ud800"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/v1/models", "/v1/models"),
        ("a\r\nb", "a\\x0d\\x0ab"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b", "\\x9b"),
        ("é", "é"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


# --- the line of a request ---


def test_the_console_line_of_a_request(capsys: Capture) -> None:
    configure("info")
    request_log.note(make_record(recorded={"user": "ann"}))

    assert capsys.readouterr().err.partition(" - ")[2] == (
        "POST /v1/chat/completions 200 2000 ms key-a fake 20 (8 cached)+11 tokens, "
        "queued 125 ms, first after 500 ms, stop user='ann'\n"
    )


@pytest.mark.parametrize("queued_s", [None, 0.0004])
def test_a_console_line_omits_a_queue_time_of_zero(capsys: Capture, queued_s: float | None) -> None:
    configure("info")
    request_log.note(make_record(work=replace(WORK, queued_s=queued_s)))

    assert "queued" not in capsys.readouterr().err


def test_the_json_line_of_a_request(capsys: Capture) -> None:
    configure("info", "json")
    request_log.note(make_record(recorded={"metadata": {"team": "blue"}}))

    (line,) = lines(capsys)
    facts = {name: value for name, value in line.items() if name not in ("time", "message")}
    assert facts == {
        "level": "info",
        "logger": "crossette.observability.request_log",
        "request_id": "-",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "duration_s": 2.0,
        "dialect": "openai",
        "endpoint": "chat/completions",
        "key_id": "key-a",
        "model_asked": "fake",
        "answer_id": WORK.id,
        "model": "fake",
        "streamed": True,
        "choices": 1,
        "prompt_tokens": 20,
        "cached_tokens": 8,
        "completion_tokens": 11,
        "reasoning_tokens": 3,
        "finish_reasons": ["stop"],
        "queued_s": 0.125,
        "time_to_first_token_s": 0.5,
        "time_per_token_s": 0.1,
        "recorded": {"metadata": {"team": "blue"}},
    }


def test_the_line_of_a_rejected_request_has_the_error_kind(capsys: Capture) -> None:
    configure("info")
    request_log.note(make_record(status=404, error="model_not_found", work=None))

    assert capsys.readouterr().err.endswith(" POST /v1/chat/completions 404 2000 ms key-a model_not_found\n")


@pytest.mark.parametrize(("status", "num_lines"), [(200, 0), (503, 1)])
def test_polled_routes_are_logged_only_if_they_fail(capsys: Capture, status: int, num_lines: int) -> None:
    configure("info")
    for route in ("/health/ready", "/metrics"):
        request_log.note(make_record(method="GET", path=route, route=route, status=status, work=None))

    assert len(capsys.readouterr().err.splitlines()) == 2 * num_lines


def test_a_path_cannot_forge_a_line(capsys: Capture) -> None:
    configure("info")
    request_log.note(make_record(path="/\n2026-01-01 INFO - all is well", work=None))

    assert len(capsys.readouterr().err.splitlines()) == 1


# --- the trace of a request ---


def broken(request: GenerationRequest, index: int) -> bytes:
    """A script that raises an unexpected exception."""
    raise RuntimeError("it broke")


def post(server: ApiServer, **headers: str) -> None:
    server.post("/v1/completions", {"model": "fake", "prompt": "a"}, headers)
    server.observed.wait_for(1)


def test_every_line_of_a_request_has_its_callers_trace(capsys: Capture) -> None:
    configure("info", "json")
    with serving(FakeEngine(broken)) as server:
        post(server, traceparent=PARENT)

    within = [line for line in lines(capsys) if line["logger"].startswith("crossette.") and line["request_id"] != "-"]
    assert [line["message"].partition(" /")[0] for line in within] == ["A request failed unexpectedly", "POST"]
    assert [line.get("trace_id") for line in within] == [TRACE_ID] * 2


def test_without_spans_and_without_a_valid_parent_no_line_has_a_trace(capsys: Capture) -> None:
    configure("info", "json")
    with serving(FakeEngine(broken)) as server:
        post(server, traceparent=PARENT.upper())

    assert not [line for line in lines(capsys) if "trace_id" in line]


@pytest.mark.parametrize("sent", ["", "nonsense"])
def test_with_tracing_a_generation_request_has_a_trace_id_from_the_start(capsys: Capture, sent: str) -> None:
    configure("info", "json")
    with serving(FakeEngine(broken), begins_traces=True) as server:
        post(server, traceparent=sent)
        (record,) = server.observed.records

    traces = {line.get("trace_id") for line in lines(capsys) if line["request_id"] != "-"}
    assert traces == {record.trace_id}
    assert re.fullmatch("[0-9a-f]{32}", record.trace_id)


def test_a_request_without_span_starts_no_trace_but_continues_its_callers(capsys: Capture) -> None:
    configure("info", "json")
    with serving(begins_traces=True) as server:
        server.get("/v1/models")
        server.get("/v1/models", {"traceparent": PARENT})
        server.observed.wait_for(2)

    logged = [line.get("trace_id") for line in lines(capsys) if line["logger"] == "crossette.observability.request_log"]
    assert logged == [None, TRACE_ID]


# --- secrets ---

PROMPT, OUTPUT, KEY = "the secret prompt", "the secret answer", "sk-secret-key"


def exchange(server: ApiServer) -> None:
    """Send requests that succeed, are rejected and fail, all with secrets in them."""
    headers = {"authorization": f"Bearer {KEY}", "x-api-key": KEY}
    messages = [{"role": "system", "content": PROMPT}, {"role": "user", "content": say(OUTPUT)}]
    for prefix in ("/v1", "/inference/v1"):
        for fields in ({}, {"stream": True}, {"max_tokens": -1}, {"nope": 1}, {"model": "other"}, {"stop": OUTPUT[4:]}):
            server.post(
                f"{prefix}/chat/completions",
                {"model": "fake", "messages": messages, "max_tokens": 30, **fields},
                headers,
            )
            server.post(f"{prefix}/completions?key={KEY}", {"model": "fake", "prompt": PROMPT + say(OUTPUT)}, headers)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["console", "json"])
def test_no_line_has_a_prompt_an_output_or_a_key_even_at_level_debug(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, format: Any
) -> None:
    configure("debug", format)
    for name in (
        "httpx",
        "httpcore.http11",
        "httpcore.connection",
    ):  # the test's own client, which is not part of the server
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)
    engine = FakeEngine(parrot)
    with serving(engine) as server:
        exchange(server)
        engine.fail_next_step(RuntimeError("kernel broke"))
        exchange(server)
        page = server.get("/metrics").text

    logged = capsys.readouterr().err
    assert "POST /v1/completions" in logged
    for secret in (PROMPT, OUTPUT, KEY):
        assert secret not in logged
        assert secret not in page
