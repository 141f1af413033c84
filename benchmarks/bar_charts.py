"""Plot output tokens/s by workload from the files of `peers`: `python bar_charts.py PICTURE.png FILE.json...`

Runs in the peer's environment: it needs matplotlib, and nothing of crossette.
"""

from __future__ import annotations

import json
import statistics
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

SERVERS = {"crossette": "#c8452b", "llama-server": "#8a8f98"}


def medians(file: Path) -> dict[str, dict[str, float]]:
    """Median output tokens/s over the rounds, by workload and server."""
    rates: dict[str, dict[str, list[float]]] = {}
    for run in json.loads(file.read_text())["runs"]:
        if run["server"] in SERVERS and "tokens_per_s" in run["figures"]:
            by_server = rates.setdefault(run["workload"], {})
            by_server.setdefault(run["server"], []).append(run["figures"]["tokens_per_s"])
    return {
        workload: {server: statistics.median(values) for server, values in by_server.items()}
        for workload, by_server in rates.items()
    }


def plot(picture: Path, files: list[Path]) -> None:
    backend: Any = import_module("matplotlib")  # Any: not installed for the type checker
    backend.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    figure, rows = pyplot.subplots(len(files), 1, figsize=(9, 3.4 * len(files)), squeeze=False)
    for (axes,), file in zip(rows, files, strict=True):
        rates = medians(file)
        for index, (server, color) in enumerate(SERVERS.items()):
            heights = [rates[workload].get(server, 0.0) for workload in rates]
            bars = axes.bar(
                [i + 0.4 * index - 0.2 for i in range(len(rates))], heights, 0.38, label=server, color=color
            )
            axes.bar_label(bars, [f"{height:.0f}" if height else "failed" for height in heights], fontsize=8)
        axes.set_xticks(range(len(rates)), list(rates))
        axes.set_ylabel("output tokens/s")
        axes.set_title(file.stem, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    plot(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
