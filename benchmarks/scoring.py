"""Logprobs of prompts, as evaluation harnesses ask for them, beside llama.cpp and vLLM with the same weights, in turns.

    scripts/bench-scoring [--llama-cpp PYTHON] [--vllm PYTHON] [--lengths 100,500] [--prompts 32] [--rounds 3]
                          [--write PAGE]

Both are called in a process of their own (scoring_peers.py), with interpreters that have xllamacpp and numpy, or vLLM:
no server, and no lists of alternatives. crossette is asked over HTTP by `--clients` at once: prompts of token ids with
`echo`, `logprobs` and one output token. The same prompts without both say what the logprobs cost. Where others use the
CPUs too, the CPU time is the better measure.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from checkpoint import default_checkpoint
from common import Served, crossette, head, serving, write
from q8_0 import default_gguf
from scoring_peers import LLAMA_CPP, VLLM, Prompts, Scored, scorer

from crossette.models.catalogue import DEFAULT

MARKER = "scoring"
VOCABULARY = 49_000
FIRST = 64
"""Token ids before it are control tokens."""


def prompts_of(length: int, number: int, seed: int) -> Prompts:
    chooser = random.Random(seed)
    return [[chooser.randrange(FIRST, VOCABULARY) for _ in range(length)] for _ in range(number)]


def over_http(served: Served, prompts: Prompts, clients: int, *, scored: bool) -> Scored:
    options = {"echo": True, "logprobs": 1} if scored else {}

    def ask(client: httpx.Client, prompt: list[int]) -> float:
        body = {"model": served.model, "prompt": prompt, "max_tokens": 1, "temperature": 0, **options}
        answer = client.post(f"{served.url}/completions", json=body)
        answer.raise_for_status()
        logprobs = answer.json()["choices"][0]["logprobs"]
        return sum(logprobs["token_logprobs"][1 : len(prompt)]) if scored else 0.0

    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(clients) as threads:
        begun, cpu = time.perf_counter(), served.cpu_s
        sums = list(threads.map(lambda prompt: ask(client, prompt), prompts))
        return Scored(time.perf_counter() - begun, served.cpu_s - cpu, sums)


@dataclass(frozen=True)
class Round:
    """What was measured with the same prompts; `plain` are others, without logprobs."""

    ours: Scored
    plain: Scored
    peers: Mapping[str, Scored]


def report(results: Mapping[int, list[Round]], number: int) -> str:
    lines = [
        "| tokens of a prompt | peer | prompts/s: crossette, peer, ratio | CPU s a prompt: crossette, peer, ratio "
        "| CPU s a prompt without logprobs |",
        "|---|---|---|---|---|",
    ]
    for length, rounds in results.items():
        ours, our_cpu = _medians(one.ours for one in rounds)
        _, plain_cpu = _medians(one.plain for one in rounds)
        for peer in rounds[0].peers:
            theirs, their_cpu = _medians(one.peers[peer] for one in rounds)
            lines.append(
                f"| {length} | {peer} | {number / ours:.2f}, {number / theirs:.2f}, {theirs / ours:.2f} "
                f"| {our_cpu / number:.3f}, {their_cpu / number:.3f}, {their_cpu / our_cpu:.2f} "
                f"| {plain_cpu / number:.3f} |"
            )
    return "\n".join(lines)


def _medians(sides: Iterable[Scored]) -> tuple[float, float]:
    """Seconds, and CPU seconds."""
    found = list(sides)
    return statistics.median(one.seconds for one in found), statistics.median(one.cpu_s for one in found)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="an interpreter that has xllamacpp and numpy")
    parser.add_argument("--vllm", metavar="PYTHON", help="an interpreter that has vLLM")
    parser.add_argument("--lengths", default="100,500")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    if not options.llama_cpp and not options.vllm:
        parser.error("give --llama-cpp, --vllm or both")
    return options


def main() -> None:
    options = parse()
    number, clients = options.prompts, options.clients
    results: dict[int, list[Round]] = {}
    with ExitStack() as running:
        served = running.enter_context(serving(crossette(DEFAULT.name)))
        peers = {}
        if options.llama_cpp:
            peers["llama.cpp"] = running.enter_context(scorer(options.llama_cpp, LLAMA_CPP, default_gguf()))
        if options.vllm:
            peers["vLLM"] = running.enter_context(scorer(options.vllm, VLLM, default_checkpoint()))
        for seed in range(options.rounds):
            for length in map(int, options.lengths.split(",")):
                prompts = prompts_of(length, number, seed)
                ours = over_http(served, prompts, clients, scored=True)
                plain = over_http(served, prompts_of(length, number, seed + 1000), clients, scored=False)
                one = Round(ours, plain, {name: score(prompts) for name, score in peers.items()})
                results.setdefault(length, []).append(one)
                for name, theirs in one.peers.items():
                    apart = max(abs(a - b) / length for a, b in zip(ours.sums, theirs.sums, strict=True))
                    print(length, f"{name}: logprobs differ by {apart:.3f} a token on average", file=sys.stderr)
    given = " ".join("PYTHON" if Path(word).is_file() and "python" in word else word for word in sys.argv[1:])
    text = "\n".join((*head(f"scripts/bench-scoring {given}".rstrip()), "", report(results, number)))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
