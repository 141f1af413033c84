"""The CPU cost of the server with the fake engine, at several numbers of streams."""

from __future__ import annotations

from dataclasses import dataclass, replace

from common import Served, fake, serving

from crossette.errors import CrossetteError
from peers.requests import bench_options, rates
from peers.runs import Failed, Run, Size
from peers.servers import shown

FRONT_STREAMS = (1, 8, 64)


@dataclass(frozen=True)
class Cost:
    """CPU cost of a server: per request and per token, and seconds per request of two lengths."""

    ms_per_request: float
    us_per_token: float
    short_s: float
    long_s: float


def measure_front(streams: int, number: int, size: Size) -> Run:
    """Measure the CPU time of the fake engine's server per request and per token, from two output lengths."""
    run = Run("fake", f"front-{streams}", "crossette", number, command=shown(fake()))
    try:
        with serving(fake()) as served:
            cost = cost_of(served, streams, size, number)
    except (Failed, CrossetteError, SystemExit) as error:
        run.failure = str(error)
        return run
    run.figures = {"us_per_token": cost.us_per_token, "ms_per_request": cost.ms_per_request}
    run.details = {"cpu_s_per_request": {_short(size): cost.short_s, size.output_tokens: cost.long_s}}
    return run


def cost_of(served: Served, streams: int, size: Size, number: int, api_key: str | None = None) -> Cost:
    """Measure the cost of answers of two lengths. Raises Failed or CrossetteError."""
    lengths = (_short(size), size.output_tokens)
    short_s, long_s = (_cpu_s_per_request(served, streams, length, size, number, api_key) for length in lengths)
    per_token = (long_s - short_s) / (lengths[1] - lengths[0])
    return Cost(1000 * (short_s - lengths[0] * per_token), 1e6 * per_token, short_s, long_s)


def _short(size: Size) -> int:
    return size.output_tokens // 16


def _cpu_s_per_request(served: Served, streams: int, length: int, size: Size, seed: int, api_key: str | None) -> float:
    """CPU seconds of one request with `length` output tokens."""
    num_requests = max(streams, size.front_requests)
    options = bench_options(served, size, seed + length, concurrency=(streams,))
    options = replace(options, max_tokens=length, num_requests=num_requests, api_key=api_key)
    before = served.cpu_s
    rates(options)
    return (served.cpu_s - before) / (num_requests + 1)  # one is the warm-up
