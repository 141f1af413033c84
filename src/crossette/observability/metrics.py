"""Prometheus metrics, in a registry per server: two servers in one process share no metrics.

Requests are counted when they finish (`note`); engine metrics are collected on each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossette import __version__
from crossette.histogram import SECONDS
from crossette.observability.engine_metrics import EngineCollector
from crossette.observability.model_metrics import ModelCollector
from crossette.observability.record import GenerationRecord, RequestRecord
from crossette.observability.upstream_metrics import UpstreamCollector
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel

_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""The methods that are used as labels; clients may send any other."""
_TOKEN_GAPS = (0.0005, *SECONDS[:12])

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client disconnected before the response, as in nginx."""


class _Series(NamedTuple):
    """The series of one model and endpoint, cached because label lookups cost more than the increments."""

    duration: Histogram
    first_token: Histogram
    per_token: Histogram
    prompt_size: Histogram
    output_size: Histogram
    prompt: Counter
    cached: Counter
    completion: Counter
    reasoning: Counter


class Metrics:
    """All metrics of one server."""

    def __init__(self, pool: ModelPool, remotes: Sequence[RemoteModel] = ()) -> None:
        self.registry = _Registry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Build())
        self.engines = EngineCollector(pool.engines)
        self.registry.register(self.engines)
        self.registry.register(ModelCollector(pool.models))
        self.registry.register(UpstreamCollector(remotes))
        counter, histogram = self._counter, self._histogram
        self._requests = counter(
            "http_requests",
            "HTTP requests by response status; 499: the client disconnected.",
            "method",
            "route",
            "status",
        )
        self._errors = counter("errors", "Errors that were sent, as a status or in a stream.", "kind", "dialect")
        self._mismatches = counter(
            "structured_output_mismatches",
            "Finished answers that do not match their output format, although the grammar allowed them.",
        )
        self._duration = histogram(
            "request_duration_seconds",
            "From the first byte of a generation request to the last byte of its response, including aborted ones.",
            SECONDS,
            "model",
            "endpoint",
        )
        self._first_token = histogram(
            "time_to_first_token_seconds", "From reading the body to the first token.", SECONDS, "model", "endpoint"
        )
        self._per_token = histogram(
            "time_per_output_token_seconds",
            "Mean time per token of a choice after its first, of completed requests.",
            _TOKEN_GAPS,
            "model",
            "endpoint",
        )
        self._prompt_size = histogram("request_prompt_tokens", "Prompt tokens of a request.", _TOKENS, "model")
        self._output_size = histogram(
            "request_completion_tokens", "Completion tokens of all choices of a request.", _TOKENS, "model"
        )
        self._prompt = counter("prompt_tokens", "Prompt tokens, as in `usage`.", "model")
        self._cached = counter("cached_prompt_tokens", "Prompt tokens found in the prefix cache.", "model")
        self._completion = counter("completion_tokens", "Completion tokens, as in `usage`.", "model")
        self._reasoning = counter("reasoning_tokens", "Completion tokens that are reasoning.", "model")
        self._series: dict[tuple[str, str], _Series] = {}
        self._children: dict[tuple[Counter, tuple[str, ...]], Counter] = {}
        self._finished = counter("choices_finished", "Finished choices by `finish_reason`.", "model", "reason")

    def note(self, record: RequestRecord) -> None:
        """Count a finished request. An `Observer`."""
        method = record.method if record.method in _METHODS else "other"
        self._count(self._requests, method, record.route, str(record.status))
        if record.error:
            self._errors.labels(record.error, record.dialect).inc()
        if record.mismatch:
            self._mismatches.inc()
        if record.work is not None:
            self._note_work(record, record.work)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a gauge `crossette_NAME` that is read on each scrape."""
        self.registry.register(_Read(lambda: GaugeMetricFamily(_named(name), help, value=read())))

    def counter(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Register a counter `crossette_NAME_total` that is read on each scrape."""
        self.registry.register(_Read(lambda: CounterMetricFamily(_named(name), help, value=read())))

    def page(self, accept: str) -> tuple[bytes, str]:
        """The metrics page and its media type: Prometheus text format, or OpenMetrics if `accept` requests it."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    def _note_work(self, record: RequestRecord, work: GenerationRecord) -> None:
        key, usage = (work.model, record.endpoint), work.usage
        series = self._series.get(key) or self._series.setdefault(key, self._series_of(*key))
        series.duration.observe(record.seconds)
        if work.time_to_first_token_s is not None:
            series.first_token.observe(work.time_to_first_token_s)
        if work.time_per_token_s is not None:
            series.per_token.observe(work.time_per_token_s)
        series.prompt_size.observe(usage.prompt_tokens)
        series.output_size.observe(usage.completion_tokens)
        series.prompt.inc(usage.prompt_tokens)
        if usage.cached_tokens:
            series.cached.inc(usage.cached_tokens)
        series.completion.inc(usage.completion_tokens)
        if usage.reasoning_tokens:
            series.reasoning.inc(usage.reasoning_tokens)
        for reason in work.finish_reasons:
            self._count(self._finished, work.model, reason)

    def _count(self, counter: Counter, *labels: str) -> None:
        """Count one. The child of these labels is kept: finding it takes longer than counting."""
        child = self._children.get((counter, labels))
        if child is None:
            child = self._children[counter, labels] = counter.labels(*labels)
        child.inc()

    def _series_of(self, model: str, endpoint: str) -> _Series:
        return _Series(
            self._duration.labels(model, endpoint),
            self._first_token.labels(model, endpoint),
            self._per_token.labels(model, endpoint),
            self._prompt_size.labels(model),
            self._output_size.labels(model),
            self._prompt.labels(model),
            self._cached.labels(model),
            self._completion.labels(model),
            self._reasoning.labels(model),
        )

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(_named(name), help, labels, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_named(name), help, labels, registry=self.registry, buckets=buckets)


def _named(name: str) -> str:
    return f"crossette_{name}"


class _Registry(CollectorRegistry):
    """A registry without `_created` samples, which would add a line per series and are not used."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _Read(Collector):
    """A metric that is created on each scrape."""

    def __init__(self, make: Callable[[], Metric]) -> None:
        self._make = make

    def collect(self) -> Iterator[Metric]:
        yield self._make()


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(_named("build"), "The version of the server.", {"version": __version__})
