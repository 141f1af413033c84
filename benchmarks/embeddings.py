"""Embeddings over HTTP beside sentence-transformers in its own process, on the same weights, in turns.

    scripts/bench-embeddings PYTHON [--texts 512] [--rounds 5]

PYTHON is an interpreter that has sentence-transformers. Its side is given the model's folder and has no server; ours is
asked by one client, with 64 texts a request. Both use all CPUs. Where others use them too, the CPU time is the better
measure.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import httpx
from common import crossette, machine, serving

from crossette.models.catalogue import EMBEDDING
from crossette.models.store import ModelStore, default_root

PROSE = Path(__file__).parents[1] / "tests/data/prose.txt"
TEXTS_OF_REQUEST = 64
CLIENTS = 2

BASELINE = """
import json, sys, time
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(sys.argv[1], device="cpu")
print("ready", flush=True)
for line in sys.stdin:
    texts = json.loads(line)
    begun, cpu = time.perf_counter(), time.process_time()
    model.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)
    print(json.dumps([time.perf_counter() - begun, time.process_time() - cpu]), flush=True)
"""


def texts_of(number: int, seed: int) -> list[str]:
    """Texts of 4 to 150 words of prose, as documents and questions are."""
    chooser = random.Random(seed)
    words = PROSE.read_text(encoding="utf-8").split()
    lengths = [chooser.choice((4, 8, 12, 20, 40, 80, 120, 150)) for _ in range(number)]
    starts = [chooser.randrange(len(words) - length) for length in lengths]
    return [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]


@contextmanager
def baseline(python: str) -> Iterator[tuple[IO[str], IO[str]]]:
    """The other side's standard input and output."""
    model = ModelStore(default_root()).find(EMBEDDING.name)
    if model is None:
        raise SystemExit(f"Pull the model first: crossette pull {EMBEDDING.name}")
    command = [python, "-c", BASELINE, str(model.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.stdin, process.stdout
        process.stdin.close()


def theirs(pipes: tuple[IO[str], IO[str]], texts: list[str]) -> tuple[float, float]:
    """Seconds for all texts, and of CPU time."""
    pipes[0].write(json.dumps(texts) + "\n")
    pipes[0].flush()
    seconds, cpu_s = json.loads(pipes[1].readline())
    return seconds, cpu_s


def ours(client: httpx.Client, url: str, texts: list[str]) -> tuple[float, int]:
    """Seconds and tokens of all texts, in requests of which two are under way."""
    parts = [texts[start : start + TEXTS_OF_REQUEST] for start in range(0, len(texts), TEXTS_OF_REQUEST)]

    def ask(part: list[str]) -> int:
        body = {"model": EMBEDDING.name, "input": part, "encoding_format": "base64", "truncate_prompt_tokens": -1}
        answer = client.post(f"{url}/embeddings", json=body)
        answer.raise_for_status()
        return int(answer.json()["usage"]["prompt_tokens"])

    begun = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as executor:
        num_tokens = sum(executor.map(ask, parts))
    return time.perf_counter() - begun, num_tokens


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("python")
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine())
    with (
        serving(crossette(EMBEDDING.name)) as served,
        baseline(given.python) as pipes,
        httpx.Client(timeout=600) as client,
    ):
        ratios, cpu_ratios = [], []
        for number in range(given.rounds + 1):
            texts, before_s = texts_of(given.texts, seed=number), served.cpu_s
            our_s, num_tokens = ours(client, served.url, texts)
            our_cpu_s = served.cpu_s - before_s
            their_s, their_cpu_s = theirs(pipes, texts)
            if number == 0:  # both warm up
                continue
            ratios.append(their_s / our_s)
            cpu_ratios.append(their_cpu_s / our_cpu_s)
            print(
                f"{num_tokens} tokens: crossette {num_tokens / our_s:.0f} tokens/s, {our_cpu_s:.2f} s of CPU time; "
                f"sentence-transformers {num_tokens / their_s:.0f} tokens/s, {their_cpu_s:.2f} s",
                flush=True,
            )
    for name, found in (("speed", ratios), ("CPU time", cpu_ratios)):
        print(f"{name}: median ratio {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
