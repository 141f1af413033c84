"""Send requests to a server: many through the load generator, or single ones."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

import msgspec
from common import Served

from crossette.client.bench import BenchOptions, run_bench
from crossette.client.bench.connection import Connection
from crossette.client.bench.options import Address
from crossette.client.bench.request import RequestResult, stream_request
from peers.runs import PROMPT_TOKENS, Body, Failed, Size

TIMEOUT_S = 1200.0
JSON = {"content-type": "application/json"}


def bench_options(served: Served, size: Size, seed: int, *, concurrency: tuple[int, ...]) -> BenchOptions:
    return BenchOptions(
        url=served.url,
        concurrency=concurrency,
        prompt_tokens=PROMPT_TOKENS,
        max_tokens=size.output_tokens,
        ignore_eos=True,
        seed=seed,
        model=served.model,
        timeout_s=TIMEOUT_S,
    )


def rates(options: BenchOptions) -> tuple[dict[str, float], Body]:
    """Run the load generator at one level. Raises Failed if a request failed."""
    report = run_bench(options)
    (level,) = report.levels
    if level.num_errors:
        kind, message = next(iter(level.first_messages.items()))
        raise Failed(f"{level.num_errors} of {level.num_requests} requests: {kind}: {message}")
    if level.output_tokens_per_s is None:
        raise Failed("no usage in the answers")
    expected = options.requests_at(options.concurrency[0]) * options.max_tokens
    if level.completion_tokens != expected:
        raise Failed(f"{level.completion_tokens} output tokens, not {expected}")
    figures = {"tokens_per_s": level.output_tokens_per_s, "first_token_p95_ms": level.first_token_ms["p95"]}
    return figures, {"level": asdict(level), "requests": report.requests}


def completion(served: Served, prompt: str, max_tokens: int) -> Body:
    return {
        "model": served.model,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "temperature": 0.0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def connect(served: Served) -> closing[Connection]:
    return closing(Connection(Address.parse(served.url), JSON))


async def post(connection: Connection, body: Body) -> RequestResult:
    return await stream_request(connection, "/completions", msgspec.json.encode(body), timeout_s=TIMEOUT_S)


async def post_alone(served: Served, body: Body) -> RequestResult:
    """Send a request on a new connection."""
    with connect(served) as connection:
        return await post(connection, body)


def good(result: RequestResult) -> RequestResult:
    if result.failure is not None:
        raise Failed(f"{result.failure.kind}: {result.failure.message}")
    return result


def together(results: Sequence[RequestResult]) -> float:
    """Output tokens per second of sequential requests."""
    return sum(result.completion_tokens or 0 for result in results) / sum(result.total_s for result in results)


def record(result: RequestResult) -> Body:
    """A request as JSON, with only the largest of its gaps."""
    return {
        **{name: value for name, value in asdict(result).items() if name != "gaps_s"},
        "largest_gap_s": result.largest_gap_s,
    }
