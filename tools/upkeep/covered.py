"""How much of each package its own tests run, in lines and branches, with a gate for each: covered.py [PACKAGE…]

`[tool.crossette.coverage]` in pyproject.toml has the gates: for a package, or module, the least share of it in percent,
and of each of its files. The tests of src/crossette/NAME are tests/NAME; `tests` lists others.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Gate:
    """What is required of a package."""

    name: str
    least: float
    """Percent of the lines and branches of the package."""
    each: float
    """Percent of those of each file."""
    tests: tuple[str, ...]

    def faults(self, report: Mapping[str, Any]) -> list[str]:
        """What is below the gate in a report of coverage.py; the total comes first."""
        total = float(report["totals"]["percent_covered"])
        files = {name: float(file["summary"]["percent_covered"]) for name, file in report["files"].items()}
        found = [f"{self.name} is covered to {total:.1f} %, and the gate is {self.least}"] if total < self.least else []
        below = {name: share for name, share in sorted(files.items()) if share < self.each}
        return found + [
            f"{name} is covered to {share:.1f} %, and the gate is {self.each}" for name, share in below.items()
        ]


def gates(project: Mapping[str, Any]) -> dict[str, Gate]:
    """The gates of pyproject.toml by package."""
    return {
        name: Gate(name, gate["least"], gate["each"], tuple(gate.get("tests", [f"tests/{name}"])))
        for name, gate in project["tool"]["crossette"]["coverage"].items()
    }


def measure(gate: Gate, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Run the tests of a package; returns the JSON report of coverage.py. Raises CalledProcessError if one fails."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        source = f"crossette.{gate.name.replace('/', '.')}"
        options = [f"--cov={source}", "--cov-branch", f"--cov-report=json:{report}", "--hypothesis-profile", "fast"]
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", *options, *arguments]
        subprocess.run([*command, *gate.tests], cwd=ROOT, check=True)
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def main(names: Sequence[str]) -> int:
    known = gates(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    if unknown := set(names) - known.keys():
        print(f"No gate: {', '.join(sorted(unknown))}. Gates: {', '.join(known)}.", file=sys.stderr)
        return 2
    reports = {name: measure(known[name]) for name in names or known}
    for name, report in reports.items():
        gate = known[name]
        print(f"{name}: {report['totals']['percent_covered']:.1f} % (at least {gate.least}, each file {gate.each})")
    faults = [fault for name, report in reports.items() for fault in known[name].faults(report)]
    print("\n".join(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
