"""Measure the cost of the server: the same prompts over HTTP, through the engine alone, and in a bare loop.

    scripts/bench-front [--streams 1,8,32] [--rounds 3] [--write docs/benchmarks.md]
    scripts/bench-front --calls     counts calls instead, which do not depend on the machine

Prompts of 96 token ids, 256 output tokens each with ignore_eos, greedy, prefill included everywhere. The three
alternate in every round, so that a drift of the machine's speed affects all alike; the figures are medians over the
rounds. The bare loop only runs the graph and takes the argmax: no scheduler, no requests.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import calls
from common import crossette, machine, serving, write

from crossette.client.bench import BenchOptions, run_bench
from crossette.client.bench.prompts import Prompts
from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, blocks_for
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.runner import Runner, Subsequence
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files
from crossette.types import GenerationRequest, SamplingParams

PROMPT_TOKENS = 96
OUTPUT_TOKENS = 256
SEED = 7
MARKER = "front"


@dataclass(frozen=True)
class Round:
    """Output tokens per second of one round."""

    http: float
    engine: float
    bare: float


def prompts(count: int) -> list[tuple[int, ...]]:
    """The prompts that the load generator sends after its warm-up."""
    generated = Prompts("short", PROMPT_TOKENS, SEED, token_ids=True)
    return [generated[index].ids for index in range(1, count + 1)]


def over_http(url: str, streams: int) -> float:
    options = BenchOptions(
        url=url,
        concurrency=(streams,),
        num_requests=streams,
        prompt_tokens=PROMPT_TOKENS,
        token_ids=True,
        max_tokens=OUTPUT_TOKENS,
        ignore_eos=True,
        seed=SEED,
    )
    rate = run_bench(options).levels[0].output_tokens_per_s
    if rate is None:
        raise SystemExit("The server returned errors.")
    return rate


def through_engine(engine: OpenVINOEngine, streams: int) -> float:
    async def one(number: int, prompt: tuple[int, ...]) -> int:
        sampling = SamplingParams(max_tokens=OUTPUT_TOKENS, temperature=0, ignore_eos=True)
        request = GenerationRequest(f"front-{number}", prompt, sampling)
        return sum([len(output.token_ids) async for output in engine.generate(request)])

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts(streams)))))

    begun = time.perf_counter()
    return asyncio.run(all_of_them()) / (time.perf_counter() - begun)


def bare(runner: Runner, streams: int) -> float:
    num_blocks = blocks_for(PROMPT_TOKENS + OUTPUT_TOKENS)
    tables = [list(range(i * num_blocks, (i + 1) * num_blocks)) for i in range(streams)]
    begun = time.perf_counter()
    last = [
        int(runner.forward([Subsequence(prompt, 0, table, 1)])[0].argmax())
        for prompt, table in zip(prompts(streams), tables, strict=True)
    ]
    for past in range(PROMPT_TOKENS, PROMPT_TOKENS + OUTPUT_TOKENS - 1):
        parts = [Subsequence((token,), past, table, 1) for token, table in zip(last, tables, strict=True)]
        last = runner.forward(parts).argmax(axis=1).tolist()
    return streams * OUTPUT_TOKENS / (time.perf_counter() - begun)


def measure(levels: list[int], rounds: int) -> dict[int, list[Round]]:
    stored = pull(ModelStore(default_root()), DEFAULT.name, convert)
    engine = OpenVINOEngine.load(model_files(stored), OpenVINOSettings())
    runner = Runner(
        load_paged(stored.path, threads=engine.threads, window=engine.info.context_length),
        max(levels) * (PROMPT_TOKENS + OUTPUT_TOKENS) // BLOCK_SIZE,
        threads=engine.threads,
    )
    results: dict[int, list[Round]] = {}
    with serving(crossette(DEFAULT.name)) as served:
        for streams in levels:
            bare(runner, 1), through_engine(engine, 1)
            results[streams] = []
            for _ in range(rounds):
                done = Round(over_http(served.url, streams), through_engine(engine, streams), bare(runner, streams))
                print(streams, done, file=sys.stderr, flush=True)
                results[streams].append(done)
    engine.close()
    return results


def report(results: dict[int, list[Round]], command: str) -> str:
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}, {DEFAULT.name}.",
        f"Prompts of {PROMPT_TOKENS} tokens, {OUTPUT_TOKENS} output tokens, greedy, prefill included. "
        f"Output tokens/s, medians of {len(next(iter(results.values())))} alternating rounds.",
        f"Command: `{command}`",
        "",
        "| streams | over HTTP | engine alone | bare loop | HTTP / engine | HTTP / bare |",
        "|---|---|---|---|---|---|",
    ]
    for streams, rounds in results.items():
        http, engine, loop = (
            statistics.median(getattr(r, name) for r in rounds) for name in ("http", "engine", "bare")
        )
        to_engine = statistics.median(r.http / r.engine for r in rounds)
        to_bare = statistics.median(r.http / r.bare for r in rounds)
        lines.append(f"| {streams} | {http:.0f} | {engine:.0f} | {loop:.0f} | {to_engine:.2f} | {to_bare:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", default="1,8,32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    parser.add_argument("--calls", action="store_true", help="count the calls and files of a request")
    options = parser.parse_args()
    if options.calls:
        print(calls.report())
        return
    results = measure([int(level) for level in options.streams.split(",")], options.rounds)
    text = report(results, " ".join(["scripts/bench-front", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
