"""Measure the time from the start of the process to the first token, for models of several sizes.

    scripts/bench-start [--rounds 3] [--write docs/benchmarks.md]
    scripts/bench-start --cold 9 [--rounds 3] [--write docs/benchmarks.md]

The default model, and llamas with random weights and its tokenizer: a start depends on sizes, not on values.
Each model is pulled and started once before, so that no measured start converts, or calibrates without a cache. The
sizes alternate in every round. With `--cold`, the default model instead, kept in memory, alone and beside as many
models that are not loaded. On a shared machine, CPU seconds are more reliable than wall-clock time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from common import crossette, machine, serving, write
from peers.requests import completion, good, post_alone
from q8_0 import default_gguf

from crossette.engines.openvino.convert import convert
from crossette.folders import cache_folder
from crossette.models.catalogue import DEFAULT
from crossette.models.pull import pull
from crossette.models.store import ModelStore, StoredModel, default_root, folder_size
from support.tiny_model import write_tiny_gguf

MARKER, COLD_MARKER = "start", "cold start"


@dataclass(frozen=True)
class Shape:
    """A llama with random weights in Q8_0."""

    name: str
    layers: int
    width: int

    def gguf(self) -> Path:
        """The file, which is written on the first call."""
        file = cache_folder() / "benchmarks" / f"random-{self.name}.gguf"
        if not file.is_file():
            print(f"writing {file.name}", file=sys.stderr)
            temporary = file.with_suffix(".unfinished")
            write_tiny_gguf(temporary, layers=self.layers, width=self.width, tokenizer_from=default_gguf())
            temporary.replace(file)
        return file


SHAPES = (Shape("300m", layers=24, width=1024), Shape("1b", layers=24, width=2048))


@dataclass(frozen=True)
class Start:
    """One start: wall-clock and CPU seconds until ready, seconds to the first token, and resident memory."""

    ready_s: float
    cpu_s: float
    first_token_s: float
    rss_bytes: int


def start(*arguments: str) -> Start:
    with serving(crossette(*arguments)) as served:
        ready_s, cpu_s = time.perf_counter() - served.started_s, served.cpu_s
        result = good(asyncio.run(post_alone(served, completion(served, "Once upon a time", 1))))
        first_token_s = result.started_s + (result.first_token_s or result.total_s) - served.started_s
        return Start(ready_s, cpu_s, first_token_s, served.rss_bytes)


def report(starts: dict[str, list[Start]], sizes: dict[str, int], command: str) -> str:
    lines = [
        f"Measured {datetime.now(UTC):%Y-%m-%d} on {machine()}; crossette {version('crossette')}, "
        f"openvino {version('openvino')}.",
        f"Medians of {len(next(iter(starts.values())))} rounds, files in the page cache. Command: `{command}`",
        "",
        "| model | files, MB | start to ready, s | CPU until then, s | start to first token, s | resident memory, MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, several in starts.items():
        ready, cpu, first, rss = (
            statistics.median(getattr(one, figure) for one in several)
            for figure in ("ready_s", "cpu_s", "first_token_s", "rss_bytes")
        )
        lines.append(f"| {name} | {sizes[name] / 1e6:.0f} | {ready:.1f} | {cpu:.1f} | {first:.1f} | {rss / 1e6:.0f} |")
    return "\n".join(lines)


@contextmanager
def cold_models(model: StoredModel, number: int) -> Iterator[dict[str, tuple[str, ...]]]:
    """The arguments that serve a model, kept in memory, alone and beside `number` models that are not loaded.

    All of them are links to the files of the same model, in a store of their own.
    """
    with TemporaryDirectory(dir=model.path.parents[1], prefix="cold-") as home:
        names = [model.name, *(f"cold-{index}" for index in range(number))]
        for name in names:
            folder = Path(home, "models", name)
            folder.mkdir(parents=True)
            for file in model.path.iterdir():
                folder.joinpath(file.name).hardlink_to(file)
        config = Path(home, "kept.toml")
        config.write_text(f'[models."{model.name}"]\nkeep = true\n', encoding="utf-8")
        os.environ["CROSSETTE_HOME"] = home
        given = "--config", str(config)
        yield {f"`{model.name}` alone": (model.name, *given), f"beside {number} cold models": (*names, *given)}


def measure(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[Start]]:
    """Alternate the commands, each after one start that is not measured."""
    for arguments in commands.values():
        start(*arguments)
    starts: dict[str, list[Start]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, arguments in commands.items():
            starts[name].append(start(*arguments))
            print(name, starts[name][-1], file=sys.stderr, flush=True)
    return starts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    parser.add_argument("--cold", type=int, help="models that are not loaded, beside the default one")
    options = parser.parse_args()
    store = ModelStore(default_root())
    if options.cold is not None:
        model = pull(store, DEFAULT.name, convert)
        with cold_models(model, options.cold) as commands:
            starts = measure(commands, options.rounds)
        sizes = dict.fromkeys(commands, folder_size(model.path))
    else:
        references = {f"`{DEFAULT.name}`, Q4_1": DEFAULT.name}
        references |= {f"random weights, {shape.name.upper()}, Q8_0": str(shape.gguf()) for shape in SHAPES}
        sizes = {name: folder_size(pull(store, reference, convert).path) for name, reference in references.items()}
        starts = measure({name: [reference] for name, reference in references.items()}, options.rounds)
    text = report(starts, sizes, " ".join(["scripts/bench-start", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER if options.cold is None else COLD_MARKER, text)


if __name__ == "__main__":
    main()
