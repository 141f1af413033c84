"""The workload of one stream with nothing to guess: random token ids, and no draft tokens on either side."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
from collections.abc import Callable, Sequence
from urllib.request import Request, urlopen

from common import Served
from line_charts import Chart

from crossette.client.bench.request import RequestResult
from peers.requests import JSON, completion, connect, good, post, record
from peers.runs import Body, Failed, Run, Size

NO_DRAFTS = ("--max-draft-rows", "0")
OUTPUT_TOKENS = 64
_VOCABULARY = range(100, 49_000)
"""Ids that every vocabulary of the measured models has, without control tokens."""
_DRAFTS = "crossette_speculation_draft_tokens_total"


LENGTHS = 100, 500, 2000, 4000
"""Of prompts, in tokens."""


def run_random(num_prompt: int) -> Callable[[Served, bool, Size, int], tuple[dict[str, float], Body]]:
    """Prompts of `num_prompt` tokens, one after the other."""

    def run(served: Served, is_ours: bool, size: Size, seed: int) -> tuple[dict[str, float], Body]:
        results = asyncio.run(_requests(served, num_prompt, min(OUTPUT_TOKENS, size.output_tokens), seed))
        if not is_ours and any(result.first_token_s is None for result in results):
            return _own_figures(served, num_prompt, min(OUTPUT_TOKENS, size.output_tokens), seed)
        figures = {
            "prefill_tokens_per_s": statistics.median(map(_prefill, results)),
            "decode_tokens_per_s": statistics.median(map(_decode, results)),
        }
        drafted = {"drafted_tokens": _drafted(served)} if is_ours else {}
        if any(drafted.values()):
            raise Failed(f"{drafted['drafted_tokens']} draft tokens, where there should be none")
        return figures, {**drafted, "requests": [record(result) for result in results]}

    return run


async def _requests(served: Served, num_prompt: int, num_output: int, seed: int) -> list[RequestResult]:
    """Three requests, after a short one that is not counted."""
    results = []
    with connect(served) as connection:
        for number, length in enumerate((32, num_prompt, num_prompt, num_prompt)):
            body = completion(served, "", num_output) | {"prompt": _ids(length, seed + number)}
            results.append(good(await post(connection, body)))
    return results[1:]


def _ids(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(_VOCABULARY, k=length)


def _own_figures(served: Served, num_prompt: int, num_output: int, seed: int) -> tuple[dict[str, float], Body]:
    """llama-server's own measurement of three requests, for answers of random weights, of which it sends no text.

    It leaves HTTP and the client out, so it can only favour llama-server.
    """
    timings = []
    for number in range(10, 13):
        fields = {"prompt": _ids(num_prompt, seed + number), "n_predict": num_output, "temperature": 0}
        body = json.dumps(fields | {"ignore_eos": True, "cache_prompt": False}).encode()
        with urlopen(Request(f"{served.root}/completion", body, JSON)) as answer:
            timings.append(json.load(answer)["timings"])
    figures = {
        "prefill_tokens_per_s": statistics.median(timing["prompt_per_second"] for timing in timings),
        "decode_tokens_per_s": statistics.median(timing["predicted_per_second"] for timing in timings),
    }
    return figures, {"timings": timings}


def _prefill(result: RequestResult) -> float:
    if result.first_token_s is None or result.prompt_tokens is None:
        raise Failed("an answer without text or usage")
    if result.cached_tokens:
        raise Failed(f"{result.cached_tokens} tokens of the prompt were cached")
    return result.prompt_tokens / result.first_token_s


def _decode(result: RequestResult) -> float:
    if result.first_token_s is None or result.completion_tokens is None:
        raise Failed("an answer without text or usage")
    return (result.completion_tokens - 1) / (result.total_s - result.first_token_s)


def charts(runs: Sequence[Run]) -> list[Chart]:
    """How prefill and decode change with the length of the prompt: a line for each model and server."""
    names = dict.fromkeys((run.model, run.server) for run in runs if run.workload.startswith("random-"))
    return [
        Chart(title, "tokens of the prompt", "tokens/s", {" ".join(name): _line(runs, *name, figure) for name in names})
        for title, figure in (("decode", "decode_tokens_per_s"), ("prefill", "prefill_tokens_per_s"))
        if names
    ]


def _line(runs: Sequence[Run], model: str, server: str, figure: str) -> list[tuple[float, float]]:
    """The medians over the rounds, by the length of the prompt."""
    points: list[tuple[float, float]] = []
    for length in LENGTHS:
        of_length = [
            run for run in runs if (run.model, run.server, run.workload) == (model, server, f"random-{length}")
        ]
        if values := [run.figures[figure] for run in of_length if figure in run.figures]:
            points.append((length, statistics.median(values)))
    return points


def _drafted(served: Served) -> float:
    """Draft tokens that the server has verified. Raises Failed if it has no such metric."""
    with urlopen(f"{served.root}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    values = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(_DRAFTS)]
    if not values:
        raise Failed(f"/metrics has no {_DRAFTS}")
    return sum(values)
