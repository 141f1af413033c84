"""Engine metrics from `EngineStats`, collected on each scrape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from crossette.engine import AnyEngine, EngineStats, EngineTimes
from crossette.histogram import HistogramSnapshot
from crossette.observability.families import add_histogram

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _Value(NamedTuple):
    name: str
    help: str
    read: Callable[[EngineStats], float]


class _Times(NamedTuple):
    name: str
    help: str
    read: Callable[[EngineTimes], HistogramSnapshot]


_GAUGES = (
    _Value("sequences_running", "Sequences in the running batch.", lambda stats: stats.running),
    _Value("sequences_waiting", "Sequences waiting to be scheduled into the batch.", lambda stats: stats.waiting),
    _Value("kv_blocks", "Blocks of the KV cache.", lambda stats: stats.blocks_total),
    _Value(
        "kv_blocks_used",
        "KV cache blocks used by running sequences.",
        lambda stats: stats.blocks_total - stats.blocks_free,
    ),
    _Value("kv_blocks_cached", "Blocks in the prefix cache, used or free.", lambda stats: stats.cached_blocks),
    _Value("kv_cache_bytes", "Memory of the KV cache in bytes.", lambda stats: stats.kv_bytes),
    _Value("engine_stalled", "1 while requests wait and no step makes progress.", lambda stats: stats.stalled),
)

_COUNTERS = (
    _Value("steps", "Finished engine steps.", lambda stats: stats.steps),
    _Value("preemptions", "Sequences preempted for lack of KV cache blocks.", lambda stats: stats.preemptions),
    _Value(
        "computed_prompt_tokens",
        "Prefilled prompt tokens, including recomputed ones; counted with each step.",
        lambda stats: stats.prompt_tokens,
    ),
    _Value("generated_tokens", "Generated tokens; counted with each step.", lambda stats: stats.completion_tokens),
    _Value(
        "prefix_cache_lookup_tokens",
        "Prompt tokens looked up in the prefix cache.",
        lambda stats: stats.lookup_tokens,
    ),
    _Value("prefix_cache_hit_tokens", "Prompt tokens found in the prefix cache.", lambda stats: stats.hit_tokens),
    _Value("speculation_draft_tokens", "Draft tokens that were verified.", lambda stats: stats.drafts),
    _Value("speculation_accepted_tokens", "Draft tokens that were accepted.", lambda stats: stats.accepted_drafts),
)

_HISTOGRAMS = (
    _Times(
        "queue_time_seconds",
        "From the arrival of a request to the first step that computes tokens of it.",
        lambda times: times.queue,
    ),
    _Times(
        "inter_token_latency_seconds",
        "From one output of a sequence to the next; an output of several tokens counts once.",
        lambda times: times.token_gap,
    ),
    _Times(
        "cancellation_delay_seconds",
        "From the disconnect of a client to the release of its blocks.",
        lambda times: times.cancellation,
    ),
    _Times("step_duration_seconds", "Duration of a step.", lambda times: times.step),
    _Times("step_tokens", "Tokens computed in a step, including draft tokens.", lambda times: times.step_tokens),
    _Times("step_sequences", "Sequences with tokens in a step.", lambda times: times.step_sequences),
)


class EngineCollector(Collector):
    """Collects the metrics of all engines, labelled by model."""

    def __init__(self, engines: Mapping[str, AnyEngine]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Family | InfoMetricFamily]:
        stats = {name: engine.stats() for name, engine in self._engines.items()}
        yield self._info()
        for family, values in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help, read in values:
                metric = family(f"crossette_{name}", help, labels=["model"])
                for model, values_of_model in stats.items():
                    metric.add_metric([model], read(values_of_model))
                yield metric
        times = {name: each.times for name, each in stats.items() if each.times is not None}
        yield from (_histogram(histogram, times) for histogram in _HISTOGRAMS)

    def _info(self) -> InfoMetricFamily:
        metric = InfoMetricFamily("crossette_model", "The served models.", labels=["model"])
        for name, engine in self._engines.items():
            info = engine.info
            metric.add_metric([name], {"architecture": info.architecture, "quantization": info.quantization})
        return metric


def _histogram(histogram: _Times, times: Mapping[str, EngineTimes]) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(f"crossette_{histogram.name}", histogram.help, labels=["model"])
    for model, times_of_model in times.items():
        add_histogram(metric, [model], histogram.read(times_of_model))
    return metric
