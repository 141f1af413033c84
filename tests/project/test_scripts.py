"""The benchmarks that scripts run find their modules, and say how they are used."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from support.installed import ROOT

_RUNS = re.compile(r'^(?:PYTHONPATH=(\S+) )?exec "\$PY" (.+) "\$@"$', re.MULTILINE)
_FOUND = {script.name: _RUNS.search(script.read_text()) for script in (ROOT / "scripts").iterdir()}
_SCRIPTS = {
    name: (found[1] or "", found[2].split()) for name, found in _FOUND.items() if found and "benchmarks" in found[0]
}


def test_the_scripts_that_run_a_benchmark_are_found() -> None:
    assert {"bench-front", "bench-guards", "bench-peers", "reliability", "soak"} <= set(_SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(_SCRIPTS))
def test_a_benchmark_says_how_it_is_used(name: str) -> None:
    path, command = _SCRIPTS[name]

    result = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (result.returncode, result.stderr) == (0, "")
    assert "usage: " in result.stdout.lower()
