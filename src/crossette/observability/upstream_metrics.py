"""Metrics of the servers that run remote models: which respond, and how often they fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from crossette.remote.model import RemoteModel

_LABELS = ("model", "upstream")


class UpstreamCollector(Collector):
    """Collects the metrics of all upstreams. The label `upstream` is host and port."""

    def __init__(self, remotes: Sequence[RemoteModel]) -> None:
        self._remotes = remotes

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        up = GaugeMetricFamily("crossette_upstream_up", "1 unless the server failed last time.", labels=_LABELS)
        failures = CounterMetricFamily(
            "crossette_upstream_failures", "Requests that the server failed or did not answer in time.", labels=_LABELS
        )
        for remote in self._remotes:
            for upstream in remote.upstreams:
                labels = (remote.name, upstream.name)
                up.add_metric(labels, upstream.is_up)
                failures.add_metric(labels, upstream.num_failures)
        yield from (up, failures)
