"""What engines count (`EngineStats`), as metrics. Read when the page is asked for; it costs nothing until then."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from crossette.engine import Engine, EngineStats, EngineTimes
from crossette.histogram import Counts

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class _Value(NamedTuple):
    name: str
    help: str
    read: Callable[[EngineStats], float]


class _Times(NamedTuple):
    name: str
    help: str
    read: Callable[[EngineTimes], Counts]


_GAUGES = (
    _Value("sequences_running", "Sequences in the running batch.", lambda stats: stats.running),
    _Value("sequences_waiting", "Sequences that wait for a place in the batch.", lambda stats: stats.waiting),
    _Value("kv_blocks", "Blocks that the KV cache has.", lambda stats: stats.blocks_total),
    _Value(
        "kv_blocks_used",
        "Blocks that running sequences hold.",
        lambda stats: stats.blocks_total - stats.blocks_free,
    ),
    _Value("kv_blocks_cached", "Blocks that the prefix cache knows, held or not.", lambda stats: stats.cached_blocks),
    _Value("kv_cache_bytes", "Memory of the KV cache.", lambda stats: stats.kv_bytes),
    _Value("engine_stalled", "1 while work waits and nothing moves.", lambda stats: stats.stalled),
)

_COUNTERS = (
    _Value("steps", "Steps that the engine finished.", lambda stats: stats.steps),
    _Value("preemptions", "Sequences that gave way to others when memory ran short.", lambda stats: stats.preemptions),
    _Value(
        "computed_prompt_tokens",
        "Tokens of prompts that were computed, also again; counted with each step.",
        lambda stats: stats.prompt_tokens,
    ),
    _Value(
        "generated_tokens", "Tokens that were drawn; counted with each step.", lambda stats: stats.completion_tokens
    ),
    _Value(
        "prefix_cache_lookup_tokens",
        "Tokens of prompts that might have been in the prefix cache.",
        lambda stats: stats.lookup_tokens,
    ),
    _Value("prefix_cache_hit_tokens", "Of those, the ones that were.", lambda stats: stats.hit_tokens),
    _Value("speculation_draft_tokens", "Guesses at tokens that were checked.", lambda stats: stats.drafts),
    _Value("speculation_accepted_tokens", "Of those, the ones that were right.", lambda stats: stats.accepted_drafts),
)

_HISTOGRAMS = (
    _Times(
        "queue_time_seconds",
        "From a request's arrival to the first step that computes something for it.",
        lambda times: times.queue,
    ),
    _Times(
        "inter_token_latency_seconds",
        "From one output of a sequence to its next; an output of several tokens counts once.",
        lambda times: times.token_gap,
    ),
    _Times(
        "cancellation_delay_seconds",
        "From the hang-up of a client to the moment in which its blocks were free.",
        lambda times: times.cancellation,
    ),
    _Times("step_duration_seconds", "Time of one step.", lambda times: times.step),
    _Times("step_tokens", "Tokens that one step computed, guesses included.", lambda times: times.step_tokens),
    _Times("step_sequences", "Sequences that one step computed something for.", lambda times: times.step_sequences),
)


class EngineCollector(Collector):
    """The metrics of all engines, each under its model's name."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Family | InfoMetricFamily]:
        stats = {name: engine.stats() for name, engine in self._engines.items()}
        yield self._info()
        for family, values in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, help, read in values:
                made = family(f"crossette_{name}", help, labels=["model"])
                for model, look in stats.items():
                    made.add_metric([model], read(look))
                yield made
        times = {name: look.times for name, look in stats.items() if look.times is not None}
        yield from (_histogram(histogram, times) for histogram in _HISTOGRAMS)

    def _info(self) -> InfoMetricFamily:
        made = InfoMetricFamily("crossette_model", "The models that are served.", labels=["model"])
        for name, engine in self._engines.items():
            info = engine.info
            made.add_metric([name], {"architecture": info.architecture, "quantization": info.quantization})
        return made


def _histogram(asked: _Times, times: Mapping[str, EngineTimes]) -> HistogramMetricFamily:
    made = HistogramMetricFamily(f"crossette_{asked.name}", asked.help, labels=["model"])
    for model, of_model in times.items():
        counts = asked.read(of_model)
        bounds = [*map(str, counts.bounds), "+Inf"]
        made.add_metric([model], list(zip(bounds, accumulate(counts.counts), strict=True)), counts.sum)
    return made
