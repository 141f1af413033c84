"""Logprobs of prompts, as evaluation harnesses ask for them, beside llama.cpp on the same file, in turns.

    scripts/bench-scoring PYTHON [--lengths 100,500] [--prompts 16] [--rounds 3] [--write PAGE]

PYTHON is an interpreter that has xllamacpp and numpy. Its side calls llama.cpp in its own process, as llama-cpp-python
does, and takes the logprob of each token from the logits: no server, and no lists of alternatives. Ours is asked over
HTTP by `--clients` at once: prompts of token ids with `echo`, `logprobs` and one output token. The same prompts without
both say what the logprobs cost. Where others use the CPUs too, the CPU time is the better measure.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from common import Served, crossette, head, serving, write
from q8_0 import default_gguf

from crossette.models.catalogue import DEFAULT

MARKER = "scoring"
VOCABULARY = 49_000
FIRST = 64
"""Token ids before it are control tokens."""
Prompts = list[list[int]]

BASELINE = """
import json, sys, time
from pathlib import Path
import numpy as np
from accuracy.llama_cpp import LlamaCpp
model = LlamaCpp(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    prompts, sums = json.loads(line), []
    begun, cpu = time.perf_counter(), time.process_time()
    for tokens in prompts:
        logits = model.logits(tokens)[:-1]
        best = logits.max(axis=1)
        normaliser = best + np.log(np.exp(logits - best[:, None]).sum(axis=1, dtype=np.float64))
        chosen = logits[np.arange(len(tokens) - 1), tokens[1:]]
        sums.append(float((chosen - normaliser).sum()))
    print(json.dumps([time.perf_counter() - begun, time.process_time() - cpu, sums]), flush=True)
"""


@dataclass(frozen=True)
class Scored:
    """One side's time for all prompts, in seconds, and the sum of each prompt's logprobs."""

    seconds: float
    cpu_s: float
    sums: list[float]


def prompts_of(length: int, number: int, seed: int) -> Prompts:
    chooser = random.Random(seed)
    return [[chooser.randrange(FIRST, VOCABULARY) for _ in range(length)] for _ in range(number)]


@contextmanager
def baseline(python: str) -> Iterator[Callable[[Prompts], Scored]]:
    """A function that scores prompts with llama.cpp."""
    command = [python, "-c", BASELINE, str(default_gguf())]
    environment = {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        given, read = process.stdin, process.stdout
        if read.readline() != "ready\n":
            raise SystemExit(f"{python} cannot run llama.cpp: does it have xllamacpp and numpy?")

        def score(prompts: Prompts) -> Scored:
            given.write(json.dumps(prompts) + "\n")
            given.flush()
            return Scored(*json.loads(read.readline()))

        try:
            yield score
        finally:
            given.close()


def over_http(served: Served, prompts: Prompts, clients: int, *, scored: bool) -> Scored:
    options = {"echo": True, "logprobs": 1} if scored else {}

    def ask(client: httpx.Client, prompt: list[int]) -> float:
        body = {"model": served.model, "prompt": prompt, "max_tokens": 1, "temperature": 0, **options}
        answer = client.post(f"{served.url}/completions", json=body)
        answer.raise_for_status()
        logprobs = answer.json()["choices"][0]["logprobs"]
        return sum(logprobs["token_logprobs"][1 : len(prompt)]) if scored else 0.0

    begun, cpu = time.perf_counter(), served.cpu_s
    with httpx.Client(timeout=600) as client, ThreadPoolExecutor(clients) as threads:
        sums = list(threads.map(lambda prompt: ask(client, prompt), prompts))
    return Scored(time.perf_counter() - begun, served.cpu_s - cpu, sums)


def report(results: dict[int, list[tuple[Scored, Scored, Scored]]], number: int) -> str:
    lines = [
        "| tokens of a prompt | prompts/s: crossette, llama.cpp, ratio | CPU s a prompt: crossette, llama.cpp, ratio "
        "| CPU s a prompt without logprobs |",
        "|---|---|---|---|",
    ]
    for length, rounds in results.items():
        ours, theirs, plain = (
            (statistics.median(side.seconds for side in sides), statistics.median(side.cpu_s for side in sides))
            for sides in zip(*rounds, strict=True)
        )
        lines.append(
            f"| {length} | {number / ours[0]:.2f}, {number / theirs[0]:.2f}, {theirs[0] / ours[0]:.2f} "
            f"| {ours[1] / number:.3f}, {theirs[1] / number:.3f}, {theirs[1] / ours[1]:.2f} | {plain[1] / number:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="an interpreter that has xllamacpp and numpy")
    parser.add_argument("--lengths", default="100,500")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    results: dict[int, list[tuple[Scored, Scored, Scored]]] = {}
    with serving(crossette(DEFAULT.name)) as served, baseline(options.python) as score:
        for seed in range(options.rounds):
            for length in map(int, options.lengths.split(",")):
                prompts = prompts_of(length, options.prompts, seed)
                ours = over_http(served, prompts, options.clients, scored=True)
                theirs = score(prompts)
                plain = over_http(
                    served, prompts_of(length, options.prompts, seed + 1000), options.clients, scored=False
                )
                results.setdefault(length, []).append((ours, theirs, plain))
                apart = max(abs(a - b) / length for a, b in zip(ours.sums, theirs.sums, strict=True))
                print(
                    length, f"logprobs differ by {apart:.3f} a token on average", ours, theirs, plain, file=sys.stderr
                )
    given = " ".join(sys.argv[2:])
    text = "\n".join((*head(f"scripts/bench-scoring PYTHON {given}".rstrip()), "", report(results, options.prompts)))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
