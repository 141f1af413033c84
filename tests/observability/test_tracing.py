"""Spans of requests, as received by a collector over HTTP."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from crossette.errors import ConfigError
from crossette.observability.tracing import Tracer, traces_url
from crossette.server.build import tracing
from crossette.server.settings import load_settings
from crossette.testing.fake_engine import FakeEngine
from support.api_server import ApiServer, has, parrot, say, serving
from support.otlp_collector import Collector, attributes, collecting
from support.records import make_record

TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRETS = ("the secret prompt", "the secret answer", "sk-secret-key")


@contextmanager
def traced(engine: FakeEngine | None = None) -> Iterator[tuple[ApiServer, Collector]]:
    """A server that exports its spans. They have arrived at the end of the block."""
    with (
        collecting() as collector,
        Tracer(collector.url) as observers,
        serving(engine, observers=observers, begins_traces=True) as server,
    ):
        yield server, collector


def spans_of(collector: Collector) -> list[tuple[Span, dict[str, Any]]]:
    return [(span, attributes(span)) for span in collector.spans]


def only(collector: Collector) -> tuple[Span, dict[str, Any]]:
    (one,) = spans_of(collector)
    return one


def post(server: ApiServer, headers: Mapping[str, str] | None = None, **fields: object) -> Any:  # Any: JSON
    body = {"model": "fake", "messages": [{"role": "user", "content": say("Hello")}], "max_tokens": 9, **fields}
    return server.post("/v1/chat/completions", body, headers)


def test_a_chat_is_a_span_with_the_attributes_of_the_conventions() -> None:
    with traced() as (server, collector):
        answer = post(server, temperature=0.5, top_p=0.25, seed=7).json()

    span, values = only(collector)
    usage = answer["usage"]
    assert (span.name, span.kind, span.status.code) == ("chat fake", Span.SPAN_KIND_SERVER, Status.STATUS_CODE_UNSET)
    assert values | {"crossette.request_id": "", "crossette.queued_s": 0.0} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "crossette",
        "gen_ai.request.model": "fake",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.25,
        "gen_ai.request.frequency_penalty": 0.0,
        "gen_ai.request.presence_penalty": 0.0,
        "gen_ai.request.seed": 7,
        "gen_ai.request.choice.count": 1,
        "gen_ai.request.stream": False,
        "gen_ai.response.id": answer["id"],
        "gen_ai.response.model": "fake",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": usage["completion_tokens"],
        "gen_ai.usage.cache_read.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "crossette.dialect": "openai",
        "crossette.request_id": "",
        "crossette.queued_s": 0.0,
    }
    assert collector.paths == ["/v1/traces"]
    assert collector.resources[0]["service.name"] == "crossette"


def test_times_are_ordered_events_within_the_span() -> None:
    with traced() as (server, collector):
        post(server, stream=True)

    span, values = only(collector)
    assert [event.name for event in span.events] == [
        "crossette.body_read",
        "crossette.first_token",
        "crossette.last_token",
    ]
    times = [span.start_time_unix_nano, *(event.time_unix_nano for event in span.events), span.end_time_unix_nano]
    assert times == sorted(times)
    assert 0 <= values["crossette.queued_s"] < values["gen_ai.response.time_to_first_chunk"]


def test_the_callers_trace_is_continued() -> None:
    with traced() as (server, collector):
        post(server, {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01", "tracestate": "vendor=1"})

    span, _ = only(collector)
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE_ID, PARENT_ID, "vendor=1")


def test_a_caller_that_is_not_sampled_gets_no_span() -> None:
    with traced() as (server, collector):
        post(server, {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-00"})

    assert collector.spans == []


@pytest.mark.parametrize("sent", ["", "nonsense", f"00-{'0' * 32}-{PARENT_ID}-01"])
def test_an_invalid_trace_starts_a_new_one(sent: str) -> None:
    with traced() as (server, collector):
        post(server, {"traceparent": sent})

    span, _ = only(collector)
    assert (len(span.trace_id), span.parent_span_id) == (16, b"")


@pytest.mark.parametrize("sent", ["", "nonsense", f"00-{TRACE_ID}-{PARENT_ID}-01"])
def test_the_span_has_the_trace_of_the_log(sent: str) -> None:
    with traced() as (server, collector):
        for _ in range(2):
            post(server, {"traceparent": sent})
        server.observed.wait_for(2)
        logged = [record.trace_id for record in server.observed.records]

    assert [span.trace_id.hex() for span in collector.spans] == logged
    assert len(set(logged)) == (1 if TRACE_ID in sent else 2)


def test_a_completion_in_the_other_dialect_is_a_span_too() -> None:
    with traced() as (server, collector):
        server.post("/inference/v1/completions", {"model": "fake", "prompt": [say("a"), say("b")], "n": 2})

    span, values = only(collector)
    assert span.name == "text_completion fake"
    assert values["gen_ai.operation.name"] == "text_completion"
    assert (values["gen_ai.request.choice.count"], values["gen_ai.response.finish_reasons"]) == (4, ["stop"] * 4)
    assert values["crossette.dialect"] == "fireworks"


def test_a_rejected_request_has_an_error_type_and_no_error_status() -> None:
    with traced() as (server, collector):
        post(server, model="other")

    span, values = only(collector)
    assert (values["http.response.status_code"], values["error.type"]) == (404, "model_not_found")
    assert (span.name, span.status.code) == ("chat other", Status.STATUS_CODE_UNSET)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_a_failure_is_an_error(streamed: bool, caplog: pytest.LogCaptureFixture) -> None:
    engine = FakeEngine(parrot)
    with traced(engine) as (server, collector):
        engine.fail_next_step(RuntimeError("kernel broke"))
        post(server, stream=streamed)

    span, values = only(collector)
    assert (values["error.type"], span.status.code) == ("internal", Status.STATUS_CODE_ERROR)


def test_a_disconnect_has_its_own_error_type() -> None:
    engine = FakeEngine(parrot)
    engine.pause()
    with traced(engine) as (server, collector):
        with server.begin("/v1/completions", {"model": "fake", "prompt": "a"}):
            engine.wait_for(has(waiting=1))
        server.wait_until_idle()

    _, values = only(collector)
    assert (values["http.response.status_code"], values["error.type"]) == (499, "client_gone")
    assert "crossette.queued_s" not in values


@pytest.mark.slow
def test_requests_without_generation_have_no_span() -> None:
    with traced() as (server, collector):
        for path in ("/health/live", "/metrics", "/v1/models", "/nowhere"):
            server.get(path)

    assert collector.spans == []


def test_no_prompt_no_output_and_no_key_is_in_a_span() -> None:
    prompt, output, key = SECRETS
    with traced() as (server, collector):
        post(
            server,
            {"authorization": f"Bearer {key}"},
            messages=[{"role": "system", "content": prompt}, {"role": "user", "content": say(output)}],
            max_tokens=50,
            stop=["never sent, never exported"],
            user="a person",
        )

    assert collector.raw
    for secret in (*SECRETS, "never exported", "a person"):
        assert secret.encode() not in collector.raw


@pytest.mark.slow
def test_an_unreachable_collector_fails_no_request_and_does_not_delay_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Tracer(f"http://127.0.0.1:{port}") as observers, serving(observers=observers) as server:
        assert post(server).status_code == 200


# --- the setting ---


@pytest.mark.slow
def test_without_a_collector_there_is_no_observer_and_no_import() -> None:
    code = (
        "import sys; from crossette.server import build, settings\n"
        "with build.tracing(settings.load_settings()) as observers:\n"
        "    print(observers, [m for m in sys.modules if 'opentelemetry' in m])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed == "() []\n"


def test_the_setting_names_the_collector() -> None:
    with collecting() as collector:
        settings = load_settings(environ={"CROSSETTE_OTLP_ENDPOINT": collector.url})
        with tracing(settings) as (note,):
            note(make_record())

    assert len(collector.spans) == 1


def test_the_error_for_missing_packages_has_install_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)

    with pytest.raises(ConfigError, match=r"pip install 'crossette\[otel\]'"):
        Tracer("http://127.0.0.1:4318")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("https://otel.example/", "https://otel.example/v1/traces"),
        ("https://otel.example/api/v2/otlp", "https://otel.example/api/v2/otlp"),
        ("https://otel.example?key=1", "https://otel.example/v1/traces?key=1"),
    ],
)
def test_the_path_of_otlp_is_added_unless_one_is_given(given: str, url: str) -> None:
    assert traces_url(given) == url


@pytest.mark.parametrize("given", ["localhost:4318", "grpc://localhost:4317", "http://", "on", "", "http://[::1"])
def test_an_invalid_url_is_rejected(given: str) -> None:
    with pytest.raises(ConfigError, match="--otlp-endpoint"):
        traces_url(given)
