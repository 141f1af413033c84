"""Compare served GGUF models with their own weights in f32.

    scripts/bench-accuracy [--windows 8] [--only Q4_K,Q4_1] [--llama-cpp] [--write docs/accuracy.md]

Each file is converted as by `crossette pull`, and the engine's runner computes the logits of all positions of a text;
the reference is `engines/openvino/gguf/reference.py`. The text of the default model is prose, in windows of 256 tokens;
tiny models with random weights get random tokens. The exit status is 1 if a bound is exceeded.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import write

from accuracy.files import measurable
from accuracy.measure import Measured, measure
from accuracy.report import MARKER, is_within, report, row

FEW_WINDOWS = 2
"""Windows of all files except the one that users download."""
PEER = Path(".venvs/xllamacpp/bin/python")
"""Created by scripts/bench-accuracy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=8, help="windows of the default model's text; at most 8")
    parser.add_argument("--only", default="", help="types or families, separated by commas")
    parser.add_argument("--llama-cpp", action="store_true", help="also measure llama.cpp")
    parser.add_argument("--write", type=Path, help="page to update, with the markers of this report")
    options = parser.parse_args()
    only = set(filter(None, options.only.split(",")))
    measured: list[Measured] = []
    refused = {}
    for file in measurable():
        if only and not {file.quantization, file.family} & only:
            continue
        windows = options.windows if file.is_download else min(options.windows, FEW_WINDOWS)
        result = measure(file, windows, PEER if options.llama_cpp else None)
        if isinstance(result, str):
            refused[file] = result
            print(f"{file.family} {file.quantization}: {result}", file=sys.stderr, flush=True)
        else:
            measured.append(result)
            print(row(result), file=sys.stderr, flush=True)
    if not measured and not refused:
        raise SystemExit(f"No file has the type or family {options.only}.")
    text = report(measured, refused, " ".join(["scripts/bench-accuracy", *sys.argv[1:]]))
    print(text)
    if options.write is not None:
        write(options.write, MARKER, text)
    raise SystemExit(not all(map(is_within, measured)))


if __name__ == "__main__":
    main()
