"""Compare crossette and llama-server on the same GGUF file, alternately, under the same load.

    scripts/bench-peers [--models q4_1,q4_0,q8_0,1b-q4_0] [--streams 1,8,32] [--rounds 3] [--resume]
                        [--workloads short,random,copy,edit,shared,fork,gap,start,front] [--write docs/benchmarks.md]

Greedy, outputs of 256 tokens with ignore_eos, prompts of 96 tokens unless a row states otherwise. The servers
alternate in every round; each run starts and stops its server, so that runs share neither the machine nor a warm cache.
Figures are medians over the rounds, ratios medians of each round's ratio. Rounds in which a server fails do not
count; if all failed, the reason replaces the figure.
--resume continues the measurement in the output folder: existing results are kept, missing ones are measured, and the
page contains both. Without it the page contains only what this call measures.
`--output` and `--marker` keep a measurement apart from others: those of one machine should not be mixed with another's.
Run it on an otherwise idle machine. Linux only: it reads /proc.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from common import write
from line_charts import PEER_PYTHON
from line_charts import plot as draw

from crossette.engines.openvino.convert import convert
from crossette.models.pull import pull
from crossette.models.store import ModelStore, default_root
from peers.front import FRONT_STREAMS, measure_front
from peers.random_ids import charts
from peers.record import Record
from peers.report import report
from peers.runs import MODELS, SMALL, Run, Size, Workload
from peers.servers import measure
from peers.workloads import short_streams, workloads

MARKER = "peers"


def main() -> None:
    options = parse()
    size = SMALL if options.small else Size()
    record = begin(options)
    loads = workloads(options.streams)
    for name in options.models:
        if any(load != "front" for load in options.workloads):
            pull(
                ModelStore(default_root()), MODELS[name].reference, convert
            )  # so that no measured start includes a conversion
    measure_all(record, options, loads, size)
    if not record.runs:
        raise SystemExit("These workloads have no measurement with these models.")
    streams = {*options.streams, *short_streams([run.workload for run in record.runs])}
    text = report(record, list(MODELS), workloads(sorted(streams)), size)
    print(text)
    plot(record.save(), options.output / "peers.png")
    if lines := charts(record.runs):
        draw(options.output / "one-stream.png", lines)
    if options.write is not None:
        write(options.write, options.marker, text)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench-peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument(
        "--workloads", type=lambda text: text.split(","), help="short,random,copy,edit,shared,fork,gap,start,front"
    )
    parser.add_argument("--streams", type=lambda text: [int(part) for part in text.split(",")], default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to test the script")
    parser.add_argument("--resume", action="store_true", help="keep existing results and measure missing ones")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks"), help="folder of raw JSON and plot")
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    parser.add_argument("--marker", default=MARKER, help="name of these markers")
    options = parser.parse_args()
    every = [*workloads(options.streams), "front"]
    requested = options.workloads or every
    options.workloads = [name for name in every if name in requested or name.partition("-")[0] in requested]
    if not options.workloads or set(options.models) - set(MODELS):
        parser.error(f"workloads are {', '.join(every)}; models are {', '.join(MODELS)}")
    return options


def begin(options: argparse.Namespace) -> Record:
    """The record to add to. Raises SystemExit if it would mix runs with and without --small."""
    command = shlex.join(["scripts/bench-peers", *sys.argv[1:]])
    if not options.resume:
        return Record(options.output, command)
    record = Record.resumed(options.output, command)
    if len({"--small" in command.split() for command in record.commands}) > 1:
        raise SystemExit(f"{options.output} has runs with and without --small. Use another --output.")
    return record


def measure_all(record: Record, options: argparse.Namespace, loads: dict[str, Workload], size: Size) -> None:
    """Measure all requested rounds that are missing in `record`. Each run is saved when it is done."""
    for number in range(1, options.rounds + 1):
        for name in options.models:
            for load in loads.values():
                servers = ("crossette", *load.peers)
                is_requested = load.name in options.workloads and (load.name != "gap" or MODELS[name].is_default)
                if is_requested and not record.has(name, load.name, number, servers):
                    # The order alternates from round to round.
                    for server in servers[:: 1 if number % 2 else -1]:
                        add(record, measure(MODELS[name], load, server, number, size))
        for streams in FRONT_STREAMS if "front" in options.workloads else ():
            if not record.has("fake", f"front-{streams}", number, ["crossette"]):
                add(record, measure_front(streams, number, size))


def add(record: Record, run: Run) -> None:
    result = run.failure or ", ".join(f"{name} {value:.4g}" for name, value in run.figures.items())
    print(f"{run.model} {run.workload} round {run.round} {run.server}: {result}", file=sys.stderr, flush=True)
    record.add(run)
    record.save()


def plot(files: Sequence[Path], picture: Path) -> None:
    """Plot the results in the peer's environment: matplotlib is not a dependency of crossette."""
    plotted = [str(file) for file in files if "fake" not in file.name]
    if plotted:
        subprocess.run([PEER_PYTHON, Path(__file__).parents[1] / "bar_charts.py", picture, *plotted], check=True)


if __name__ == "__main__":
    main()
