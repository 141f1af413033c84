"""Prometheus metrics, in a registry per server: two servers in one process share no metrics.

Requests are counted when they finish (`note`); engine metrics are collected on each scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from crossette import __version__
from crossette.observability.engine_metrics import EngineCollector
from crossette.observability.model_metrics import ModelCollector
from crossette.observability.record import Observer
from crossette.observability.request_metrics import RequestCollector
from crossette.observability.upstream_metrics import UpstreamCollector
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel

CLIENT_CLOSED_REQUEST = 499
"""The status of a request whose client disconnected before the response, as in nginx."""


class Metrics:
    """All metrics of one server."""

    def __init__(self, pool: ModelPool, remotes: Sequence[RemoteModel] = ()) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Build())
        self.engines = EngineCollector(pool.engines)
        self.registry.register(self.engines)
        self.registry.register(ModelCollector(pool.models))
        self.registry.register(UpstreamCollector(remotes))
        requests = RequestCollector()
        self.registry.register(requests)
        self.note: Observer = requests.note

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


def _named(name: str) -> str:
    return f"crossette_{name}"


class _Read(Collector):
    """A metric that is created on each scrape."""

    def __init__(self, make: Callable[[], Metric]) -> None:
        self._make = make

    def collect(self) -> Iterator[Metric]:
        yield self._make()


class _Build(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(_named("build"), "The version of the server.", {"version": __version__})
