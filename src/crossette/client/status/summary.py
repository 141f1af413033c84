"""The status of a server from two scrapes: rates, ratios and medians."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossette.client.status.scrape import Scrape

_POLLED = ("/health/live", "/health/ready", "/metrics")


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The status of a model, now and between two scrapes. None: no data."""

    model: str
    awake: bool
    """Whether it is in memory; otherwise the counts are 0."""
    users: int
    """Requests that use it or wait until it is loaded."""
    running: int
    waiting: int
    stalled: bool
    generated_tokens_per_s: float
    prompt_tokens_per_s: float
    kv_blocks: int
    kv_blocks_used: int
    kv_blocks_cached: int
    kv_bytes: int
    prefix_hit_rate: float | None
    """The share of prompt tokens found in the prefix cache, since the start."""
    draft_acceptance: float | None
    """The share of draft tokens that were accepted, since the start."""
    preemptions: int
    step_s: float | None
    """The mean duration of a step."""
    first_token_s: float | None
    """The median time to the first token."""
    token_gap_s: float | None
    """The median time between tokens."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of a server."""

    version: str
    memory_bytes: int
    requests: int
    """Requests since the start, except those for health and metrics."""
    errors: int
    models: list[ModelStatus]


def status_of(now: Scrape, before: Scrape) -> Status:
    """Compute the status from two scrapes."""
    return Status(
        now.version,
        int(now.total("process_resident_memory_bytes")),
        int(_requests(now)),
        int(now.total("crossette_errors_total")),
        [_model_status(model, now, before) for model in now.models()],
    )


def _requests(now: Scrape) -> float:
    name = "crossette_http_requests_total"
    return now.total(name) - sum(now.total(name, route=route) for route in _POLLED)


def _model_status(model: str, now: Scrape, before: Scrape) -> ModelStatus:
    def value(name: str) -> int:
        return int(now.total(f"crossette_{name}", model=model))

    def rate(name: str) -> float:
        return _increase(now, before, f"crossette_{name}_total", model) / max(1e-9, now.at_s - before.at_s)

    return ModelStatus(
        model=model,
        awake=bool(value("model_awake")),
        users=value("model_users"),
        running=value("sequences_running"),
        waiting=value("sequences_waiting"),
        stalled=bool(value("engine_stalled")),
        generated_tokens_per_s=rate("generated_tokens"),
        prompt_tokens_per_s=rate("computed_prompt_tokens"),
        kv_blocks=value("kv_blocks"),
        kv_blocks_used=value("kv_blocks_used"),
        kv_blocks_cached=value("kv_blocks_cached"),
        kv_bytes=value("kv_cache_bytes"),
        prefix_hit_rate=ratio(value("prefix_cache_hit_tokens_total"), value("prefix_cache_lookup_tokens_total")),
        draft_acceptance=ratio(value("speculation_accepted_tokens_total"), value("speculation_draft_tokens_total")),
        preemptions=value("preemptions_total"),
        step_s=ratio(
            _increase(now, before, "crossette_step_duration_seconds_sum", model),
            _increase(now, before, "crossette_step_duration_seconds_count", model),
        ),
        first_token_s=_median("crossette_time_to_first_token_seconds", model, now, before),
        token_gap_s=_median("crossette_inter_token_latency_seconds", model, now, before),
    )


def _increase(now: Scrape, before: Scrape, name: str, model: str) -> float:
    """The increase of a counter; its full value if the server was restarted in between."""
    total, earlier = now.total(name, model=model), before.total(name, model=model)
    return total - earlier if total >= earlier else total


def ratio(part: float, total: float) -> float | None:
    """The ratio of a part to a total; None for a total of 0."""
    return part / total if total else None


def _median(name: str, model: str, now: Scrape, before: Scrape) -> float | None:
    """The median of a histogram's values between two scrapes, interpolated within its bucket."""
    earlier, later = before.buckets(name, model=model), sorted(now.buckets(name, model=model).items())
    counts = {bound: count - earlier.get(bound, 0) for bound, count in later}
    half = counts.get(math.inf, 0) / 2
    if half <= 0:
        return None
    lower, less = 0.0, 0.0
    for bound, count in counts.items():
        if count >= half:
            return lower if bound == math.inf else lower + (bound - lower) * (half - less) / (count - less)
        lower, less = bound, count
    return None
