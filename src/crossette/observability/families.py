"""Families of metrics from values that are counted without Prometheus' client, whose own take locks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily

from crossette.histogram import HistogramSnapshot


def add_histogram(family: HistogramMetricFamily, labels: Sequence[str], values: HistogramSnapshot) -> None:
    """Add a series. Its buckets count what is at most their bound, as Prometheus' do."""
    bounds = [*map(str, values.bounds), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(values.counts), strict=True)), values.sum)
