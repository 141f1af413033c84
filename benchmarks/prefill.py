"""Measure how fast prompts are read, as a share of the f32 operations that the CPU could do in that time.

    scripts/bench-prefill [--lengths 100,500,1000,2000,4000,7000] [--rounds 3] [--write docs/benchmarks.md]

The default model in this process, without a server: random token ids, one output token, nothing in the prefix cache.
Before each prompt peak.cpp measures the f32 peak of as many threads. The shortest times and the largest peak count, for
other programs of a host only slow both down.
Operations are two for each weight of the layers and token, and four for each feature of a query and key that it
attends to; the head computes one token.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from common import head, write
from engine_speed import times
from q8_0 import default_gguf

from crossette.engines.openvino.convert import convert
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.gguf.head import GgufHead, read_head
from crossette.engines.openvino.gguf.shape import read_shape
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.machine import usable_cpus
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from crossette.server.served import model_files

MARKER = "prefill"
_SOURCE = Path(__file__).with_name("peak.cpp")


def operations(model: GgufHead, num_tokens: int) -> float:
    """What a prompt takes, the attention of each token to those before it included."""
    shape = read_shape(model)
    matrices = [tensor.shape for tensor in model.tensors if len(tensor.shape) == 2]
    layers = sum(rows * columns for rows, columns in matrices) - _embeddings(model)
    attention = 4 * shape.layers * shape.heads * shape.head_size * num_tokens * (num_tokens + 1) / 2
    return 2 * layers * num_tokens + 2 * _embeddings(model) + attention


def _embeddings(model: GgufHead) -> int:
    """The weights of the embeddings, which the head of the default model shares."""
    (shape,) = (tensor.shape for tensor in model.tensors if tensor.name == "token_embd.weight")
    return shape[0] * shape[1]


def compiled(folder: str) -> Path:
    """peak.cpp, compiled for this CPU."""
    program = Path(folder) / "peak"
    subprocess.run(
        ["g++", "-std=c++20", "-O3", "-march=native", "-pthread", str(_SOURCE), "-o", str(program)], check=True
    )
    return program


def peak(program: Path, threads: int) -> float:
    """Operations per second."""
    return 1e9 * float(subprocess.check_output([program, str(threads)], text=True))


def measure(lengths: Sequence[int], rounds: int) -> tuple[dict[int, list[float]], float]:
    """The seconds until the first token, by length, for each round; and the peak."""
    stored = pull(ModelStore(default_root()), DEFAULT.name, convert)
    settings = OpenVINOSettings(kv_cache="1GiB", max_draft_rows=0)
    found: dict[int, list[float]] = {length: [] for length in lengths}
    most = 0.0
    with TemporaryDirectory() as folder, closing(OpenVINOEngine.load(model_files(stored), settings)) as engine:
        program = compiled(folder)
        for number in range(rounds):
            for length in lengths:
                most = max(most, peak(program, usable_cpus()))
                found[length] += asyncio.run(times(engine, length, 1, 10_000 * number + length))
    return found, most


def report(found: dict[int, list[float]], most: float, command: str) -> str:
    model = read_head(default_gguf())
    rounds = len(next(iter(found.values())))
    lines = [
        *head(command),
        f"The shortest of {rounds} rounds each. The f32 peak of {usable_cpus()} threads: {most / 1e9:.0f} GFLOP/s.",
        "",
        "| tokens of a prompt | tokens/s | GFLOP/s | share of the peak |",
        "|---|---|---|---|",
    ]
    for length, several in found.items():
        seconds = min(several)
        done = operations(model, length) / seconds
        lines.append(f"| {length:,} | {length / seconds:.0f} | {done / 1e9:.0f} | {done / most:.0%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="100,500,1000,2000,4000,7000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    lengths = [int(part) for part in options.lengths.split(",")]
    text = report(*measure(lengths, options.rounds), " ".join(["scripts/bench-prefill", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)


if __name__ == "__main__":
    main()
