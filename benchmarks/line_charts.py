"""Line charts, drawn in the environment of scripts/bench-peers: matplotlib is no dependency of crossette.

Run as a program in that environment, it draws the charts of its standard input: `python line_charts.py PICTURE.png`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

PEER_PYTHON = Path(".venvs/llama/bin/python")
_COLORS = ("#c8452b", "#2b6cc8", "#4c9a52", "#8a8f98", "#b98a1d", "#7a4fb5")


@dataclass(frozen=True)
class Chart:
    """Lines by name, each of points `(x, y)`."""

    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]
    is_log: bool = False
    """Whether both axes are logarithmic."""


def plot(picture: Path, charts: list[Chart]) -> None:
    """Draw the charts side by side. Raises SystemExit without matplotlib."""
    if not PEER_PYTHON.exists():
        raise SystemExit(f"{PEER_PYTHON} is missing: scripts/bench-peers installs matplotlib there.")
    given = json.dumps([asdict(chart) for chart in charts])
    subprocess.run([PEER_PYTHON, __file__, picture], input=given, text=True, check=True)


def _draw(picture: Path, charts: list[dict[str, Any]]) -> None:  # Any: JSON
    backend: Any = import_module("matplotlib")  # Any: not installed for the type checker
    backend.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    ticker: Any = import_module("matplotlib.ticker")
    figure, axes = pyplot.subplots(1, len(charts), figsize=(5.5 * len(charts), 4), squeeze=False)
    for ax, chart in zip(axes[0], charts, strict=True):
        for index, (name, points) in enumerate(chart["lines"].items()):
            ax.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, color=_COLORS[index % 6])
        if chart["is_log"]:
            ax.set_xscale("log")
            ax.set_yscale("log")
            for axis in (ax.xaxis, ax.yaxis):  # 0.1, 0.2, 0.5, 1 …
                axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
                axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
                axis.set_minor_formatter(ticker.NullFormatter())
        else:
            ax.set_ylim(bottom=0)
        ax.set_title(chart["title"], fontsize=10)
        ax.set_xlabel(chart["x"])
        ax.set_ylabel(chart["y"])
        ax.grid(visible=True, alpha=0.25)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(picture, dpi=120)


if __name__ == "__main__":
    _draw(Path(sys.argv[1]), json.load(sys.stdin))
