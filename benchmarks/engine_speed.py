"""Load one model of a store, and print its speed and memory as JSON: run by sizes.py in a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import closing
from dataclasses import asdict, dataclass

import numpy as np
from common import own_kb

from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files
from crossette.types import GenerationRequest, SamplingParams

SHORT, OUTPUT = 100, 48
STREAMS = 8


@dataclass(frozen=True)
class Speeds:
    """Speeds in tokens per second, sizes in bytes."""

    prefill: float
    """Of the long prompt."""
    decode: float
    """One stream after a prompt of 100 tokens."""
    decode_long: float
    """One stream after the long prompt."""
    decode_many: float
    """Eight streams after prompts of 100 tokens, together."""
    prefill_cpu: float
    """Tokens of the long prompt for each second of a core: it depends less on what else runs."""
    memory: int
    """Not of mapped files, at the end."""
    kv_token: int
    """A token in the KV cache, in all layers."""
    kv_tokens: int
    """How many tokens fit."""


def request(num_prompt: int, num_output: int, seed: int) -> GenerationRequest:
    prompt = tuple(np.random.default_rng(seed).integers(100, 40_000, num_prompt).tolist())
    sampling = SamplingParams(max_tokens=num_output, temperature=0, ignore_eos=True)
    return GenerationRequest(f"speed-{seed}", prompt, sampling)


async def times(engine: OpenVINOEngine, num_prompt: int, num_output: int, seed: int) -> list[float]:
    """When each token of a request arrived, in seconds since it was sent."""
    one = request(num_prompt, num_output, seed)
    begun = time.perf_counter()
    return [time.perf_counter() - begun async for _ in engine.generate(one)]


def rate(arrivals: list[float]) -> float:
    return (len(arrivals) - 1) / (arrivals[-1] - arrivals[0])


def together(engine: OpenVINOEngine) -> float:
    """Tokens per second while all streams decode."""

    async def run() -> list[list[float]]:
        return await asyncio.gather(*(times(engine, SHORT, OUTPUT, 200 + number) for number in range(STREAMS)))

    streams = asyncio.run(run())
    begin, end = max(one[0] for one in streams), min(one[-1] for one in streams)
    return sum(begin < at <= end for one in streams for at in one) / (end - begin)


def speeds(engine: OpenVINOEngine, num_long: int, rounds: int) -> Speeds:
    short = [rate(asyncio.run(times(engine, SHORT, OUTPUT, seed))) for seed in range(3)]
    begun_s = time.process_time()
    long = [asyncio.run(times(engine, num_long, OUTPUT, 100 + seed)) for seed in range(rounds)]
    cpu_s = time.process_time() - begun_s
    stats = engine.stats()
    return Speeds(
        prefill=max(num_long / one[0] for one in long),
        decode=statistics.median(short),
        decode_long=max(rate(one) for one in long),
        decode_many=together(engine),
        prefill_cpu=rounds * num_long / cpu_s,
        memory=own_kb("RssAnon") * 1024,
        kv_token=sum(layers.token_bytes for layers in stats.kv_layers),
        kv_tokens=stats.kv_tokens,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--long", type=int, required=True, help="tokens of the long prompt")
    parser.add_argument("--rounds", type=int, default=2, help="of the long prompt")
    parser.add_argument("--kv-cache", default="1GiB")
    parser.add_argument("--kv-cache-dtype", default="auto")
    options = parser.parse_args()
    settings = OpenVINOSettings(
        kv_cache=options.kv_cache,
        kv_cache_dtype=options.kv_cache_dtype,
        max_model_len=options.long + OUTPUT,
        max_draft_rows=0,
    )
    stored = ModelStore(default_root()).find(options.name)
    assert stored is not None
    files = model_files(stored)
    with closing(OpenVINOEngine.load(files, settings)) as engine:
        print(json.dumps(asdict(speeds(engine, options.long, options.rounds))))


if __name__ == "__main__":
    main()
