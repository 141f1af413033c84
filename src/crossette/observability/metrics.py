"""Counters and histograms for Prometheus, in a registry of their own: two servers in one process do not meet.

Requests are counted at their end (`note`); what engines count is read when the page is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossette import __version__
from crossette.engine import Engine
from crossette.histogram import SECONDS
from crossette.observability.engine_metrics import EngineCollector
from crossette.observability.record import RequestRecord, Work

_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""What a label may say; clients may send any word."""
_TOKEN_GAPS = (0.0005, *SECONDS[:12])

CLIENT_GONE = 499
"""The status that stands for no answer at all, because nobody was left to read it."""


class _Series(NamedTuple):
    """What answers of one model and endpoint move: looked up once, for the look-ups cost more than the counting."""

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

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self.registry = _Registry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Build())
        self.engines = EngineCollector(engines)
        self.registry.register(self.engines)
        counter, histogram = self._counter, self._histogram
        self._requests = counter(
            "http_requests",
            "HTTP requests by the status that was sent; 499: the client hung up.",
            "method",
            "route",
            "status",
        )
        self._errors = counter("errors", "Errors that were told, as a status or in a stream.", "kind", "dialect")
        self._mismatches = counter(
            "structured_output_mismatches",
            "Finished answers that do not match the output format that their grammar enforced.",
        )
        self._duration = histogram(
            "request_duration_seconds",
            "From the first byte of a request for an answer to the last byte of it, also if it was given up.",
            SECONDS,
            "model",
            "endpoint",
        )
        self._first_token = histogram(
            "time_to_first_token_seconds", "From a body that was read to its first token.", SECONDS, "model", "endpoint"
        )
        self._per_token = histogram(
            "time_per_output_token_seconds",
            "Of whole answers: the mean time for each token of a choice after its first.",
            _TOKEN_GAPS,
            "model",
            "endpoint",
        )
        self._prompt_size = histogram("request_prompt_tokens", "Tokens of a request's prompts.", _TOKENS, "model")
        self._output_size = histogram(
            "request_completion_tokens", "Tokens of a request's choices together.", _TOKENS, "model"
        )
        self._prompt = counter("prompt_tokens", "Tokens of prompts, as `usage` counts them.", "model")
        self._cached = counter("cached_prompt_tokens", "Of those, the ones found in the prefix cache.", "model")
        self._completion = counter("completion_tokens", "Tokens of answers, as `usage` counts them.", "model")
        self._reasoning = counter("reasoning_tokens", "Of those, the ones of thoughts.", "model")
        self._series: dict[tuple[str, str], _Series] = {}
        self._finished = counter("choices_finished", "Choices that ended, by the reason told.", "model", "reason")

    def note(self, record: RequestRecord) -> None:
        """Count a request that has ended. An `Observer`."""
        method = record.method if record.method in _METHODS else "other"
        self._requests.labels(method, record.route, str(record.status)).inc()
        if record.error:
            self._errors.labels(record.error, record.dialect).inc()
        if record.mismatch:
            self._mismatches.inc()
        if record.work is not None:
            self._note_work(record, record.work)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Add a value that is asked for when the page is: `crossette_NAME`."""
        self.registry.register(_Read(lambda: GaugeMetricFamily(_named(name), help, value=read())))

    def counter(self, name: str, help: str, read: Callable[[], float]) -> None:
        """Add a count that somebody else keeps: `crossette_NAME_total`."""
        self.registry.register(_Read(lambda: CounterMetricFamily(_named(name), help, value=read())))

    def page(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type: Prometheus' text format, or OpenMetrics for who asks for that."""
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type

    def _note_work(self, record: RequestRecord, work: Work) -> None:
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
        series.cached.inc(usage.cached_tokens)
        series.completion.inc(usage.completion_tokens)
        series.reasoning.inc(usage.reasoning_tokens)
        for reason in work.finish_reasons:
            self._finished.labels(work.model, reason).inc()

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
    """Without the times at which series began: they would add a line for each, and nobody draws them."""

    def collect(self) -> Iterator[Metric]:
        for metric in super().collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


class _Read(Collector):
    """A metric that is made when the page is asked for."""

    def __init__(self, make: Callable[[], Metric]) -> None:
        self._make = make

    def collect(self) -> Iterator[Metric]:
        yield self._make()


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(_named("build"), "The version of the server.", {"version": __version__})
