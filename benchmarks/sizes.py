"""Measure what models of several sizes need and do: conversion, memory, start, and speed.

    scripts/bench-sizes [--models NAME,NAME] [--convert] [--results FILE] [--write docs/benchmarks.md] [--picture FILE]
    scripts/bench-sizes --long [--results FILE] [--write docs/benchmarks.md]

The default model, and random weights in the shapes of published models (random_models.py): speed depends on sizes, not
on values. Each is converted once, into a store of its own in the cache folder; with `--convert` nothing else is done.
Draft tokens are off, prompts are random token ids. The mixture of experts is computed from cuts with 2 and 4 of its 48
layers. With `--long`, prompts of 32,000 tokens on a model of 1.2 billion
weights, and of 100,000 on 2 of its layers, with keys and values in 8 and in 16 bits.

Results are added to the file of raw JSON as they come; what it has is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from common import crossette, head, serving, status_kb, write
from line_charts import Chart, plot
from q8_0 import default_gguf
from random_models import MIXTURE, SHAPES, Shape, random_gguf

from crossette.models.store import folder_size

MARKER = "sizes"
LONG_MARKER = "long windows"
LONG_PROMPT = 1000
DEFAULT = "SmolLM2-135M"
_CUTS = 2, 4
_CONTEXT = 8192
"""Tokens for which the memory of a model is computed."""
_MACHINES = 16, 24, 32, 64
"""GiB of memory."""
_ADDED = ("file", "stored", "memory", "kv_token", "weights")
"""Figures that each layer adds to; of the others, layers add to the inverse, the time of a token."""
_SPEEDS = ("prefill", "decode", "decode_long", "decode_many")

Figures = dict[str, float]
"""Of one model: sizes in bytes, times in seconds, speeds in tokens per second."""


def home_of(file: Path) -> Path:
    return file.with_suffix("")


def convert(file: Path) -> Figures:
    """Pull a file into a store of its own, and note CPU seconds and the peak of memory that is not a mapped file."""
    home = home_of(file)
    command = [sys.executable, "-m", "crossette", "pull", str(file)]
    peak = 0
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environ = {**os.environ, "CROSSETTE_HOME": str(home)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None:
            peak = max(peak, status_kb(process.pid, "RssAnon") * 1024)
            time.sleep(0.02)
        if process.returncode:
            assert process.stderr is not None
            raise SystemExit(process.stderr.read().decode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "file": file.stat().st_size,
        "stored": folder_size(_stored(file)),
        "conversion_cpu_s": cpu_s,
        "conversion_peak": peak,
    }


def _stored(file: Path) -> Path:
    (stored,) = (home_of(file) / "models").glob("*/openvino_model.xml")
    return stored.parent


def engine_speed(file: Path, *arguments: str) -> Figures:
    command = [sys.executable, "-m", "engine_speed", _stored(file).name, *arguments]
    environ = {**os.environ, "CROSSETTE_HOME": str(home_of(file))}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(done.stdout)
    return found


def start_s(file: Path) -> float:
    """From the start of the process until it lists the model, the second time."""
    command = crossette(_stored(file).name, "--kv-cache", "1GiB")
    for _ in range(2):
        with serving(command, {"CROSSETTE_HOME": str(home_of(file))}) as served:
            seconds = time.perf_counter() - served.started_s
    return seconds


def measure(file: Path) -> Figures:
    return {"start_s": start_s(file), **engine_speed(file, "--long", str(LONG_PROMPT), "--rounds", "1")}


def measure_long(file: Path, num_tokens: int, kind: str) -> Figures:
    """With one type of the KV cache."""
    given = ("--long", str(num_tokens), "--rounds", "1", "--kv-cache", "8GiB")
    return engine_speed(file, *given, "--kv-cache-dtype", kind)


def extrapolated(results: Mapping[str, Figures]) -> Figures:
    """The figures of the whole mixture, from those of two cuts."""
    few, many = (results[MIXTURE.cut(layers).name] for layers in _CUTS)

    def at_all_layers(low: float, high: float) -> float:
        return low + (high - low) / (_CUTS[1] - _CUTS[0]) * (MIXTURE.layers - _CUTS[0])

    added = {name: at_all_layers(few[name], many[name]) for name in _ADDED}
    return added | {name: 1 / at_all_layers(1 / few[name], 1 / many[name]) for name in _SPEEDS}


def file_of(shape: Shape | None) -> Path:
    """The file of a shape, or of the default model."""
    return default_gguf() if shape is None else random_gguf(shape)


def run_sizes(names: set[str], results: dict[str, Figures], save: Path | None, *, speed: bool) -> None:
    shapes = {DEFAULT: None, **{shape.name: shape for shape in (*SHAPES, *map(MIXTURE.cut, _CUTS))}}
    for name, shape in shapes.items():
        if names and name not in names:
            continue
        found = results.setdefault(name, {"weights": 134_515_008 if shape is None else shape.num_weights})
        if "conversion_peak" not in found:
            found |= convert(file_of(shape))
        if speed and "prefill" not in found:
            found |= measure(file_of(shape))
        print(name, found, file=sys.stderr, flush=True)
        _save(results, save)


def run_long(results: dict[str, Figures], save: Path | None) -> None:
    base = next(shape for shape in SHAPES if shape.name == "Llama-3.2-1B")
    for (shape, num_tokens), kind in product(((base, 32_000), (base.cut(2), 100_000)), ("u8", "f16")):
        name = f"{shape.name} {num_tokens} {kind}"
        if name in results:
            continue
        if not home_of(random_gguf(shape)).is_dir():
            convert(random_gguf(shape))
        results[name] = measure_long(random_gguf(shape), num_tokens, kind)
        print(name, results[name], file=sys.stderr, flush=True)
        _save(results, save)


def _save(results: Mapping[str, Figures], save: Path | None) -> None:
    if save is not None:
        save.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def report(results: dict[str, Figures], command: str) -> str:
    lines = [
        *head(command),
        f"Draft tokens off; the long prompt has {LONG_PROMPT:,} tokens.",
        "",
        "| model | weights, billions | file, GB | stored, GB | conversion, CPU seconds, and peak of memory / file"
        " | start, s | prefill, tokens/s | 1 stream, tokens/s | after the long prompt | 8 streams | memory with"
        f" {_CONTEXT:,} tokens of context, GiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows: dict[str, Figures] = {
        name: found for name, found in results.items() if "prefill" in found and " " not in name
    }
    cuts = [MIXTURE.cut(layers).name for layers in _CUTS]
    if all(name in rows for name in cuts):
        rows[f"{MIXTURE.name}, computed"] = extrapolated(results)
    shown = {name: found for name, found in rows.items() if name not in cuts}
    return "\n".join([*lines, *map(_row, shown, shown.values()), "", *_fitting(shown)])


def _fitting(rows: Mapping[str, Figures]) -> list[str]:
    """The largest model for each size of a machine's memory."""
    lines = [
        f"The largest of these that fits into half of a machine's memory, with {_CONTEXT:,} tokens of context:",
        "",
        "| memory, GiB | model | takes, GiB | tokens for which the rest of that half has room |",
        "|---|---|---|---|",
    ]
    for memory in _MACHINES:
        room = memory / 2 * 2**30
        fitting = [(found["weights"], name) for name, found in rows.items() if memory_needed(found) <= room]
        found = rows[name := max(fitting)[1]]
        needed = memory_needed(found)
        more = int((room - needed) / found["kv_token"]) + _CONTEXT
        lines.append(f"| {memory} | {name} | {needed / 2**30:.1f} | {more:,} |")
    return lines


