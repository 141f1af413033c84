"""What the front costs the CPU: a server without a model, at several levels of streams."""

from __future__ import annotations

from dataclasses import replace

from common import Served, fake, serving

from crossette.errors import CrossetteError
from peers.requests import bench_options, rates
from peers.runs import Failed, Run, Size
from peers.servers import shown

FRONT_STREAMS = (1, 8, 64)


def measure_front(streams: int, number: int, size: Size) -> Run:
    """CPU time of a server without a model: a cost for each request and one for each token, from two lengths."""
    short_length, long_length = (size.output_tokens // 16, size.output_tokens)
    run = Run("fake", f"front-{streams}", "crossette", number, command=shown(fake()))
    try:
        with serving(fake()) as served:
            of_short, of_long = (
                _cpu_s_per_request(served, streams, length, size, number) for length in (short_length, long_length)
            )
    except (Failed, CrossetteError, SystemExit) as error:
        run.failure = str(error)
        return run
    per_token = (of_long - of_short) / (long_length - short_length)
    per_request = of_short - short_length * per_token
    run.figures = {"us_per_token": 1e6 * per_token, "ms_per_request": 1000 * per_request}
    run.details = {"cpu_s_per_request": {short_length: of_short, long_length: of_long}}
    return run


def _cpu_s_per_request(served: Served, streams: int, length: int, size: Size, seed: int) -> float:
    """CPU seconds of one request that gives so many tokens."""
    num_requests = max(streams, size.front_requests)
    options = replace(
        bench_options(served, size, seed + length, concurrency=(streams,)), max_tokens=length, num_requests=num_requests
    )
    before = served.cpu_s
    rates(options)
    return (served.cpu_s - before) / (num_requests + 1)  # one to warm up
