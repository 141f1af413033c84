"""Metrics of requests: counted when they finish, collected on each scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from crossette.histogram import SECONDS, Histogram
from crossette.observability.families import add_histogram
from crossette.observability.record import GenerationRecord, RequestRecord

_TOKENS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)
_TOKEN_GAPS = (0.0005, *SECONDS[:12])
_LabelsT = TypeVar("_LabelsT", bound=tuple[object, ...])
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
"""The methods that are used as labels; clients may send any other."""


@dataclass(slots=True)
class _Times:
    """The times of one model's requests to one endpoint."""

    duration: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    first_token: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    per_token: Histogram = field(default_factory=lambda: Histogram(_TOKEN_GAPS))


@dataclass(slots=True)
class _Tokens:
    """The tokens of one model's requests."""

    prompt_size: Histogram = field(default_factory=lambda: Histogram(_TOKENS))
    output_size: Histogram = field(default_factory=lambda: Histogram(_TOKENS))
    cached: int = 0
    reasoning: int = 0


_TIMES: Sequence[tuple[str, str, Callable[[_Times], Histogram]]] = (
    (
        "request_duration_seconds",
        "From the first byte of a generation request to the last byte of its response, including aborted ones.",
        lambda times: times.duration,
    ),
    ("time_to_first_token_seconds", "From reading the body to the first token.", lambda times: times.first_token),
    (
        "time_per_output_token_seconds",
        "Mean time per token of a choice after its first, of completed requests.",
        lambda times: times.per_token,
    ),
)
_SIZES: Sequence[tuple[str, str, Callable[[_Tokens], Histogram]]] = (
    ("request_prompt_tokens", "Prompt tokens of a request.", lambda tokens: tokens.prompt_size),
    ("request_completion_tokens", "Completion tokens of all choices of a request.", lambda tokens: tokens.output_size),
)
_SUMS: Sequence[tuple[str, str, Callable[[_Tokens], float]]] = (
    ("prompt_tokens", "Prompt tokens, as in `usage`.", lambda tokens: tokens.prompt_size.snapshot().sum),
    ("cached_prompt_tokens", "Prompt tokens found in the prefix cache.", lambda tokens: tokens.cached),
    ("completion_tokens", "Completion tokens, as in `usage`.", lambda tokens: tokens.output_size.snapshot().sum),
    ("reasoning_tokens", "Completion tokens that are reasoning.", lambda tokens: tokens.reasoning),
)


class RequestCollector(Collector):
    """Counts finished requests in the event loop (`note`). No label contains client input."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._num_mismatches = 0
        self._finished: Counter[tuple[str, str]] = Counter()
        self._times: dict[tuple[str, str], _Times] = {}
        """By model and endpoint."""
        self._tokens: dict[str, _Tokens] = {}
        """By model."""

    def note(self, record: RequestRecord) -> None:
        """Count a finished request. An `Observer`."""
        method = record.method if record.method in _METHODS else "other"
        self._requests[method, record.route, record.status] += 1
        if record.error:
            self._errors[record.error, record.dialect] += 1
        if record.mismatch:
            self._num_mismatches += 1
        if record.work is not None:
            self._note_work(record, record.work)

    def _note_work(self, record: RequestRecord, work: GenerationRecord) -> None:
        key, usage = (work.model, record.endpoint), work.usage
        times = self._times.get(key) or self._times.setdefault(key, _Times())
        tokens = self._tokens.get(work.model) or self._tokens.setdefault(work.model, _Tokens())
        times.duration.observe(record.seconds)
        if (first_token_s := work.time_to_first_token_s) is not None:
            times.first_token.observe(first_token_s)
        if (per_token_s := work.time_per_token_s) is not None:
            times.per_token.observe(per_token_s)
        tokens.prompt_size.observe(usage.prompt_tokens)
        tokens.output_size.observe(usage.completion_tokens)
        tokens.cached += usage.cached_tokens
        tokens.reasoning += usage.reasoning_tokens
        for reason in work.finish_reasons:
            self._finished[work.model, reason] += 1

    def collect(self) -> Iterator[CounterMetricFamily | HistogramMetricFamily]:
        yield _counter(
            "http_requests",
            "HTTP requests by response status; 499: the client disconnected.",
            ("method", "route", "status"),
            self._requests,
        )
        yield _counter(
            "errors", "Errors that were sent, as a status or in a stream.", ("kind", "dialect"), self._errors
        )
        yield CounterMetricFamily(
            "crossette_structured_output_mismatches",
            "Finished answers that do not match their output format, although the grammar allowed them.",
            value=self._num_mismatches,
        )
        for name, help, histogram_of in _TIMES:
            family = HistogramMetricFamily(f"crossette_{name}", help, labels=("model", "endpoint"))
            for labels, times in self._times.items():
                add_histogram(family, labels, histogram_of(times).snapshot())
            yield family
        for name, help, size_of in _SIZES:
            family = HistogramMetricFamily(f"crossette_{name}", help, labels=("model",))
            for model, tokens in self._tokens.items():
                add_histogram(family, (model,), size_of(tokens).snapshot())
            yield family
        for name, help, sum_of in _SUMS:
            yield _counter(name, help, ("model",), {(model,): sum_of(each) for model, each in self._tokens.items()})
        yield _counter("choices_finished", "Finished choices by `finish_reason`.", ("model", "reason"), self._finished)


def _counter(name: str, help: str, labels: tuple[str, ...], values: Mapping[_LabelsT, float]) -> CounterMetricFamily:
    family = CounterMetricFamily(f"crossette_{name}", help, labels=labels)
    for key, value in values.items():
        family.add_metric([str(each) for each in key], value)
    return family
