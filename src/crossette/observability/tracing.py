"""Tracing: a span per generation request, exported to an OpenTelemetry collector over HTTP if one is configured.

Spans follow OpenTelemetry's semantic conventions for generative AI and HTTP servers. Without `--otlp-endpoint` the
SDK is not imported. Spans never contain prompts or outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crossette import __version__
from crossette.errors import ConfigError, how_to_install
from crossette.observability.record import GenerationRecord, Observer, RequestRecord
from crossette.settings import setting
from crossette.types import SamplingParams
from crossette.urls import split_http

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

_OPERATIONS = {
    "chat/completions": "chat",
    "completions": "text_completion",
    "embeddings": "embeddings",
    "rerank": "rerank",
}
_TRACES_PATH = "/v1/traces"
_SEND_TIMEOUT_S = 2.0
"""The timeout of a batch. An unresponsive collector delays the shutdown by it for each of at most four batches."""

Attributes = dict[str, Any]  # Any: strings, numbers and lists of strings


@dataclass(frozen=True, slots=True)
class TracingSettings:
    """Settings of trace export."""

    otlp_endpoint: str | None = setting(
        None,
        "Send a span for each request to this OpenTelemetry collector (OTLP over HTTP).",
        metavar="URL",
        unset="no traces",
    )


class Tracer:
    """Exports spans in batches from a background thread. Raises ConfigError for an invalid URL or missing packages."""

    def __init__(self, endpoint: str) -> None:
        url = traces_url(endpoint)
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError(
                f"--otlp-endpoint requires packages that are not installed ({error.name}). " + how_to_install("otel")
            ) from error
        resource = Resource.create({"service.name": "crossette", "service.version": __version__})
        self._trace_id = ""
        ids = _id_generator(lambda: self._trace_id)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False, id_generator=ids)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url, timeout=_SEND_TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("crossette", __version__)

    def note(self, record: RequestRecord) -> None:
        """Export the span of a finished request. An `Observer`."""
        if record.endpoint not in _OPERATIONS:
            return
        from opentelemetry.trace import SpanKind, StatusCode
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace_id = record.trace_id
        span = self._tracer.start_span(
            f"{_OPERATIONS[record.endpoint]} {record.model_asked}".rstrip(),
            context=TraceContextTextMapPropagator().extract(record.trace),
            kind=SpanKind.SERVER,
            attributes=attributes(record),
            start_time=_ns(record, 0),
        )
        for name, at_s in events(record.work):
            span.add_event(name, timestamp=_ns(record, at_s))
        if record.status >= 500 or (record.status == 200 and record.error):
            span.set_status(StatusCode.ERROR, record.error)
        span.end(_ns(record, record.seconds))

    def __enter__(self) -> tuple[Observer, ...]:
        return (self.note,)

    def __exit__(self, *exception: object) -> None:
        """Export the remaining spans, with a timeout."""
        self._provider.shutdown()


def _id_generator(trace_id: Callable[[], str]) -> IdGenerator:
    """Random ids, except that a new trace gets the trace id of its request's log lines, if any."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return int(trace_id() or "0", 16) or super().generate_trace_id()

    return Ids()


def traces_url(endpoint: str) -> str:
    """The URL of the traces endpoint: the collector's URL, with the default path of OTLP unless it has a path."""
    try:
        parts = split_http(endpoint)
    except ValueError as error:
        raise ConfigError(
            f"--otlp-endpoint {endpoint!r} is not an HTTP URL: {error}. Give one such as http://localhost:4318"
        ) from None
    return endpoint if parts.path.strip("/") else parts._replace(path=_TRACES_PATH).geturl()


def attributes(record: RequestRecord) -> Attributes:
    """The attributes of a request's span, without unknown values."""
    known: Attributes = {
        "gen_ai.operation.name": _OPERATIONS[record.endpoint],
        "gen_ai.provider.name": "crossette",
        "gen_ai.request.model": record.model_asked or None,
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "error.type": record.error or ("client_gone" if record.status == 499 else None),
        "crossette.dialect": record.dialect,
        "crossette.request_id": record.id,
    }
    if record.work is not None:
        known |= _request_attributes(record.work) | _response_attributes(record.work)
    return {name: value for name, value in known.items() if value is not None}


def events(work: GenerationRecord | None) -> Iterator[tuple[str, float]]:
    """The events of a span, in seconds since the request began."""
    if work is None:
        return
    for name, at_s in (("body_read", work.read_s), ("first_token", work.first_token_s), ("last_token", work.ended_s)):
        if at_s is not None:
            yield f"crossette.{name}", at_s


def _request_attributes(work: GenerationRecord) -> Attributes:
    return _sampling_attributes(work.sampling) | {
        "gen_ai.request.choice.count": work.num_choices or None,  # vectors are no choices
        "gen_ai.request.stream": work.streamed,
    }


def _sampling_attributes(sampling: SamplingParams | None) -> Attributes:
    if sampling is None:
        return {}
    return {
        "gen_ai.request.max_tokens": sampling.max_tokens,
        "gen_ai.request.temperature": float(sampling.temperature),
        "gen_ai.request.top_p": float(sampling.top_p),
        "gen_ai.request.top_k": sampling.top_k or None,
        "gen_ai.request.frequency_penalty": float(sampling.frequency_penalty),
        "gen_ai.request.presence_penalty": float(sampling.presence_penalty),
        # Attributes are signed 64-bit integers, and a seed may be larger.
        "gen_ai.request.seed": sampling.seed if (sampling.seed or 0) < 2**63 else None,
    }


def _response_attributes(work: GenerationRecord) -> Attributes:
    usage = work.usage
    return {
        "gen_ai.response.id": work.id,
        "gen_ai.response.model": work.model,
        "gen_ai.response.finish_reasons": list(work.finish_reasons) or None,
        "gen_ai.response.time_to_first_chunk": work.time_to_first_token_s if work.streamed else None,
        "crossette.queued_s": work.queued_s,
        "gen_ai.usage.input_tokens": usage.prompt_tokens,
        "gen_ai.usage.output_tokens": usage.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }


def _ns(record: RequestRecord, seconds: float) -> int:
    """A time of the request, in nanoseconds since the epoch."""
    return int((record.begun_at + seconds) * 1e9)