def memory_needed(found: Figures) -> float:
    """Bytes for a context: what was resident, without the tokens of the measurement."""
    return found["memory"] + found["kv_token"] * max(0, _CONTEXT - LONG_PROMPT)


def _row(name: str, found: Figures) -> str:
    conversion = "-"
    if "start_s" in found:
        conversion = f"{found['conversion_cpu_s']:.0f}, {found['conversion_peak'] / found['file']:.2f}"
    start = f"{found['start_s']:.1f}" if "start_s" in found else "-"
    cells = [
        name,
        f"{found['weights'] / 1e9:.2f}",
        f"{found['file'] / 1e9:.2f}",
        f"{found['stored'] / 1e9:.2f}",
        conversion,
        start,
        *(f"{found[speed]:.3g}" for speed in _SPEEDS),
        f"{memory_needed(found) / 2**30:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def report_long(results: dict[str, Figures], command: str) -> str:
    lines = [
        *head(command),
        "",
        "| model, tokens of the prompt | KV cache | bytes of a token | prefill, tokens/s | the same for each second of"
        " a core | decode, tokens/s, short | after the prompt | memory, GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        model, num_tokens, kind = name.split()
        speeds = " | ".join(f"{found[speed]:.3g}" for speed in ("prefill", "prefill_cpu", "decode", "decode_long"))
        memory = f"{found['memory'] / 2**30:.1f}"
        lines.append(f"| {model}, {int(num_tokens):,} | {kind} | {found['kv_token']:,} | {speeds} | {memory} |")
    return "\n".join(lines)


def charts(results: Mapping[str, Figures]) -> list[Chart]:
    """How speeds change with the number of weights, without cuts and prompts of other lengths."""
    whole = [
        found for name, found in results.items() if "prefill" in found and "layers" not in name and " " not in name
    ]
    found = sorted(whole, key=lambda one: one["weights"])

    def line(figure: str) -> list[tuple[float, float]]:
        return [(one["weights"] / 1e9, one[figure]) for one in found]

    decode = {"1 stream": line("decode"), "8 streams": line("decode_many")}
    return [
        Chart("decode", "weights, billions", "tokens/s", decode, is_log=True),
        Chart("prefill", "weights, billions", "tokens/s", {"1,000 tokens": line("prefill")}, is_log=True),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=lambda text: set(text.split(",")), default=set())
    parser.add_argument("--convert", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--results", type=Path, help="the file of raw JSON")
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    parser.add_argument("--picture", type=Path, help="where to draw speeds against sizes")
    options = parser.parse_args()
    save: Path | None = options.results
    results: dict[str, Any] = json.loads(save.read_text()) if save is not None and save.is_file() else {}
    command = " ".join(["scripts/bench-sizes", *sys.argv[1:]])
    if options.long:
        run_long(results, save)
        text = report_long(results, command)
        print(text)
        if options.write is not None:
            write(options.write, LONG_MARKER, text)
        return
    run_sizes(options.models, results, save, speed=not options.convert)
    if options.convert:
        return
    text = report(results, command)
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)
    if options.picture is not None:
        plot(options.picture, charts(results))


if __name__ == "__main__":
    main()
