"""Metrics of the models of a server: which are in memory, who uses them, and how long loading takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from crossette.pool.model import PooledModel


class _Value(NamedTuple):
    name: str
    help: str
    read: Callable[[PooledModel], float]


_GAUGES = (
    _Value("model_awake", "1 while the model is in memory.", lambda model: model.engine is not None),
    _Value("model_users", "Requests that use the model or wait until it is loaded.", lambda model: model.num_users),
    _Value("model_load_seconds", "Duration of the last load; 0 before the first.", lambda model: model.load_s or 0),
)
_COUNTERS = (
    _Value("model_loads", "Times the model was loaded.", lambda model: model.num_loads),
    _Value("model_load_failures", "Times that failed.", lambda model: model.num_failures),
)


class ModelCollector(Collector):
    """Collects the metrics of all models, loaded or not."""

    def __init__(self, models: Mapping[str, PooledModel]) -> None:
        self._models = models

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        for family, values in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help, read in values:
                metric = family(f"crossette_{name}", help, labels=["model"])
                for model in self._models.values():
                    metric.add_metric([model.name], read(model))
                yield metric
